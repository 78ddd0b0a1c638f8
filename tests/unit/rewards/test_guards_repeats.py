import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.rewards.guarding import CLIP, CLIPS, PROSE
from triptych.rewards.guards import clean, inspect
from triptych.rewards.guards.passages import words_of
from triptych.rewards.guards.repeats import _loops, repeated_spans


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (f"{CLIP} {CLIP}", CLIP),
        (f"{CLIP} {CLIP.upper()}", CLIP),
        (f"{CLIP}\n{CLIP}\n{CLIP}", CLIP),
        (CLIP + " " + CLIP.replace("voice", "vo\u200bice"), CLIP),
        (CLIP + " " + CLIP.replace("is", "\uff49s").replace(",", ";"), CLIP),
        ("He smiles. She talks. He smiles.", "He smiles. She talks."),
        ("smiling smiling smiling", "smiling"),
        ("A smile, smile, smile, smile.", "A smile."),
        ("so so so so so so loud", "so loud"),
        ("It goes up and down and down and down and down.", "It goes up and down."),
        ("the voice is flat the voice is flat the voice is flat", "the voice is flat"),
        (
            "He nods, the voice is flat, the voice is flat, and waits.",
            "He nods, the voice is flat, and waits.",
        ),
        ("loud and clear. Loud and clear! LOUD AND CLEAR", "loud and clear."),
        # no repetition
        ("In the background, a dog barks. In the background, a door closes.", None),
        ("Mr. Lee sits. Mr. Lee stands.", None),
        ("The voice is very, very soft.", None),
        ('He says "no, no, no" and leaves.', None),
        ("From loud to soft, then from soft to loud.", None),
        ("The man smiles and the woman smiles.", None),
        ("A. A. Milne sits. B. B. King sings.", None),
        ("1. A smile. 2. A smile too.", None),
    ],
)
def test_repetition_is_taken_out(text: str, left: str | None) -> None:
    assert clean(text) == (text if left is None else left)


def test_references_have_none() -> None:
    for text in (*CLIPS, PROSE):
        assert inspect(text).repeated == ()
        assert clean(text) == text


def test_what_was_repeated_is_named() -> None:
    report = inspect(f"{CLIP} {CLIP} loud loud loud loud")

    assert report.repeated == (
        *(f"{part}." for part in CLIP.rstrip(".").split(". ")),
        "loud loud loud",
    )
    assert report.repeated_share == pytest.approx(18 / 34)


SENTENCE = st.lists(
    st.sampled_from(["a", "the", "man", "smiles", "voice", "loud", "soft", ",", "and", "so"]),
    min_size=1,
    max_size=12,
).map(lambda words: f"table lamp {' '.join(words)}.")


@given(st.lists(SENTENCE, min_size=1, max_size=4).map(" ".join), st.integers(2, 5))
@settings(deadline=None, max_examples=150)
def test_a_text_said_again_adds_nothing(text: str, times: int) -> None:
    once = clean(text)

    assert clean(" ".join([text] * times)) == once
    assert clean("\n".join([text] * times)) == once
    assert clean(once) == once


@given(st.text(max_size=80))
@settings(deadline=None, max_examples=150)
def test_cleaning_any_text_ends_and_only_takes_out(text: str) -> None:
    left = clean(text, "What?", ("a", "b"))

    letters = iter(text)
    assert all(letter in letters for letter in left if not letter.isspace())


@given(st.lists(st.sampled_from(["a", "man", "smiles", "is", ",", ".", "\n"]), max_size=14))
@settings(max_examples=100, deadline=None)
def test_no_run_is_missed_that_follows_itself(words: list[str]) -> None:
    text = " ".join(words)
    assert repeated_spans(text) or not _loops(text, words_of(text))
