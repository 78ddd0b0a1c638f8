import time
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from triptych.rewards.conclusion import Conclusion, conclusion
from triptych.rewards.mentions import _loose_pattern, _mention_pattern
from triptych.rewards.reading import read_answer
from triptych.stages.prompt import ProblemType

FEELINGS = ("happy", "calm", "very happy", "sad")


def concludes(think: str, kind: ProblemType, options: tuple[str, ...] = ()) -> Conclusion | None:
    """Whether it is final or not; `test_natural_reasoning` has what is final."""
    stated = conclusion(think, kind, options)
    return replace(stated, final=True) if stated else None


SHOWN = ("joy", "sadness", "surprise", "tension")


@pytest.mark.parametrize(
    ("think", "expected"),
    [
        ("a smiling mouth at the end with a rising voice means happy (A).", "A"),
        ("A smile, so (b)", "B"),
        ("the mouth smiles (B), no: the voice is flat, (D)", "D"),
        ("The answer is B.", "B"),
        ("the answer must be B because she smiles", "B"),
        ("Answer: B", "B"),
        ("I choose B.", "B"),
        ("so B.", "B"),
        ("Therefore, option B.", "B"),
        ("obviously B", "B"),
        ("B", "B"),
        ("She smiles. B.", "B"),
        ("**(B)**", "B"),
        ("\uff08B\uff09", "B"),
        ("(A) is wrong, (B) fits", "B"),
        ("(B) fits, (A) does not", "B"),
        ("(B) fits and (A) isn't it", "B"),
        ("it is calm (B), not happy (A)", "B"),
        ("not happy (A) but calm (B)", "B"),
        ("(B) fits better than (A)", "B"),
        ("(B), unlike option A.", "B"),
        ("either (A) or (B). The voice decides: (B).", "B"),
        ("the flat voice means calm", "B"),
        ("a smile, so the person is very happy", "C"),
        ("so it is not happy but calm", "B"),
        ("the face looks happy (A). So the person is calm.", "B"),
        ("means happy (A), so the smile is real", "A"),
        # no conclusion is stated
        ("", None),
        ("the mouth is smiling", None),
        ("a man with A plan", None),
        ("happy and calm are possible", None),
        ("so it is happy or calm", None),
        ("happy (A) or calm (B)", None),
        ("(A) (B) (C) (D)", None),
        ("(A), (B)", None),
        ("(A, B)", None),
        ("(A) and (B)", None),
        ("the bus is late (Z)", None),
        ("(A) is wrong", None),
        ("so I think about it", None),
        ("so A man smiles", None),
    ],
)
def test_multiple_choice(think: str, expected: str | None) -> None:
    concluded = concludes(think, ProblemType.MULTIPLE_CHOICE, FEELINGS)

    assert concluded == (Conclusion(expected) if expected else None)


@pytest.mark.parametrize(
    ("think", "expected"),
    [
        ("means happy (B)", Conclusion("B", coherent=False)),
        ("means very happy (A)", Conclusion("A", coherent=False)),
        ("means very happy (C)", Conclusion("C")),
        ("means unhappy (B)", Conclusion("B")),
        ("(B) happy", Conclusion("B", coherent=False)),
        ("(B) calm", Conclusion("B")),
        ("The face is happy. (B) fits", Conclusion("B")),
        ("so the answer is (B). Happy people differ", Conclusion("B")),
    ],
)
def test_a_letter_beside_the_text_of_another_option_is_incoherent(
    think: str, expected: Conclusion
) -> None:
    assert concludes(think, ProblemType.MULTIPLE_CHOICE, FEELINGS) == expected


@pytest.mark.parametrize(
    ("think", "expected"),
    [
        (
            "the smiling mouth shows joy (A) and the raised brows show surprise (C).",
            Conclusion("A,C"),
        ),
        (
            "the smiling mouth shows joy (A) and the level brows show nothing.",
            Conclusion("A"),
        ),
        ("raised brows: surprise (C). a smile: joy (A).", Conclusion("A,C")),
        ("(A, C)", Conclusion("A,C")),
        ("(A) joy, (C) surprise", Conclusion("A,C")),
        ("(A) surprise (C)", Conclusion("A,C")),
        ("joy (A), surprise (C). But (C) is wrong.", Conclusion("A")),
        ("joy (A), surprise (C). So the answer is A, C and D.", Conclusion("A,C,D")),
        ("joy (A), surprise (C). So A.", Conclusion("A")),
        ("Option A is right. Option C is, too.", Conclusion("A,C")),
        ("option A, option C.", Conclusion("A,C")),
        ("the mouth shows joy and the brows show surprise", Conclusion("A,C")),
        ("joy (B) and surprise (C)", Conclusion("B,C", coherent=False)),
        ("it does not show sadness", None),
        ("joy and surprise", None),
        ("", None),
    ],
)
def test_multi_select(think: str, expected: Conclusion | None) -> None:
    assert concludes(think, ProblemType.MULTI_SELECT, SHOWN) == expected


