import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triptych.rewards.reading import read_answer
from triptych.stages.prompt import OPTION_LETTERS, ProblemType

FEELINGS = ("calm", "happy", "very happy", "sad", "angry and afraid")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("B", "B"),
        ("b", "B"),
        ("(B)", "B"),
        ("[b]", "B"),
        ("B.", "B"),
        (" B ) ", None),
        ("B)", "B"),
        ("B:", "B"),
        ("**B**", "B"),
        ('"B"', "B"),
        ("\uff22", "B"),
        ("\uff08B\uff09", "B"),
        ("B. happy", "B"),
        ("B.happy", "B"),
        ("(b) Happy.", "B"),
        ("B happy", "B"),
        ("happy", "B"),
        ("HAPPY!", "B"),
        ("very  happy", "C"),
        ("C. very happy", "C"),
        ("angry and afraid", "E"),
        ("The answer is B", "B"),
        ("Answer: B.", "B"),
        ("option B", "B"),
        ("The correct answer is (B)", "B"),
        ("B. because she smiles", "B"),
        ("\\boxed{B}", "B"),
        ("The answer is $\\boxed{\\text{B}}$.", "B"),
        ("\\boxed{\\text{very happy}}", "C"),
        # not an answer, or not one answer
        ("", None),
        ("   ", None),
        ("Bad", None),
        ("because", None),
        ("a man", None),
        ("F", None),
        ("B or C", None),
        ("B, C", None),
        ("\\boxed{B} or \\boxed{C}", None),
        ("The answer is B because she smiles", None),
        ("BC", None),
        ("ABCDE", None),
        ("B. calm", None),
        ("B. happy or A", None),
        ("B. because it is not sad", None),
        ("B. so not C", None),
        ("happy sad", None),
        ("unhappy", None),
        ("the person is happy", None),
        ("Z. because", None),
        ("?", None),
    ],
)
def test_multiple_choice(text: str, expected: str | None) -> None:
    assert read_answer(text, ProblemType.MULTIPLE_CHOICE, FEELINGS) == expected


@pytest.mark.parametrize(
    ("options", "text", "expected"),
    [
        (("the answer", "silence"), "the answer", "A"),  # not taken for a preamble
        (("happy", "happy"), "happy", None),  # which of the two?
        (("-5", "5"), "5", None),  # the sign is lost among words, so the text decides nothing
        (("Vitamin C", "iron"), "vitamin c", "A"),
        (("?", "!"), "?", None),
        (("?", "!"), "B. what is this", "B"),
        ((), "D", "D"),
        ((), "d. whatever", "D"),
        ((), "happy", None),
    ],
)
def test_options_that_make_trouble(
    options: tuple[str, ...], text: str, expected: str | None
) -> None:
    assert read_answer(text, ProblemType.MULTIPLE_CHOICE, options) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("B, E", "B,E"),
        ("E,B", "B,E"),
        ("B and E", "B,E"),
        ("B & E", "B,E"),
        ("b, e", "B,E"),
        ("B E", "B,E"),
        ("B;E.", "B,E"),
        ("B\nE", "B,E"),
        ("BE", "B,E"),
        ("EB", "B,E"),
        ("(B), (E)", "B,E"),
        ("(B)(E)", "B,E"),
        ("A, B, and E", "A,B,E"),
        ("B. happy, E. angry and afraid", "B,E"),
        ("happy; angry and afraid", "B,E"),
        ("very happy, sad", "C,D"),
        ("The answers are B and E", "B,E"),
        ("B, B", "B"),
        ("B", "B"),
        ("be", None),
        ("bed", None),
        ("BB", None),
        ("BZ", None),
        ("B or E", None),
        ("B, happy and", "B"),
        ("B, maybe", None),
        ("B. sad", None),
        ("all of them", None),
        ("", None),
        (",", None),
    ],
)
def test_multi_select(text: str, expected: str | None) -> None:
    assert read_answer(text, ProblemType.MULTI_SELECT, FEELINGS) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no", "no"),
        ("No.", "no"),
        ("YES!", "yes"),
        ("Yes, she is.", "yes"),
        ("\u201cno\u201d", "no"),
        ("know", None),
        ("I do not know", None),
        ("nothing", None),
        ("yesterday", None),
        ("yes and no", None),
        ("not", None),
        ("", None),
    ],
)
def test_yes_no(text: str, expected: str | None) -> None:
    assert read_answer(text, ProblemType.YES_NO) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3", "3.00"),
        ("3.0", "3.00"),
        ("3.", "3.00"),
        (".5", "0.50"),
        ("1,234", "1234.00"),
        ("1,234,567.891", "1234567.89"),
        ("-2", "-2.00"),
        ("- 2", "-2.00"),
        ("-$2", "-2.00"),
        ("- $2", "-2.00"),
        ("minus 2", "-2.00"),
        ("negative 2", "-2.00"),
        ("The answer is - 2", "-2.00"),
        ("x = - 2", "-2.00"),
        ("\\boxed{-2}", "-2.00"),
        ("Answer - 2", "2.00"),
        ("3 - 2", None),
        ("$3-$2", None),
        ("3 minus 2", None),
        ("\u22122", "-2.00"),
        ("-0.001", "0.00"),
        ("+7", "7.00"),
        ("1e3", "1000.00"),
        ("$5", "5.00"),
        ("5kg", "5.00"),
        ("12 %", "12.00"),
        ("about 3 people", "3.00"),
        ("3, or 4", None),
        ("3-5", None),
        ("3,5", None),
        ("1,2345", None),
        ("1.2.3", None),
        ("B12", None),
        ("1_000", None),
        ("nan", None),
        ("inf", None),
        ("1e999", None),
        ("9" * 400, None),
        ("three", None),
        ("", None),
    ],
)
def test_numbers(text: str, expected: str | None) -> None:
    assert read_answer(text, ProblemType.NUMERICAL) == expected
    assert read_answer(text, ProblemType.REGRESSION) == expected


def test_texts_that_hold_nothing_are_unreadable() -> None:
    assert read_answer(" ", ProblemType.OCR) is None
    assert read_answer("?!", ProblemType.OCR) == "?!"
    assert read_answer("?!", ProblemType.FREE_FORM) is None
    assert read_answer("A  Stop\nsign", ProblemType.FREE_FORM) == "a stop sign"


@given(st.text(max_size=40), st.sampled_from(ProblemType))
@settings(deadline=None, max_examples=100)
def test_reading_never_raises_and_is_stable(text: str, problem_type: ProblemType) -> None:
    value = read_answer(text, problem_type, FEELINGS)

    assert value is None or read_answer(value, problem_type, FEELINGS) == value


@given(st.sets(st.sampled_from(OPTION_LETTERS[:5]), min_size=1), st.randoms())
@settings(deadline=None, max_examples=50)
def test_order_and_separators_do_not_matter(letters: set[str], random: object) -> None:
    expected = ",".join(sorted(letters))

    for separator in (",", ", ", " and ", ""):
        text = separator.join(reversed(sorted(letters)))
        assert read_answer(text, ProblemType.MULTI_SELECT, FEELINGS) == expected
