"""Texts for the reasoning stage that are wrong on purpose, and the targets they get."""

from collections import Counter, defaultdict
from pathlib import Path
from random import Random

import pytest

from triptych.data.clips.cues import INTENTIONS, Brows, Mouth, Pitch, draw_cues
from triptych.data.clips.questions import (
    emotion_question,
    intention_questions,
    sincerity_question,
)
from triptych.data.sample import ProblemType, Reference, Sample, read_samples
from triptych.rewards.conclusion import conclusion
from triptych.rewards.reading import read_answer
from triptych.rewards.reasoning import reasoning_reward
from triptych.rewards.scorer.corruptions import (
    REASONING_VARIANTS,
    Corruption,
    Pair,
    reasoning_pairs,
)
from triptych.rewards.scorer.corruptions.measure import Measure
from triptych.rewards.scorer.corruptions.phrases import made_up
from triptych.rewards.scorer.corruptions.prose import ProseDraft
from triptych.rewards.scorer.corruptions.wording import SAME
from triptych.rewards.words import concept, read_text

PROSE = Path(__file__).parents[3] / "golden" / "rewards" / "prose.jsonl"
ZERO = {
    Corruption.CONTRADICTED_ANSWER,
    Corruption.NON_SEQUITUR,
    Corruption.SHORTCUT,
    Corruption.OTHER_SAMPLE,
    Corruption.COPIED_CONTEXT,
    Corruption.EMPTY,
}


@pytest.fixture(scope="module")
def clip_samples() -> list[Sample]:
    """Three questions about each of some clips that were never rendered."""
    samples: list[Sample] = []
    for number in range(18):
        rng = Random(number)
        name = f"test/{number:04d}"
        cues = draw_cues(rng, *list(INTENTIONS)[number % len(INTENTIONS)])
        samples += intention_questions(name, cues, 1, rng)
        samples += [emotion_question(name, cues, rng), sincerity_question(name, cues)]
    return samples


@pytest.fixture(scope="module")
def samples(clip_samples: list[Sample]) -> dict[str, Sample]:
    return {sample.id: sample for sample in (*clip_samples, *read_samples(PROSE))}


@pytest.fixture(scope="module")
def pairs(samples: dict[str, Sample]) -> list[Pair]:
    return list(reasoning_pairs([*samples.values()], seed=0))


def concluded(pair: Pair, sample: Sample) -> str | None:
    found = conclusion(pair.text, sample.problem_type, sample.options)
    return found.value if found else None


def test_targets_follow_the_table(pairs: list[Pair]) -> None:
    for pair in pairs:
        if pair.kind is Corruption.FAITHFUL:
            assert pair.target == 1.0
        elif pair.kind is Corruption.PERMUTED:
            assert pair.target == 0.5
        elif pair.kind in ZERO:
            assert pair.target == 0.0
        else:
            assert pair.kind is Corruption.FOREIGN_EVIDENCE
            assert 0.0 <= pair.target < 1.0


def test_what_is_held_against_what(pairs: list[Pair], samples: dict[str, Sample]) -> None:
    for pair in pairs:
        sample = samples[pair.sample_id]
        assert pair.stage == "reasoning"
        assert pair.reference == sample.reference.context
        assert (pair.question, pair.options) == (sample.question, sample.options)
        if pair.kind not in (Corruption.CONTRADICTED_ANSWER, Corruption.NON_SEQUITUR):
            assert pair.answer == sample.answer


def test_only_contradicted_answers_contradict_what_is_concluded(
    pairs: list[Pair], samples: dict[str, Sample]
) -> None:
    for pair in pairs:
        sample = samples[pair.sample_id]
        stated = concluded(pair, sample)
        given = read_answer(pair.answer, sample.problem_type, sample.options)
        if pair.kind is Corruption.CONTRADICTED_ANSWER:
            assert stated not in (None, given), pair
        elif pair.kind is Corruption.NON_SEQUITUR:
            assert stated == given != sample.answer, pair
        elif pair.kind is not Corruption.OTHER_SAMPLE:
            assert stated in (None, given), pair


