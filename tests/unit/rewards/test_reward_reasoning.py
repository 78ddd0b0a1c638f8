import itertools
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triptych.data.clips.cues import Brows, Cues, Loudness, Mouth, Pitch, all_cues, describe
from triptych.data.clips.questions import (
    emotion_question,
    intention_questions,
    sincerity_question,
)
from triptych.data.sample import Element, Reference, Sample
from triptych.errors import DataError
from triptych.rewards.base import Unscored
from triptych.rewards.reasoning import _own_words, claims, reasoning_reward
from triptych.rewards.words import read_text

GOLDEN = Path(__file__).parents[2] / "golden"
LOUD = Loudness.LOUD
CUES = Cues(Mouth.NEUTRAL, Mouth.SMILING, Brows.RAISED, Pitch.RISING, LOUD, LOUD)
(INTENTION,) = intention_questions("clip", CUES, 1, Random(0))
EMOTION = emotion_question("clip", CUES, Random(0))
LETTER = INTENTION.answer
CONTEXT = describe(CUES)
EVIDENCE = "a smiling mouth at the end with a rising voice"
FEELING = INTENTION.options["ABCD".index(LETTER)]


def without_elements(sample: Sample) -> Sample:
    reference = sample.reference.model_copy(update={"elements": ()})
    return sample.model_copy(update={"reference": reference})


def reward(
    think: str, context: str = CONTEXT, answer: str = LETTER, sample: Sample = INTENTION
) -> float:
    text = f"<context>{context}</context><think>{think}</think><answer>{answer}</answer>"
    (value,) = reasoning_reward(
        [sample.question],
        [text],
        problem_type=[str(sample.problem_type)],
        options=[sample.options],
        reference=[sample.reference.model_dump()],
    )
    assert value is not None
    return value


def every_question() -> list[Sample]:
    return [
        sample
        for cues in itertools.islice(all_cues(), 0, None, 5)
        for sample in (
            *intention_questions("clip", cues, 1, Random(0)),
            emotion_question("clip", cues, Random(0)),
            sincerity_question("clip", cues),
        )
    ]


@pytest.mark.parametrize("with_elements", [True, False])
def test_the_reference_reasoning_on_the_reference_context_is_perfect(with_elements: bool) -> None:
    for sample in every_question():
        sample = sample if with_elements else without_elements(sample)
        think, context = sample.reference.reasoning or "", sample.reference.context or ""
        assert reward(think, context, sample.answer, sample) == 1.0, think


@pytest.mark.parametrize("sample", [INTENTION, without_elements(INTENTION)])
class TestWithAndWithoutStatedElements:
    @pytest.mark.parametrize(
        "think",
        [
            f"obviously ({LETTER})",
            f"The answer is {LETTER}.",
            f"({LETTER})",
            f"so {FEELING} ({LETTER})",
            f"As described in the context, it must be {FEELING} ({LETTER}).",
            f"if it is smiling and if it is rising, ({LETTER})",
            f"it is not frowning, not flat, not soft, so ({LETTER})",
            "",
            ".",
        ],
    )
    def test_a_conclusion_from_nothing_is_worth_nothing(self, think: str, sample: Sample) -> None:
        assert reward(think, sample=sample) == 0.0

    def test_listing_every_cue_earns_nothing(self, sample: Sample) -> None:
        listed = (
            "smiling frowning neutral mouth, raised furrowed level brows, rising flat trembling"
            f" voice, so ({LETTER})"
        )
        assert reward(listed, sample=sample) <= 0.4
        assert reward(listed, sample=sample) < reward(f"{EVIDENCE}, so ({LETTER})", sample=sample)

    def test_copying_the_context_is_no_reasoning(self, sample: Sample) -> None:
        assert reward(f"{CONTEXT} So ({LETTER}).", sample=sample) < 0.4
        assert reward(CONTEXT, sample=sample) == 0.0
        reversed_context = " ".join(CONTEXT.replace(".", "").split()[::-1])
        assert reward(f"{reversed_context}. So ({LETTER}).", sample=sample) < 0.4

    def test_without_a_conclusion_half_is_lost(self, sample: Sample) -> None:
        assert reward(f"{EVIDENCE}.", sample=sample) == 0.5

    def test_without_an_answer_the_conclusion_counts_for_nothing(self, sample: Sample) -> None:
        assert reward(f"{EVIDENCE} ({LETTER})", answer="", sample=sample) == 0.5

    def test_another_conclusion_than_the_answer_fails(self, sample: Sample) -> None:
        other = "ABCD".replace(LETTER, "")[0]

        assert reward(f"{EVIDENCE} means ({other}).", sample=sample) == 0.0
        assert reward(f"{EVIDENCE} means ({LETTER}).", answer=other, sample=sample) == 0.0
        assert reward(f"{EVIDENCE} means ({LETTER}).", answer="perhaps", sample=sample) == 0.0
        assert reward(f"{EVIDENCE} means ({other}).", answer=other, sample=sample) == 1.0

    def test_a_letter_with_another_options_text_fails(self, sample: Sample) -> None:
        wrong = next(option for option in sample.options if option != FEELING)

        assert reward(f"{EVIDENCE} means {FEELING} ({LETTER}).", sample=sample) == 1.0
        assert reward(f"{EVIDENCE} means {wrong} ({LETTER}).", sample=sample) == 0.0

    def test_evidence_is_held_against_the_models_own_context(self, sample: Sample) -> None:
        flat = CONTEXT.replace("rising", "flat")
        think = f"{EVIDENCE} ({LETTER})"

        assert reward(think, flat, sample=sample) < reward(think, sample=sample) == 1.0
        assert reward(think.replace("rising", "flat"), flat, sample=sample) == 1.0
        assert reward(think, "The room is dark.", sample=sample) == 0.0
        assert reward(think, "", sample=sample) == 0.0
        negated = CONTEXT.replace("is rising", "is not rising")
        assert reward(think, negated, sample=sample) < 1.0

    def test_case_and_punctuation_do_not_matter(self, sample: Sample) -> None:
        assert reward(f"A  SMILING mouth -- with a Rising voice!\n({LETTER})", sample=sample) == 1.0


