import pytest

from tests.unit.rewards.guarding import CLIP, prose
from triptych.data.clips.questions import QUESTIONS
from triptych.rewards.guards import clean, inspect

QUESTION = "Why does the man in the red shirt laugh at the woman in the white dress?"
OPTIONS = (
    "He smiles politely but looks away",
    "the man in the red shirt",
    "smiling",
    "a dog barks",
)


@pytest.mark.parametrize(
    "copy",
    [
        QUESTION,
        QUESTION.upper(),
        QUESTION.rstrip("?"),
        "The question is: " + QUESTION,
        "does the man in the red shirt laugh at the woman in the white dress",
        "He smiles politely but looks away.",
        "he smiles politely, but looks away!",
        "A. He smiles politely but looks away",
        "(b) the man in the red shirt",
        "Option C: smiling.",
        "The options are smiling, the man in the red shirt and a dog barks.",
        "Smiling or the man in the red shirt.",
        "I can see that he smiles politely but looks away.",
        "In the video, he smiles politely but looks away.",
        "Smiling.",
        "\n".join(f"{letter}. {text}" for letter, text in zip("ABCD", OPTIONS, strict=True)),
        f"{QUESTION}\nA. {OPTIONS[0]}\nB. {OPTIONS[1]}",
    ],
)
def test_a_copy_is_taken_out_wherever_it_stands(copy: str) -> None:
    first, rest = CLIP.split(". ", 1)

    for mixed in (f"{CLIP}\n{copy}", f"{copy}\n{CLIP}", f"{first}.\n{copy}\n{rest}"):
        assert clean(mixed, QUESTION, OPTIONS) == CLIP
        assert clean(mixed) == clean(mixed, "What?", ("happy", "sad")) != CLIP


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("The voice is flat, he smiles politely but looks away.", "The voice is flat."),
        ("He smiles politely but looks away, and the voice is flat.", "and the voice is flat."),
        (
            "He smiles politely but looks away, the man in the red shirt, and the voice is flat.",
            "and the voice is flat.",
        ),
        (
            "The voice is flat, he smiles politely but looks away, the brows rise.",
            "The voice is flat, the brows rise.",
        ),
    ],
)
def test_a_copied_clause_is_taken_out_of_its_sentence(text: str, left: str) -> None:
    assert clean(text, QUESTION, OPTIONS) == left


@pytest.mark.parametrize(
    "text",
    [
        "The man in the red shirt laughs.",
        "She is smiling.",
        "She smiles politely but looks away.",
        "The man in the red shirt laugh at.",
        "A dog barks twice.",
        "No dog barks, and he smiles.",
        "He smiles politely but looks away from the woman.",
        "He never smiles politely but looks away.",
        "He does not say that he smiles politely but looks away.",
        "The woman in the white dress cries.",
        "Does the man laugh? He does.",
    ],
)
def test_words_that_a_true_context_shares_stay(text: str) -> None:
    assert clean(text, QUESTION, OPTIONS) == text


def test_prose_and_clips_stay_word_for_word() -> None:
    for sample in prose():
        assert clean(sample.context, sample.question, sample.options) == sample.context
    for question in QUESTIONS.values():
        assert clean(CLIP, question, ("happy", "sad", "smiling")) == CLIP


def test_scripts_without_spaces() -> None:
    question, options = "女人为什么笑？", ("她很高兴", "她很紧张")
    text = "女人站在门口。"

    assert clean(f"{text}{question}{options[0]}。", question, options) == text
    assert clean(f"{text}{options[0]}。", question, options) == text


def test_what_was_copied_is_named() -> None:
    report = inspect(f"{CLIP} {QUESTION} A dog barks.", QUESTION, OPTIONS)

    assert report.copied == (QUESTION, "A dog barks.")
    assert report.copied_share == pytest.approx(19 / 34)
    assert report.injected_share == report.repeated_share == 0.0


def test_no_question_and_blank_options_copy_nothing() -> None:
    assert clean(CLIP, "", ("", "?", " ")) == CLIP
    assert clean("?", "?", ("?",)) == "?"