def test_the_rule_reward_agrees_where_it_sees_the_fault(
    pairs: list[Pair], samples: dict[str, Sample], clip_samples: list[Sample]
) -> None:
    """On the clips, with the reference's own context as the model's."""
    own = {sample.id for sample in clip_samples}
    chosen = [pair for pair in pairs if pair.sample_id in own]
    of = [samples[pair.sample_id] for pair in chosen]
    rewards = reasoning_reward(
        [""] * len(chosen),
        [
            f"<context>{pair.reference}</context><think>{pair.text}</think>"
            f"<answer>{pair.answer}</answer>"
            for pair in chosen
        ],
        problem_type=[sample.problem_type for sample in of],
        reference=[sample.reference for sample in of],
        options=[sample.options for sample in of],
    )
    by_kind: dict[Corruption, list[float]] = defaultdict(list)
    for pair, reward in zip(chosen, rewards, strict=True):
        assert reward is not None
        by_kind[pair.kind].append(reward)
    means = {kind: sum(values) / len(values) for kind, values in by_kind.items()}
    assert means[Corruption.CONTRADICTED_ANSWER] == 0.0
    assert means[Corruption.SHORTCUT] == means[Corruption.EMPTY] == 0.0
    assert means[Corruption.OTHER_SAMPLE] < 0.05
    assert means[Corruption.FOREIGN_EVIDENCE] < means[Corruption.FAITHFUL]
    # The rule does not know "grinning" where elements are stated; the reference itself it does.
    assert max(by_kind[Corruption.FAITHFUL]) == 1.0


def test_foreign_evidence_of_clips_by_hand(pairs: list[Pair], clip_samples: list[Sample]) -> None:
    """Two cues lead to a meaning: one of them exchanged leaves a half, an addition two thirds."""
    own = {sample.id for sample in clip_samples if sample.extra["kind"] == "intention"}
    targets = {
        round(pair.target, 3)
        for pair in pairs
        if pair.kind is Corruption.FOREIGN_EVIDENCE and pair.sample_id in own
    }
    assert targets == {0.5, 0.667}


@pytest.fixture(scope="module")
def invented() -> frozenset[str]:
    return frozenset(made_up(Random(number)).lower() for number in range(4000))


def adds(pair: Pair, invented: frozenset[str]) -> bool:
    """Whether one of the first sentences is made up."""
    start = pair.text.lower().partition(": ")[2] or pair.text.lower().partition(", ")[2]
    firsts = {pair.text.lower().split(". ")[0], start.split(". ")[0]}
    return not firsts.isdisjoint(invented)


def test_foreign_evidence_says_something_else_than_the_reference(
    pairs: list[Pair], samples: dict[str, Sample], invented: frozenset[str]
) -> None:
    """Had a synonym stood in the exchanged word's place, the target would be wrong."""
    swapped = 0
    for pair in pairs:
        if pair.kind is Corruption.FOREIGN_EVIDENCE and not adds(pair, invented):
            reasoning = Reference(context=samples[pair.sample_id].reference.reasoning)
            assert Measure(reasoning).read(pair.text).wrong, pair
            swapped += 1
    assert swapped > 60


def test_on_clips_foreign_evidence_is_not_in_the_context(
    pairs: list[Pair], clip_samples: list[Sample], invented: frozenset[str]
) -> None:
    """The mouth may have been frowning before, so "frowning" for "smiling" may be held as well."""
    asked = {s.id for s in clip_samples if s.extra["kind"] in ("intention", "emotion")}
    values = {concept(value) for kind in (Mouth, Brows, Pitch) for value in kind}
    for pair in pairs:
        if pair.kind is Corruption.FOREIGN_EVIDENCE and pair.sample_id in asked:
            said, held = (
                {
                    concept(same)
                    for word in read_text(text).words
                    for same in (word, *SAME.get(word, ()))
                }
                & values
                for text in (pair.text, pair.reference)
            )
            assert said - held or adds(pair, invented), pair


def test_foreign_evidence_of_prose_by_hand() -> None:
    """Of the five words of evidence one is exchanged, or three are added."""
    sample = Sample(
        id="x",
        question="Is it joy?",
        problem_type=ProblemType.YES_NO,
        answer="yes",
        media=(),
        reference=Reference(
            context="He smiles. His voice is loud. His hands tremble.",
            reasoning="A smile, a loud voice and trembling hands are joy, so yes.",
        ),
    )
    pairs = [
        pair for pair in reasoning_pairs([sample], 0) if pair.kind is Corruption.FOREIGN_EVIDENCE
    ]
    swapped = [p for p in pairs if "steady" in p.text or "scowl" in p.text or "frown" in p.text]
    added = [p for p in pairs if not any(word in p.text for word in ("steady", "soft", "frown"))]
    assert swapped
    assert {pair.target for pair in swapped} == {4 / 5}
    assert added
    assert {pair.target for pair in added if pair not in swapped} <= {5 / 7, 5 / 8, 5 / 9, 5 / 10}


def test_evidence_that_is_said_twice_is_not_taken_away_by_exchanging_it_once() -> None:
    sample = Sample(
        id="x",
        question="Is he kind?",
        problem_type=ProblemType.YES_NO,
        answer="yes",
        media=(),
        reference=Reference(
            context="He smiles at her.", reasoning="He smiles, and a smile is kind, so yes."
        ),
    )
    texts = [p.text for p in reasoning_pairs([sample], 0) if p.kind is Corruption.FOREIGN_EVIDENCE]
    assert texts
    assert not any("frown" in text or "scowl" in text for text in texts)