PROSE = [
    Sample.model_validate_json(line)
    for line in (GOLDEN / "rewards" / "prose.jsonl").read_text(encoding="utf-8").splitlines()
]


def with_conclusion(text: str, sample: Sample) -> str:
    return f"{text}. So the answer is ({sample.answer})."


def test_the_words_of_the_context_in_another_order_are_no_reasoning() -> None:
    rewards: list[float] = []
    for sample in PROSE:
        context = sample.reference.context or ""
        words = context.replace(".", "").split()
        for salad in (words[::-1], sorted(words), Random(0).sample(words, len(words))):
            think = with_conclusion(" ".join(salad), sample)
            rewards.append(reward(think, context, sample.answer, sample))

    assert sum(rewards) / len(rewards) < 0.05


def test_reasoning_that_people_wrote_has_words_enough_of_its_own() -> None:
    for sample in PROSE:
        think, context = sample.reference.reasoning or "", sample.reference.context or ""
        assert _own_words(read_text(think), read_text(context)) == 1.0, sample.id


def test_six_words_of_the_context_are_free_and_each_own_word_frees_four() -> None:
    context = read_text("nail oak rope silk tin urn wax yarn zinc jade kelp lime")

    def own(think: str) -> float:
        return _own_words(read_text(think), context)

    assert own("silk nail tin oak urn rope, so the correct answer is (B)") == 1.0
    assert own("silk nail tin oak urn rope wax, so (B)") == pytest.approx(2 / 3)
    assert own("zinc silk nail tin oak urn rope wax yarn, so (B)") == 0.0
    assert own("zinc silk nail tin oak urn rope wax yarn wealth, so (B)") == 1.0


def test_evidence_from_one_side_only_is_incomplete() -> None:
    """The answer needs mouth and voice; brows and loudness do not matter for it."""
    assert reward(f"a smiling mouth means ({LETTER})") == 0.5
    assert reward(f"a smiling mouth and raised brows mean ({LETTER})") == 0.5
    assert reward(f"the brows are raised and the voice is loud, so ({LETTER})") == 0.0
    assert reward(f"a smiling mouth, raised brows and a rising voice mean ({LETTER})") == 1.0


def test_one_slip_of_two_ranks_between() -> None:
    half = reward(f"a smiling mouth with a flat voice means ({LETTER})")

    assert 0.0 < half == 0.25
    assert reward(f"a frowning mouth with a flat voice means ({LETTER})") == 0.0


@pytest.mark.parametrize(
    ("think", "expected"),
    [
        # the mouth turns from neutral to smiling
        ("it turns from neutral to smiling with a rising voice", 0.5),
        ("a smiling mouth with a rising voice", 0.5),
        ("a neutral mouth with a rising voice", 0.125),
        ("it turns from smiling to neutral with a rising voice", 0.0),
    ],
)
def test_a_shared_cue_is_that_of_its_phrase_or_of_the_relevant_element(
    think: str, expected: float
) -> None:
    assert reward(think) == expected


def test_a_cue_that_the_context_words_freely_is_held() -> None:
    assert reward(f"{EVIDENCE} ({LETTER})", "She has a smiling face. Her tone keeps rising.") == 1.0


@pytest.mark.parametrize(
    ("think", "claimed"),
    [
        (
            "a smiling mouth goes with a rising voice and the voice is flat, so no",
            "a smiling mouth",
        ),
        ("a smiling mouth means happy", "a smiling mouth"),
        ("a smile usually comes with joy", "a smile"),
        ("if it is flat, it is calm", "it is calm"),
        ("it would be flat", ""),
        ("the smile is wide", "the smile is wide"),
        ("", ""),
    ],
)
def test_rules_and_hypotheses_claim_nothing(think: str, claimed: str) -> None:
    assert " ".join(claims(think).words).startswith(claimed)
    assert "rising" not in claims(think).words
    assert "happy" not in claims(think).words


