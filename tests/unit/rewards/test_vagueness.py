"""Which references say too little to be compared with."""

import pytest

from triptych.data.sample import Element, Reference, Sample
from triptych.rewards.vagueness import MIN_CONTENT_WORDS, vagueness

CLEAR = "The woman smiles while her voice rises."


def test_references_of_the_synthetic_clips_are_not_vague(samples: list[Sample]) -> None:
    assert [vagueness(sample.reference) for sample in samples] == [None] * len(samples)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("There is a person in a scene and something is happening.", 0),
        ("Some kind of video, perhaps, with various things going on.", 0),
        ("It is.", 0),
        ("A smile.", 1),
        ("Smiling, smiles, grinning; he smiled!", 1),  # one meaning
        ("The smile is not loud.", 2),
        ("\u5979 \u7b11", 2),
    ],
)
def test_a_stage_of_few_content_words_is_vague(text: str, words: int) -> None:
    assert words < MIN_CONTENT_WORDS
    for name in ("context", "reasoning"):
        reference = Reference(context=CLEAR, reasoning=CLEAR).model_copy(update={name: text})
        assert vagueness(reference) == f"the {name} has {words} content words, fewer than 3"


@pytest.mark.parametrize("text", [CLEAR, "loud angry voice", "\u5979\u7b11\u4e86", CLEAR * 40])
def test_three_content_words_are_enough(text: str) -> None:
    assert vagueness(Reference(context=text, reasoning=text)) is None


def test_a_long_text_of_fillers_alone_is_vague() -> None:
    text = "There is a person in a scene, someone doing something, perhaps several things. " * 20
    assert vagueness(Reference(context=text)) == "the context has 0 content words, fewer than 3"


def test_absent_and_blank_stages_are_not_vague() -> None:
    assert vagueness(Reference()) is None
    assert vagueness(Reference(context=" \n", reasoning="")) is None


def test_an_element_that_no_completion_can_name_is_vague() -> None:
    named = Element(name="mouth", phrases=("!?", "smiles"))
    nameless = Element(name="voice", phrases=("...", "\u2014"))
    assert vagueness(Reference(elements=(named,))) is None
    assert (
        vagueness(Reference(context=CLEAR, reasoning=CLEAR, elements=(named, nameless)))
        == "element 'voice' has no phrase with a word in it"
    )
