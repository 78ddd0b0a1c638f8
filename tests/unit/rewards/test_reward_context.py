import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from triptych.data.clips.cues import (
    Brows,
    Cues,
    Loudness,
    Mouth,
    Pitch,
    all_cues,
    elements,
)
from triptych.data.sample import Element, Reference
from triptych.errors import DataError
from triptych.rewards.base import Unscored
from triptych.rewards.context import context_reward

LOUD = Loudness.LOUD
CUES = Cues(Mouth.NEUTRAL, Mouth.SMILING, Brows.RAISED, Pitch.RISING, LOUD, LOUD)


def written(cues: Cues) -> str:
    return (
        f"The mouth turns from {cues.mouth_start} to {cues.mouth_end} "
        f"and the brows are {cues.brows}. "
        f"The voice is {cues.pitch} and stays {cues.loudness_end}."
    )


EXACT = written(CUES)
STATED = Reference(context=EXACT, elements=elements(CUES, frozenset()))
TEXT_ONLY = Reference(context=EXACT)
VAGUE = (
    "Someone is doing something in a scene. Various things happen and some kind of voice is heard."
)


def reward(context: str, reference: Reference) -> float:
    text = f"<context>{context}</context><think>t</think><answer>A</answer>"
    (value,) = context_reward(["?"], [text], reference=[reference.model_dump()])
    assert value is not None
    return value


@pytest.mark.parametrize("reference", [STATED, TEXT_ONLY])
class TestWithAndWithoutStatedElements:
    def test_the_reference_itself_is_perfect(self, reference: Reference) -> None:
        assert reward(EXACT, reference) == 1.0
        assert reward(f"  {EXACT.upper()}\n", reference) == 1.0

    def test_a_paraphrase_in_another_order_stays_high(self, reference: Reference) -> None:
        swapped = (
            "A rising voice that stays loud; raised brows, and a mouth from neutral to smiling."
        )
        assert reward(swapped, reference) >= 0.8

    @pytest.mark.parametrize(
        "text", [VAGUE, "A person is in a scene.", "The mouth, the brows, the voice.", "", ".", "x"]
    )
    def test_what_is_vague_or_empty_earns_nothing(self, text: str, reference: Reference) -> None:
        assert reward(text, reference) < 0.05

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("rising", "flat"),
            ("raised", "furrowed"),
            ("to smiling", "to frowning"),
            ("loud", "soft"),
        ],
    )
    def test_a_swapped_attribute_costs_more_than_a_missing_one(
        self, old: str, new: str, reference: Reference
    ) -> None:
        swapped = reward(EXACT.replace(old, new), reference)
        missing = reward(EXACT.replace(old, "odd"), reference)

        assert swapped < missing < 1.0
        assert swapped <= 0.75

    def test_guessing_both_values_loses_against_silence(self, reference: Reference) -> None:
        both = EXACT.replace("is rising", "is rising or flat. The voice is flat")
        silent = EXACT.replace("is rising and", "")

        assert reward(both, reference) <= reward(silent, reference)

    def test_negation_flips(self, reference: Reference) -> None:
        assert reward(EXACT.replace("are raised", "are not raised"), reference) < 0.9

    def test_repetition_and_padding_cost(self, reference: Reference) -> None:
        assert reward(f"{EXACT} {EXACT}", reference) < 0.9
        assert reward(" ".join([EXACT] * 10), reference) < 0.2
        assert reward(f"{EXACT} {VAGUE}", reference) < 0.75

    def test_other_clips_contexts_are_low(self, reference: Reference) -> None:
        others = [
            reward(written(cues), reference)
            for cues in all_cues()
            if cues.mouth_end != CUES.mouth_end and cues.pitch != CUES.pitch
        ]
        assert max(others) <= 0.5
        assert sum(others) / len(others) < 0.1


def test_a_long_human_reference() -> None:
    reference = Reference(
        context="A young woman in a red coat laughs loudly at the old man, who stands by the door "
        "and does not answer. In the background someone plays the piano."
    )
    close = (
        "By the door stands an old man who does not answer. A young woman, wearing a red coat, "
        "laughs loudly at him while someone plays the piano in the background."
    )
    other = "Two boys sit at a wooden table and eat soup while a dog barks outside."

    assert reward(reference.context or "", reference) == 1.0
    assert reward(close, reference) > 0.6
    assert reward(other, reference) == 0.0
    assert reward(VAGUE, reference) < 0.05
    wrong = (reference.context or "").replace("woman", "man").replace("does not", "does")
    assert reward(wrong, reference) < 0.8


def test_fillers_that_the_reference_uses_itself_are_free() -> None:
    reference = Reference(context="Someone whispers something.")

    assert reward("Someone whispers something.", reference) == 1.0


def test_elements_without_a_reference_text_have_a_length_of_their_own() -> None:
    reference = Reference(elements=(Element(name="dog", phrases=("a dog barks",)),))

    assert reward("A dog barks.", reference) == 1.0
    assert reward("A dog barks. " * 8, reference) == 0.5


def test_no_reference_is_unscored_and_a_missing_stage_is_zero() -> None:
    reasons: list[tuple[int, Unscored]] = []

    values = context_reward(
        ["?"] * 4,
        [f"<context>{EXACT}</context>", "no stages", EXACT, f"<context>{EXACT}</context>"],
        reference=[None, STATED, STATED.model_dump(), {"context": "of the"}],
        log_unscored=lambda *reason: reasons.append(reason),
    )

    assert values == [None, 0.0, 0.0, None]
    assert reasons == [(0, Unscored.NO_REFERENCE), (3, Unscored.NO_REFERENCE)]


def test_a_malformed_reference_is_named() -> None:
    with pytest.raises(DataError, match="reference: colour: "):
        context_reward(["?"], [""], reference=[{"colour": "red"}])


WORDS = """
man woman smiling frowning neutral rising flat loud soft not no never and but , . ; voice
someone something happy sad the is or from
""".split()  # noqa: SIM905
SENTENCES = st.lists(
    st.sampled_from(WORDS),
    min_size=1,
    max_size=25,
).map(" ".join)


@given(SENTENCES)
@example("man not not man not not")  # says a thing twice, and its opposite by that
@settings(deadline=None, max_examples=100)
def test_any_reference_text_is_perfect_for_itself(text: str) -> None:
    text = f"table {text}"
    assert reward(text, Reference(context=text)) == 1.0


@given(SENTENCES, SENTENCES)
@settings(deadline=None, max_examples=80)
def test_any_context_scores_within_bounds(context: str, reference: str) -> None:
    assert 0.0 <= reward(context, Reference(context=f"table {reference}")) <= 1.0
    assert 0.0 <= reward(context, STATED) <= 1.0