def test_a_rule_alone_leaves_the_voice_unexamined() -> None:
    cues = Cues(Mouth.SMILING, Mouth.SMILING, Brows.RAISED, Pitch.FLAT, LOUD, LOUD)
    sample = sincerity_question("clip", cues)
    rule = "a smiling mouth goes with a rising voice"

    assert reward(f"{rule} and the voice is flat, so no.", describe(cues), "no", sample) == 1.0
    assert reward(f"{rule}, so no.", describe(cues), "no", sample) == 0.5
    assert reward(f"{rule} and the voice is rising, so yes.", describe(cues), "yes", sample) == 0.25
    assert reward(f"{rule} and the voice is flat, so no.", describe(cues), "yes", sample) == 0.0


def test_denying_what_the_context_says_is_invented_evidence() -> None:
    assert reward(f"{EVIDENCE} and the brows are not raised, so ({LETTER})") == 0.5
    assert reward(f"{EVIDENCE} and the brows are not level, so ({LETTER})") == 1.0


def test_multi_select_needs_the_same_set() -> None:
    think = EMOTION.reference.reasoning or ""
    first, second = EMOTION.answer.split(",")

    assert reward(think, answer=f"{second}, {first}", sample=EMOTION) == 1.0
    assert reward(think, answer=first, sample=EMOTION) == 0.0


def test_without_a_reference_reasoning_all_relevant_elements_are_wanted() -> None:
    voice = Element(name="voice", phrases=("voice rises",), contradictions=("voice falls",))
    hat = Element(name="hat", phrases=("red hat",), contradictions=("blue hat",))
    sample = INTENTION.model_copy(update={"reference": Reference(elements=(voice, hat))})
    context = "The voice rises under a red hat."

    assert reward(f"it rises, ({LETTER})", context, sample=sample) == 0.5
    assert reward(f"it rises and is red, ({LETTER})", context, sample=sample) == 1.0
    idle = hat.model_copy(update={"relevant": False})
    none = sample.model_copy(update={"reference": Reference(elements=(idle,))})
    assert reward(f"it is red, ({LETTER})", context, sample=none) == 1.0


def test_only_the_elements_that_the_reference_reasoning_uses_are_wanted() -> None:
    reference = INTENTION.reference.model_copy(update={"reasoning": "a rising voice, so yes"})
    sample = INTENTION.model_copy(update={"reference": reference})

    assert reward(f"a rising voice, so ({LETTER})", sample=sample) == 1.0
    assert reward(f"a rising voice, so ({LETTER})") == 0.5


def test_free_texts_agree_by_the_words_of_the_answer() -> None:
    sample = Sample(
        id="q",
        question="What does the sign say?",
        problem_type="ocr",  # type: ignore[arg-type]
        answer="stop here",
        media=(),
        reference=Reference(context="A red sign stands beside the road."),
    )
    context = "A red sign by the road."

    def outcome(think: str, answer: str) -> float:
        return reward(think, context, answer, sample)

    assert outcome("the red sign at the road reads stop here", "stop here") == 1.0
    assert outcome("the red sign at the road reads stop", "stop here") == 0.75
    assert outcome("the red sign at the road", "stop here") == 0.5
    assert outcome("the red sign at the road", "") == 0.5


def test_thin_evidence_counts_in_part_where_no_elements_are_stated() -> None:
    sample = without_elements(INTENTION)

    assert reward(f"the voice ({LETTER})", sample=sample) == pytest.approx(1 / 3)
    only_reasoning = sample.model_copy(update={"reference": Reference(reasoning="A rising voice.")})
    assert reward(f"a smiling mouth, rising voice ({LETTER})", sample=only_reasoning) == 1.0


def test_no_reference_is_unscored_and_bad_columns_are_named() -> None:
    reasons: list[tuple[int, Unscored]] = []

    values = reasoning_reward(
        ["?"] * 2,
        ["<think>so yes</think>", "no stages at all"],
        problem_type=["yes_no"] * 2,
        reference=[{"context": None}, {"context": "A rising voice."}],
        log_unscored=lambda *reason: reasons.append(reason),
        trainer_state=None,
    )

    assert values == [None, 0.0]
    assert reasons == [(0, Unscored.NO_REFERENCE)]
    with pytest.raises(DataError, match="problem_type: 'riddle'"):
        reasoning_reward(["?"], [""], problem_type=["riddle"], reference=[None])


@given(
    st.lists(
        st.sampled_from(
            ["smiling", "rising", "flat", "not", "if", "means", f"({LETTER})", "so", ",", "."]
        )
        | st.text(max_size=4),
        max_size=15,
    ).map(" ".join),
    st.sampled_from([INTENTION, without_elements(INTENTION), EMOTION]),
)
@settings(deadline=None, max_examples=80)
def test_any_reasoning_scores_within_bounds(think: str, sample: Sample) -> None:
    assert 0.0 <= reward(think, sample=sample) <= 1.0
