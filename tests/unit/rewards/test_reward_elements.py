import pytest

from triptych.data.sample import Element, Reference
from triptych.errors import DataError
from triptych.rewards.elements import ElementStatus, as_reference, element_coverage, prepare
from triptych.rewards.words import stem

MOUTH = Element(
    name="mouth",
    phrases=("stays smiling", "to smiling"),
    contradictions=("stays frowning", "to frowning", "stays neutral", "to neutral"),
)
VOICE = Element(
    name="voice",
    phrases=("voice is rising", "rising voice"),
    contradictions=("voice is flat", "flat voice"),
    relevant=False,
)
REFERENCE = Reference(elements=(MOUTH, VOICE))


@pytest.mark.parametrize(
    ("text", "mouth", "voice"),
    [
        ("The mouth stays smiling. The voice is rising.", "named", "named"),
        ("A RISING  voice; the mouth turns from neutral to\nsmiling!", "named", "named"),
        ("The mouth turns from smiling to neutral.", "contradicted", "missing"),
        ("", "missing", "missing"),
        ("The mouth and the voice.", "missing", "missing"),
        ("It stays smilingly odd, with an arising voice.", "missing", "missing"),
        ("It stays. Smiling. The voice is. Rising.", "missing", "missing"),
        # negation
        ("The voice is not rising.", "missing", "missing"),
        ("There is no rising voice.", "missing", "contradicted"),
        ("It never stays smiling.", "contradicted", "missing"),
        ("It has no flat voice.", "missing", "missing"),
        # both at once
        ("The voice is rising. The voice is flat.", "missing", "contradicted"),
        ("It stays smiling or frowning.", "contradicted", "missing"),
        ("It stays smiling, frowning, neutral.", "contradicted", "missing"),
        ("It stays smiling or maybe frowning.", "contradicted", "missing"),
        ("It stays frowning or smiling.", "contradicted", "missing"),
        ("It has a flat or rising voice.", "missing", "contradicted"),
        ("It stays smiling or something else.", "missing", "missing"),
        ("The mouth turns from frowning to smiling.", "named", "missing"),
        ("It stays smiling and the voice is rising.", "named", "named"),
    ],
)
def test_stated_elements(text: str, mouth: str, voice: str) -> None:
    assert element_coverage(text, REFERENCE) == {"mouth": mouth, "voice": voice}
    assert element_coverage(text.upper(), REFERENCE.model_dump()) == {
        "mouth": mouth,
        "voice": voice,
    }


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("She is smiling rather than frowning.", "named"),
        ("She smiles instead of frowning.", "named"),
        ("Instead of frowning she smiles.", "named"),
        ("She is not just smiling.", "named"),
        ("She isn't only smiling, she is waving.", "named"),
        ("Without hesitation she smiles.", "named"),
        ("Without a word she smiles.", "named"),
        ("She cannot help smiling.", "named"),
        ("She can't help smiling.", "named"),
        ("She never stops smiling.", "named"),
        ("She never fails to smile.", "named"),
        ("I do not doubt that she smiles.", "named"),
        ("Nothing suggests she frowns.", "missing"),
        ("I doubt that she frowns.", "missing"),
        ("I doubt that she smiles.", "contradicted"),
        ("I doubt she smiles.", "contradicted"),
        ("Nothing suggests that she smiles.", "contradicted"),
        ("She frowns rather than smiles.", "contradicted"),
        ("She is not just frowning.", "contradicted"),
        ("She cannot help frowning.", "contradicted"),
        ("Without smiling she waves.", "contradicted"),
    ],
)
def test_turns_of_phrase_are_read_as_they_are_meant(text: str, status: str) -> None:
    smile = Element(
        name="mouth",
        phrases=("smiles", "smiling", "smile"),
        contradictions=("frowns", "frowning", "frown"),
    )

    assert element_coverage(text, Reference(elements=(smile,))) == {"mouth": status}


