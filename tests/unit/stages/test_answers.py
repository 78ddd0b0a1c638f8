"""Answer forms: automaton and pattern are the same texts, and every text says an answer."""

import random
import re
from collections.abc import Iterator
from itertools import product

import pytest

from triptych.rewards.reading import read_answer
from triptych.stages.answers import AnswerForm, answer_form
from triptych.stages.prompt import OPTION_LETTERS, ProblemType

T = ProblemType

# Problem type, number of options, characters that texts are made of, and the longest text.
SMALL = [
    (T.MULTIPLE_CHOICE, 1, "AB, a", 4),
    (T.MULTIPLE_CHOICE, 3, "ABCD,", 4),
    (T.MULTI_SELECT, 1, "AB, ", 5),
    (T.MULTI_SELECT, 3, "ABC, ", 7),
    (T.MULTI_SELECT, 4, "ABD,", 7),
    (T.YES_NO, 0, "yesnoYN ", 4),
    (T.NUMERICAL, 0, "-+.,09", 5),
    (T.REGRESSION, 0, "-.07e", 5),
]


def form_of(problem_type: ProblemType, num_options: int) -> AnswerForm:
    form = answer_form(problem_type, num_options)
    assert form is not None
    return form


def holds(form: AnswerForm, text: str) -> bool:
    state = ""
    for char in text:
        moves = form.moves.get(state, {})
        if char not in moves:
            return False
        state = moves[char]
    return state in form.complete


def texts_of(form: AnswerForm, longest: int) -> Iterator[str]:
    waiting = [("", "")]
    while waiting:
        text, state = waiting.pop()
        if state in form.complete:
            yield text
        if len(text) < longest:
            waiting.extend(
                (text + char, after) for char, after in form.moves.get(state, {}).items()
            )


@pytest.mark.parametrize(("problem_type", "num_options", "alphabet", "longest"), SMALL)
def test_pattern_and_moves_are_the_same_texts(
    problem_type: ProblemType, num_options: int, alphabet: str, longest: int
) -> None:
    form = form_of(problem_type, num_options)
    found = set()
    for length in range(longest + 1):
        for text in map("".join, product(alphabet, repeat=length)):
            assert holds(form, text) is (re.fullmatch(form.pattern, text) is not None), text
            if holds(form, text):
                found.add(text)
    assert found, "a form has texts"
    walked = {text for text in texts_of(form, longest) if set(text) <= set(alphabet)}
    assert walked == found


@pytest.mark.parametrize("number", [26, 9])
def test_letters_of_many_options_are_the_same_texts(number: int) -> None:
    draw = random.Random(3)
    form = form_of(T.MULTI_SELECT, number)
    for _ in range(300):
        letters = draw.sample(OPTION_LETTERS[:number], draw.randint(1, 5))
        ordered = draw.choice([letters, sorted(letters)])
        text = draw.choice([",", ", "]).join(ordered)
        assert holds(form, text) is (ordered == sorted(letters)), text
        assert holds(form, text) is (re.fullmatch(form.pattern, text) is not None), text
    beyond = OPTION_LETTERS[number : number + 1] or "a"
    assert not holds(form, beyond)
    assert not re.fullmatch(form.pattern, beyond)


def test_forms_are_what_they_are_said_to_be() -> None:
    def texts(problem_type: ProblemType, num_options: int = 0, longest: int = 8) -> set[str]:
        return set(texts_of(form_of(problem_type, num_options), longest))

    assert texts(T.MULTIPLE_CHOICE, 3) == {"A", "B", "C"}
    assert texts(T.MULTI_SELECT, 2) == {"A", "B", "A,B", "A, B"}
    assert texts(T.YES_NO) == {"yes", "no", "Yes", "No"}
    numbers = form_of(T.NUMERICAL, 0)
    assert all(holds(numbers, text) for text in ("0", "-12", "3.50", "007", "-0.0"))
    assert not any(holds(numbers, text) for text in ("", "-", ".5", "5.", "+1", "1e3", "1,000"))


@pytest.mark.parametrize("problem_type", [T.OCR, T.FREE_FORM])
def test_answers_in_words_have_no_form(problem_type: ProblemType) -> None:
    assert answer_form(problem_type, 4) is None


@pytest.mark.parametrize(("problem_type", "num_options"), [small[:2] for small in SMALL])
def test_every_state_is_of_use(problem_type: ProblemType, num_options: int) -> None:
    form = form_of(problem_type, num_options)
    targets = {after for moves in form.moves.values() for after in moves.values()}
    assert form.complete <= targets
    assert targets <= form.moves.keys() | form.complete
    assert form.moves.keys() <= targets | {""}
    assert form.alphabet == {char for moves in form.moves.values() for char in moves}
    assert all(len(char) == 1 for char in form.alphabet)
    assert "" not in form.complete, "no form has a blank answer"


def test_equal_forms_are_one_object() -> None:
    assert form_of(T.NUMERICAL, 0) is form_of(T.REGRESSION, 4)
    assert form_of(T.MULTI_SELECT, 3) is form_of(T.MULTI_SELECT, 3)
    assert form_of(T.YES_NO, 0) is form_of(T.YES_NO, 2)
    assert form_of(T.MULTIPLE_CHOICE, 3) is not form_of(T.MULTIPLE_CHOICE, 4)


@pytest.mark.parametrize("num_options", [1, 2, 4, 9, 26])
def test_every_letter_is_read_back(num_options: int) -> None:
    options = [f"option {number}" for number in range(num_options)]
    letters = list(texts_of(form_of(T.MULTIPLE_CHOICE, num_options), 1))
    assert sorted(letters) == list(OPTION_LETTERS[:num_options])
    for text in letters:
        assert read_answer(text, T.MULTIPLE_CHOICE, options) == text
        assert read_answer(text, T.MULTI_SELECT, options) == text


@pytest.mark.parametrize(("num_options", "longest"), [(3, 7), (5, 13), (26, 4)])
def test_every_set_of_letters_is_read_back(num_options: int, longest: int) -> None:
    options = [f"option {number}" for number in range(num_options)]
    for text in texts_of(form_of(T.MULTI_SELECT, num_options), longest):
        assert read_answer(text, T.MULTI_SELECT, options) == text.replace(" ", "")


def test_yes_and_no_are_read_back() -> None:
    for text in texts_of(form_of(T.YES_NO, 0), 3):
        assert read_answer(text, T.YES_NO) == text.lower()


def test_every_number_is_read_back() -> None:
    form, draw = form_of(T.NUMERICAL, 0), random.Random(4)
    texts = [text for text in texts_of(form, 4) if set(text) <= set("-.019")]
    for _ in range(300):
        whole, part = draw.randint(1, 12), draw.randint(0, 6)
        digits = "".join(draw.choices("0123456789", k=whole + part))
        point = "." if part else ""
        texts.append(draw.choice(["", "-"]) + digits[:whole] + point + digits[whole:])
    for text in texts:
        assert holds(form, text)
        for problem_type in (T.NUMERICAL, T.REGRESSION):
            value = read_answer(text, problem_type)
            assert value is not None, text
            assert float(value) == pytest.approx(float(text), abs=0.00501), text
