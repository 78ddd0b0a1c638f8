"""What data sets write in many ways, brought to one."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triptych.data.readers import fields
from triptych.data.readers.base import Fields, RecordError
from triptych.data.sample import ProblemType

TEXTS = ("to help", "to tease", "to leave", "none of them")


@pytest.mark.parametrize(
    ("written", "texts"),
    [
        (["A. happy", "B. sad"], ("happy", "sad")),
        (["A.happy", "B.sad"], ("happy", "sad")),
        (["(A) happy", "(B) sad"], ("happy", "sad")),
        (["(A). happy", "(B): sad"], ("happy", "sad")),
        (["A) happy", "B) sad"], ("happy", "sad")),
        (["A: happy", "B: sad"], ("happy", "sad")),
        (["B. sad", "A. happy"], ("happy", "sad")),  # letters keep their texts
        (["A. happy", "sad"], ("A. happy", "sad")),
        (["A. happy", "A. sad"], ("A. happy", "A. sad")),
        (["B. sad", "C. calm"], ("B. sad", "C. calm")),
        (["a. m.", "p. m."], ("a. m.", "p. m.")),
        ([" happy ", "sad\n"], ("happy", "sad")),
        ([1, 2.5], ("1", "2.5")),
        ({"A": "happy", "B": "sad"}, ("happy", "sad")),
        ({"B": "sad", "A": "happy"}, ("happy", "sad")),
        ({"first": "happy", "second": "sad"}, ("happy", "sad")),
        ({"AB": "happy", "C": "sad"}, ("happy", "sad")),
        ('["A. happy", "B. it\'s sad"]', ("happy", "it's sad")),
        ("['A. happy', \"B. it's sad\"]", ("happy", "it's sad")),
        ("A. happy\nB. sad\n", ("happy", "sad")),
        ("happy | sad", ("happy", "sad")),
        ("[not a list", ("[not a list",)),
    ],
)
def test_options_become_plain_texts(written: Any, texts: tuple[str, ...]) -> None:
    assert fields.options(written) == texts


@pytest.mark.parametrize(
    "written", [7, ["happy", None], ["happy", ["sad"]], [True, False], {"A": None}]
)
def test_what_is_no_list_of_texts_is_refused(written: Any) -> None:
    with pytest.raises(RecordError, match=r"^options: "):
        fields.options(written)


@pytest.mark.parametrize(
    ("choices", "index", "letter"),
    [
        (["x", "y", "z"], 2, "C"),
        (["x", "y", "z"], "0", "A"),
        (["B. y", "A. x"], 0, "B"),
        ("x|y", 1, "B"),
    ],
)
def test_an_index_is_the_place_of_an_option_in_the_list(
    choices: Any, index: Any, letter: str
) -> None:
    assert fields.letter_at(choices, index) == letter


@pytest.mark.parametrize("index", [3, -1, "three", "1.0", "\u00b2", "9" * 5000, True, [0]])
def test_another_index_is_refused(index: Any) -> None:
    with pytest.raises(RecordError, match=r"^answer_idx: .* is no index of 3 options"):
        fields.letter_at(["x", "y", "z"], index)


@pytest.mark.parametrize(
    ("written", "letters"),
    [
        ("B", "B"),
        (" b ", "B"),
        ("(B)", "B"),
        ("B.", "B"),
        ("[B]", "B"),
        ("A,C", "A,C"),
        ("A, C", "A,C"),
        ("A and C", "A,C"),
        ("A; C", "A,C"),
        ("AC", "A,C"),
        (["A", "C"], "A,C"),
        (["to help", "C"], "A,C"),
        ("to tease", "B"),
        ("To Tease.", "B"),
        ("B. to tease", "B"),
        ("(B) to tease.", "B"),
        ("to help, to leave", "A,C"),
        ("CA", "CA"),
        ("E", "E"),
        ("to sing", "to sing"),
        ("", ""),
    ],
)
def test_answers_name_options_by_letter_or_text(written: Any, letters: str) -> None:
    assert fields.letters(written, TEXTS) == letters


def test_an_answer_whose_letter_and_text_disagree_is_refused() -> None:
    with pytest.raises(RecordError, match=r"^answer: 'B\. to leave' is not option B, 'to tease'"):
        fields.letters("B. to leave", TEXTS)


def test_a_text_that_two_options_share_names_none() -> None:
    assert fields.letters("same", ("same", "Same", "other")) == "same"


@pytest.mark.parametrize(
    ("written", "number"),
    [
        ("1,250", "1250"),
        ("-1,250.5", "-1250.5"),
        (" 7 ", "7"),
        (3, "3"),
        (0.5, "0.5"),
        ("1,5", "1,5"),
    ],
)
def test_numbers_lose_the_commas_of_their_thousands(written: Any, number: str) -> None:
    assert fields.number(written) == number


@pytest.mark.parametrize(
    ("written", "texts", "word"),
    [
        ("Yes.", (), "yes"),
        (True, (), "yes"),
        (False, (), "no"),
        ("B", ("Yes", "No"), "no"),
        ("A. Yes", ("Yes", "No"), "yes"),
        ("B", (), "b"),
    ],
)
def test_yes_and_no(written: Any, texts: tuple[str, ...], word: str) -> None:
    assert fields.yes_or_no(written, texts) == word


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("multiple choice", ProblemType.MULTIPLE_CHOICE),
        ("Multiple-Choice", ProblemType.MULTIPLE_CHOICE),
        ("emer_ov_mc", ProblemType.MULTI_SELECT),
        ("emer_ov", ProblemType.FREE_FORM),
        ("free-form", ProblemType.FREE_FORM),
        ("judge", ProblemType.YES_NO),
        ("yes/no", ProblemType.YES_NO),
        ("OCR", ProblemType.OCR),
        ("numerical", ProblemType.NUMERICAL),
        ("regression", ProblemType.REGRESSION),
    ],
)
def test_problem_types_by_the_names_that_data_sets_use(name: str, kind: ProblemType) -> None:
    assert fields.problem_type(name) is kind


def test_an_unknown_problem_type_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(RecordError, match=r"'essay' is unknown; use one of multiple_choice, "):
        fields.problem_type("essay")


@pytest.mark.parametrize(
    ("written", "answer", "context", "reasoning", "odd"),
    [
        ("B", "B", None, None, False),
        ("<answer>B</answer>", "B", None, None, False),
        ("<context>c</context>\n<think>t</think><answer> B </answer>", "B", "c", "t", False),
        ("<think>t</think>", None, None, "t", False),
        ("Well: <answer>B</answer>", "B", None, None, True),
        ("<think>t</think><context>c</context><answer>B</answer>", "B", "c", "t", True),
        ("<answer>A</answer><answer>B</answer>", "A", None, None, True),
        ("<context></context><answer>B</answer>", "B", "", None, True),
    ],
)
def test_solutions_are_taken_apart_and_odd_ones_kept(
    written: str, answer: str | None, context: str | None, reasoning: str | None, odd: bool
) -> None:
    solved = fields.solution(written)
    assert (solved.answer, solved.context, solved.reasoning) == (answer, context, reasoning)
    assert solved.odd == (written if odd else None)


@pytest.mark.parametrize(
    ("answer", "choices", "kind", "written"),
    [
        ("A", ["x", "y"], ProblemType.MULTIPLE_CHOICE, "A"),
        ("A,B", ["x", "y"], ProblemType.MULTI_SELECT, "A,B"),
        (["x"], ["x", "y"], ProblemType.MULTI_SELECT, "A"),
        ("No", None, ProblemType.YES_NO, "no"),
        (True, None, ProblemType.YES_NO, "yes"),
        (3, None, ProblemType.NUMERICAL, "3"),
        ("1,200", None, ProblemType.NUMERICAL, "1200"),
        ("a cup", None, ProblemType.FREE_FORM, "a cup"),
        (["calm", "sad"], None, ProblemType.FREE_FORM, "calm, sad"),
    ],
)
def test_where_no_type_is_given_options_and_answer_tell(
    answer: Any, choices: Any, kind: ProblemType, written: str
) -> None:
    made = fields.question(Fields({}), "q", None, choices, answer, {})
    assert (made["problem_type"], made["answer"], made["extra"]) == (kind, written, {})


def test_a_choice_with_several_right_letters_is_a_multi_select_and_says_what_it_was() -> None:
    made = fields.question(Fields({"x": 1}), "q", "multiple choice", ["a", "b"], "A,B", {})
    assert made["problem_type"] is ProblemType.MULTI_SELECT
    assert made["extra"] == {"x": 1, "problem_type": "multiple choice"}


def test_yes_and_no_as_options_of_a_yes_no_question_are_left_out() -> None:
    made = fields.question(Fields({}), "q", "yes_no", ["A. Yes", "B. No"], "B", {})
    assert (made["options"], made["answer"]) == ((), "no")


option = st.text(st.characters(categories=["L", "N", "Zs", "Po"]), min_size=1, max_size=12).map(
    lambda text: f"x{text.strip()}"
)


@given(st.lists(option, min_size=2, max_size=26), st.sampled_from(["{}. ", "{}.", "({}) ", "{}: "]))
def test_any_options_with_letters_give_back_their_texts(texts: list[str], letter: str) -> None:
    lettered = [letter.format("ABCDEFGHIJKLMNOPQRSTUVWXYZ"[i]) + t for i, t in enumerate(texts)]
    assert fields.options(lettered) == tuple(texts)
    assert fields.options(str(lettered)) == tuple(texts)
    assert fields.options(json.dumps(lettered)) == tuple(texts)