def test_cues_are_the_words_that_tell_the_values_apart() -> None:
    timed = Element(
        name="start",
        phrases=("smiling at first", "starts smiling"),
        contradictions=("frowning at first", "starts frowning"),
    )
    alone = Element(name="hat", phrases=("a hat that is red", "the red hat", "at the end"))
    start, hat = prepare(Reference(elements=(timed, alone))).stated

    assert start.cues == {stem("smiling"), stem("frowning")}
    assert start.rival_cues == {stem("frowning")}
    assert hat.cues == {"red", "hat"}


@pytest.mark.parametrize(
    ("reference", "text", "named", "contradicted"),
    [
        ("The voice is rising.", "A rising voice.", 2, 0),
        ("The voice is rising.", "Her voice rises.", 2, 0),
        ("The voice is rising.", "The voice.", 0, 0),
        ("The voice is rising.", "The voice is flat.", 0, 1),
        ("The voice is rising.", "The voice is rising and flat.", 1, 1),
        ("The voice is rising.", "The flat, rising voice.", 2, 0),
        ("The voice is rising.", "The voice is rising, the voice is flat.", 1, 1),
        ("The voice is rising.", "The voice isn't rising.", 0, 1),
        ("The voice isn't rising.", "The voice is not rising.", 2, 0),
        ("The voice isn't rising.", "The voice is rising.", 0, 1),
        ("The voice is soft at first, then the voice is loud.", "The voice is loud.", 2, 1),
        ("The man smiles.", "The woman smiles.", 0, 1),
        ("The mouth turns from neutral to smiling.", "The mouth is smiling.", 2, 0),
        ("The mouth turns from neutral to smiling.", "The mouth, odd.", 0, 0),
        ("The mouth turns from neutral to smiling.", "It starts neutral and ends smiling.", 2, 0),
        (
            "The mouth turns from neutral to smiling.",
            "The mouth turns from smiling to neutral.",
            0,
            1,
        ),
        ("Loud.", "The voice is soft.", 0, 1),
        ("Loud.", "The voice is loud.", 1, 0),
    ],
)
def test_found_elements(reference: str, text: str, named: int, contradicted: int) -> None:
    statuses = list(element_coverage(text, Reference(context=reference)).values())

    assert statuses.count(ElementStatus.NAMED) == named
    assert statuses.count(ElementStatus.CONTRADICTED) == contradicted


def test_exchanged_attributes_are_contradictions() -> None:
    reference = Reference(context="The man is smiling and the woman is frowning.")

    exchanged = element_coverage("The woman is smiling and the man is frowning.", reference)
    reordered = element_coverage("The woman is frowning while the man is smiling.", reference)

    assert set(exchanged.values()) == {"contradicted"}
    assert set(reordered.values()) == {"named"}
    assert list(exchanged) == ["man", "smile", "frown", "woman"]


def test_elements_of_one_name_are_told_apart() -> None:
    twice = Reference(elements=(VOICE, VOICE))
    found = Reference(context="The voice rises. The voice trembles.")

    assert list(element_coverage("", twice)) == ["voice", "voice (2)"]
    assert sorted(element_coverage("", found)) == ["rise", "trembl", "voic", "voic (2)"]


def test_a_reference_may_come_as_a_model_a_dict_or_not_at_all() -> None:
    assert as_reference(None) == Reference()
    assert as_reference(REFERENCE) is REFERENCE
    assert as_reference(REFERENCE.model_dump()) == REFERENCE
    filled = {"context": None, "elements": [{"name": "a", "phrases": ["b"], "relevant": None}]}
    assert as_reference(filled) == Reference(elements=(Element(name="a", phrases=("b",)),))
    assert element_coverage("anything", None) == {}
    with pytest.raises(DataError, match=r"reference: elements\.0\.phrases: "):
        as_reference({"elements": [{"name": "a"}]})
    with pytest.raises(DataError, match="reference: 'text'"):
        as_reference("text")  # type: ignore[arg-type]