def test_a_permuted_text_no_longer_ends_with_its_conclusion(
    pairs: list[Pair], samples: dict[str, Sample]
) -> None:
    checked = 0
    for pair in pairs:
        sample = samples[pair.sample_id]
        if pair.kind is Corruption.PERMUTED and sample.problem_type is ProblemType.MULTIPLE_CHOICE:
            assert f"({sample.answer})" in pair.text.split(". ")[0], pair
            checked += 1
    assert checked > 40


def test_other_samples_share_no_cue_with_the_context(
    pairs: list[Pair], clip_samples: list[Sample]
) -> None:
    cues = {sample.id: sample.extra["cues"] for sample in clip_samples}
    for pair in pairs:
        if pair.kind is Corruption.OTHER_SAMPLE and pair.sample_id in cues:
            said = set(pair.text.lower().replace(".", " ").replace(",", " ").split())
            of_rule = "goes with" in pair.text  # what goes with what is no evidence
            assert of_rule or not said & {*cues[pair.sample_id].values()}, pair


def test_options_keep_their_words(pairs: list[Pair], samples: dict[str, Sample]) -> None:
    """ "happy (A)" must not become "cheerful (A)"."""
    happy = [
        pair
        for pair in pairs
        if pair.kind is Corruption.FAITHFUL
        and samples[pair.sample_id].extra.get("kind") == "intention"
    ]
    for pair in happy:
        sample = samples[pair.sample_id]
        wanted = sample.options["ABCD".index(sample.answer)]
        assert f"{wanted} ({sample.answer})" in pair.text


def test_every_kind_is_made_or_counted(samples: dict[str, Sample]) -> None:
    left_out: Counter[Corruption] = Counter()
    pairs = list(reasoning_pairs([*samples.values()], seed=1, left_out=left_out))
    made = Counter(kind for _, kind in {(pair.sample_id, pair.kind) for pair in pairs})
    for kind in REASONING_VARIANTS:
        assert made[kind] + left_out[kind] == len(samples)
    # A free text has no other answer to contradict it.
    free = sum(sample.problem_type is ProblemType.FREE_FORM for sample in samples.values())
    assert left_out == {Corruption.CONTRADICTED_ANSWER: free, Corruption.NON_SEQUITUR: free}


def test_reasoning_pairs_depend_on_the_seed_and_not_on_the_order(
    samples: dict[str, Sample],
) -> None:
    some = [*samples.values()][::4]
    pairs = list(reasoning_pairs(some, seed=2, per_kind=2))
    assert pairs == list(reasoning_pairs(some, seed=2, per_kind=2))
    backwards = reasoning_pairs(some[::-1], seed=2, per_kind=2)
    assert sorted(map(repr, backwards)) == sorted(map(repr, pairs))
    assert pairs != list(reasoning_pairs(some, seed=3, per_kind=2))
    texts = [(pair.sample_id, pair.text, pair.answer) for pair in pairs]
    assert len(texts) == len(set(texts))


@pytest.mark.parametrize(
    "reference",
    [
        Reference(),
        Reference(context="She smiles."),
        Reference(reasoning="A smile is playful."),
        Reference(context="She smiles.", reasoning="..."),
        Reference(context="...", reasoning="A smile is playful."),
    ],
)
def test_a_sample_without_both_references_gives_nothing(reference: Reference) -> None:
    sample = Sample(
        id="x",
        question="Why?",
        problem_type=ProblemType.YES_NO,
        answer="yes",
        media=(),
        reference=reference,
    )
    left_out: Counter[Corruption] = Counter()
    assert list(reasoning_pairs([sample], seed=0, left_out=left_out)) == []
    assert left_out == dict.fromkeys(REASONING_VARIANTS, 1)


def test_wordings_conclude_what_the_reference_concludes() -> None:
    sample = Sample(
        id="x",
        question="What does the man feel?",
        problem_type=ProblemType.MULTIPLE_CHOICE,
        options=("joy", "grief"),
        answer="B",
        media=(),
        reference=Reference(
            context="The man smiles. The tears run down the cheeks.",
            reasoning="The smile means joy (A). The tears mean grief (B).",
        ),
    )
    draft = ProseDraft.read(sample.reference.reasoning or "")
    assert any(draft.rephrased(Random(n)).startswith("The tears") for n in range(20))
    for pair in reasoning_pairs([sample], 0, per_kind=4):
        if pair.kind is Corruption.FAITHFUL:
            assert concluded(pair, sample) == "B", pair