@pytest.mark.parametrize(
    ("think", "expected"),
    [
        ("a smiling mouth goes with a rising voice and the voice is flat, so no.", "no"),
        ("they agree, so yes.", "yes"),
        ("Therefore: yes, she is.", "yes"),
        ("so the answer is no because the voice is flat", "no"),
        ('the answer is "No"', "no"),
        ("first I thought yes. The voice is flat, hence no.", "no"),
        ("Does it fit? No.", "no"),
        ("yes", "yes"),
        ("so no one smiles", None),
        ("so nobody knows", None),
        ("there is no smile", None),
        ("no smile at all", None),
        ("", None),
    ],
)
def test_yes_no(think: str, expected: str | None) -> None:
    assert conclusion(think, ProblemType.YES_NO) == (Conclusion(expected) if expected else None)


@pytest.mark.parametrize(
    ("think", "expected"),
    [
        ("two men and one woman, so 3.", "3.00"),
        ("2 + 1 = 3", "3.00"),
        ("The total is 1,234 people.", "1234.00"),
        ("The answer is -2.5. So that is it.", "-2.50"),
        ("so 3. Or therefore 4.", "4.00"),
        ("so 2 men and 1 woman, 3 people", None),
        ("there are 3 people", None),
        ("so that is it", None),
        ("so 1e999", None),
        ("", None),
    ],
)
def test_numbers(think: str, expected: str | None) -> None:
    for problem_type in (ProblemType.NUMERICAL, ProblemType.REGRESSION):
        concluded = concludes(think, problem_type)
        assert concluded == (Conclusion(expected) if expected else None)


def test_free_texts_have_no_conclusion() -> None:
    assert conclusion("so the answer is a dog", ProblemType.FREE_FORM) is None
    assert conclusion("so it reads STOP", ProblemType.OCR) is None


def test_duplicate_options_are_no_conclusion_by_text() -> None:
    assert conclusion("so calm", ProblemType.MULTIPLE_CHOICE, ("calm", "calm")) is None


@given(
    st.lists(
        st.sampled_from(["(A)", "(B)", "so", "not", "B.", "happy", "calm", "or", "and", ",", "\n"])
        | st.text(max_size=5),
        max_size=20,
    ),
    st.sampled_from(ProblemType),
)
@settings(deadline=None, max_examples=100)
def test_any_reasoning_gives_a_value_that_an_answer_can_have(
    parts: list[str], problem_type: ProblemType
) -> None:
    concluded = conclusion(" ".join(parts), problem_type, FEELINGS)

    if concluded:
        assert read_answer(concluded.value, problem_type, FEELINGS) == concluded.value


@pytest.mark.parametrize("unit", ["\n", " ", "(A) ", "so ", "A. ", "= ", "the answer is "])
def test_degenerate_reasoning_is_read_in_no_time(unit: str) -> None:
    """Repetition is what a model that fell apart writes; no pattern may go quadratic on it."""
    began = time.process_time()
    for problem_type in ProblemType:
        conclusion(unit * 2000, problem_type, FEELINGS)
    assert time.process_time() - began < 2.0


PIECES = (
    *("so", "the answer is", "not", "but rather", "and", ",", "because", "is the best", "fits too"),
    *("A", "B", "b", "(A)", "(b", "[A, C]", "(A", "\\boxed{", ")", ".", "\n", "man", "\u00e9"),
)


@example(["A", "is the best"], " ")
@given(st.lists(st.sampled_from(PIECES), max_size=7), st.sampled_from(("", " ")))
@settings(max_examples=100, deadline=None)
def test_what_is_looked_for_first_stands_in_every_mention_without_brackets(
    pieces: list[str], joint: str
) -> None:
    text = joint.join(pieces)
    groups = {match.lastgroup for match in _mention_pattern("ABC").finditer(text)}
    assert groups <= {"bracketed"} or _loose_pattern("ABC").search(text)
