"""Texts for the context stage that are wrong on purpose, and the targets they get."""

import json
from collections import Counter, defaultdict
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from random import Random

import numpy as np
import pytest

from triptych.data.clips.cues import ELEMENT_NAMES, INTENTIONS, draw_cues
from triptych.data.clips.questions import emotion_question, intention_questions
from triptych.data.sample import Element, ProblemType, Reference, Sample, parse_object, read_samples
from triptych.rewards.elements import ElementStatus, element_coverage
from triptych.rewards.scorer.corruptions import (
    CONTEXT_VARIANTS,
    Corruption,
    Pair,
    context_pairs,
)
from triptych.rewards.scorer.corruptions.facts import FactDraft
from triptych.rewards.scorer.corruptions.measure import Measure
from triptych.rewards.scorer.corruptions.prose import ProseDraft
from triptych.rewards.scorer.measures import rank_correlation

PROSE = Path(__file__).parents[3] / "golden" / "rewards" / "prose.jsonl"


def clips(count: int) -> list[Sample]:
    """Two questions about each of some clips that were never rendered."""
    samples: list[Sample] = []
    for number in range(count):
        rng = Random(number)
        name = f"test/{number:04d}"
        cues = draw_cues(rng, *list(INTENTIONS)[number % len(INTENTIONS)])
        samples += [*intention_questions(name, cues, 1, rng), emotion_question(name, cues, rng)]
    return samples


def plain(context: str, *elements: Element, sample_id: str = "plain") -> Sample:
    return Sample(
        id=sample_id,
        question="What happens?",
        problem_type=ProblemType.FREE_FORM,
        answer="something",
        media=(),
        reference=Reference(context=context, elements=elements),
    )


@pytest.fixture(scope="module")
def clip_samples() -> list[Sample]:
    return clips(12)


@pytest.fixture(scope="module")
def prose_samples() -> list[Sample]:
    return read_samples(PROSE)[:20]


@pytest.fixture(scope="module")
def clip_pairs(clip_samples: list[Sample]) -> list[Pair]:
    return list(context_pairs(clip_samples, seed=0))


@pytest.fixture(scope="module")
def prose_pairs(prose_samples: list[Sample]) -> list[Pair]:
    return list(context_pairs(prose_samples, seed=0))


@pytest.fixture(scope="module")
def all_pairs(clip_pairs: list[Pair], prose_pairs: list[Pair]) -> list[Pair]:
    return [*clip_pairs, *prose_pairs]


@pytest.fixture(scope="module")
def references(clip_samples: list[Sample], prose_samples: list[Sample]) -> dict[str, Reference]:
    return {sample.id: sample.reference for sample in (*clip_samples, *prose_samples)}


def test_every_clip_gives_every_kind_in_full(clip_samples: list[Sample]) -> None:
    left_out: Counter[Corruption] = Counter()
    pairs = list(context_pairs(clip_samples, seed=0, left_out=left_out))
    counts = Counter((pair.sample_id, pair.kind) for pair in pairs)
    assert not left_out
    assert set(counts) == {(s.id, kind) for s in clip_samples for kind in CONTEXT_VARIANTS}
    in_full = [
        counts[sample.id, kind] == n
        for sample in clip_samples
        for kind, n in CONTEXT_VARIANTS.items()
    ]
    assert sum(in_full) / len(in_full) > 0.98  # cuts of a short text may be few


def test_on_clips_every_element_is_dropped_and_swapped_alone(
    clip_samples: list[Sample], clip_pairs: list[Pair]
) -> None:
    wrong: dict[tuple[str, Corruption], set[tuple[str, ...]]] = defaultdict(set)
    for pair in clip_pairs:
        wrong[pair.sample_id, pair.kind].add(pair.elements)
    alone = {(name,) for name in ELEMENT_NAMES}
    for sample in clip_samples:
        assert wrong[sample.id, Corruption.SWAPPED] == alone
        # Two ways to leave an element out may end in the same words.
        assert len(wrong[sample.id, Corruption.DROPPED] & alone) >= len(alone) - 1
        assert wrong[sample.id, Corruption.DROPPED] <= alone


def test_on_clips_texts_say_what_their_kind_claims(
    clip_pairs: list[Pair], references: dict[str, Reference]
) -> None:
    """By the rule rewards' own reading; on clips no synonym stands between."""
    for pair in clip_pairs:
        status = element_coverage(pair.text, references[pair.sample_id])
        counts = Counter(status.values())
        missing, against = (
            {name for name, value in status.items() if value is which}
            for which in (ElementStatus.MISSING, ElementStatus.CONTRADICTED)
        )
        match pair.kind:
            case Corruption.FAITHFUL | Corruption.HALLUCINATED:
                assert counts == {ElementStatus.NAMED: 6}, pair
            case Corruption.DROPPED:
                assert len(missing) == 1, pair
                assert not against, pair
            case Corruption.SWAPPED:
                assert len(against) == 1, pair
                assert not missing, pair
            case Corruption.TRUNCATED:
                assert missing, pair
                assert not against, pair
            case Corruption.VAGUE | Corruption.EMPTY:
                assert counts == {ElementStatus.MISSING: 6}, pair
            case Corruption.MIXED | Corruption.OTHER_SAMPLE:
                pass
        assert {*pair.elements} == missing | against, pair


def test_on_prose_texts_say_what_their_kind_claims(
    prose_pairs: list[Pair], references: dict[str, Reference]
) -> None:
    for pair in prose_pairs:
        reading = Measure(references[pair.sample_id]).read(pair.text)
        assert pair.target == reading.target
        assert pair.elements == reading.wrong
        match pair.kind:
            case Corruption.FAITHFUL:
                assert reading.faithful, pair
            case Corruption.HALLUCINATED:
                assert reading.added, pair
                assert not reading.wrong, pair
            case Corruption.DROPPED | Corruption.TRUNCATED:
                assert reading.missing, pair
                assert not reading.contradicted, pair
                assert not reading.added, pair
            case Corruption.SWAPPED:
                assert reading.wrong, pair
                assert reading.contradicted or reading.added, pair
            case Corruption.MIXED | Corruption.OTHER_SAMPLE:
                assert not reading.faithful, pair
            case Corruption.VAGUE | Corruption.EMPTY:
                assert not reading.target, pair


def test_targets_are_shares_and_one_is_for_faithful_texts_alone(all_pairs: list[Pair]) -> None:
    for pair in all_pairs:
        assert 0.0 <= pair.target <= 1.0
        assert (pair.target == 1.0) == (pair.kind is Corruption.FAITHFUL), pair


def test_the_formula_by_hand(clip_samples: list[Sample]) -> None:
    by_kind: dict[Corruption, set[float]] = defaultdict(set)
    for pair in context_pairs(clip_samples, seed=3):
        by_kind[pair.kind].add(round(pair.target, 3))
    assert by_kind[Corruption.DROPPED] == {round(5 / 6, 3)}
    assert by_kind[Corruption.SWAPPED] == {round((5 - 1) / 6, 3)}
    assert by_kind[Corruption.HALLUCINATED] <= {round(6 / 7, 3), round(6 / 8, 3)}
    assert by_kind[Corruption.EMPTY] == by_kind[Corruption.VAGUE] == {0.0}


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("The man smiles. His voice is loud.", 4 / 4),
        ("His voice is loud while the gentleman grins.", 4 / 4),
        ("The man smiles.", 2 / 4),
        ("The man smiles. His voice is soft.", (2 - 1) / 4),  # nothing is left said of the voice
        ("The man frowns. His voice is soft.", 0.0),
        ("The man smiles. His voice is loud. A dog barks.", 4 / 6),
        ("The man smiles. Somebody does something. His voice is loud.", 4 / 4),
        ("We see and hear that the man smiles. His voice is loud. Nothing else is shown.", 4 / 4),
        ("", 0.0),
    ],
)
def test_what_a_text_is_worth_against_prose(text: str, target: float) -> None:
    measure = Measure(Reference(context="The man smiles. His voice is loud."))
    assert measure.read(text).target == pytest.approx(target)


def test_claims_are_counted_as_clauses_where_elements_are_stated() -> None:
    element = Element(name="mouth", phrases=("mouth smiles",), contradictions=("mouth frowns",))
    measure = Measure(Reference(context="The mouth smiles.", elements=(element,)))
    assert measure.read("The mouth smiles. A big dog barks loudly.").added == 1
    assert measure.read("The mouth smiles. A dog barks, and rain falls on a roof.").added == 2
    assert measure.read("The mouth frowns.").added == 0  # what it contradicts is no new claim
    assert measure.read("The mouth smiles, that is all that the clip shows.").added == 0


def test_synonyms_are_read_as_the_word_of_the_reference() -> None:
    element = Element(name="mouth", phrases=("stays smiling",), contradictions=("stays frowning",))
    measure = Measure(Reference(context="The mouth stays smiling.", elements=(element,)))
    assert measure.read("The mouth stays grinning.").faithful
    prose = Measure(Reference(context="The child mutters on the sofa."))
    assert prose.read("On the couch the kid murmurs.").faithful
    both = Measure(Reference(context="The photo lies on the photograph."))
    assert both.read("The photo lies on the photo.").missing == {"photograph"}


def test_the_same_seed_gives_the_same_pairs_whatever_the_order(
    prose_samples: list[Sample],
) -> None:
    samples = [*prose_samples[:8], *clips(4)]
    pairs = list(context_pairs(samples, seed=5))
    assert pairs == list(context_pairs(samples, seed=5))
    backwards = list(context_pairs(samples[::-1], seed=5))
    assert sorted(map(repr, backwards)) == sorted(map(repr, pairs))
    assert pairs != list(context_pairs(samples, seed=6))


def test_texts_of_a_sample_differ_and_per_kind_multiplies_them(
    prose_samples: list[Sample],
) -> None:
    once, thrice = (
        list(context_pairs(prose_samples[:6], seed=0, per_kind=number)) for number in (1, 3)
    )
    for pairs in (once, thrice):
        texts = [(pair.sample_id, pair.text) for pair in pairs]
        assert len(texts) == len(set(texts))
    assert len(thrice) > 2 * len(once)


def test_faithful_texts_vary_and_begin_with_the_reference(all_pairs: list[Pair]) -> None:
    faithful: dict[str, list[Pair]] = defaultdict(list)
    for pair in all_pairs:
        if pair.kind is Corruption.FAITHFUL:
            faithful[pair.sample_id].append(pair)
    for pairs in faithful.values():
        assert pairs[0].text == pairs[0].reference
        assert len(pairs) >= 4


def test_wording_does_not_give_the_kind_away(all_pairs: list[Pair]) -> None:
    """No first word is found on right texts, or on wrong ones, alone."""
    starts: dict[str, Counter[bool]] = defaultdict(Counter)
    for pair in all_pairs:
        if pair.kind in (Corruption.FAITHFUL, Corruption.SWAPPED, Corruption.DROPPED):
            starts[" ".join(pair.text.split()[:2])][pair.kind is Corruption.FAITHFUL] += 1
    for start, counts in starts.items():
        if counts.total() >= 40:
            assert 0.05 < counts[True] / counts.total() < 0.95, start


def test_length_does_not_give_the_target_away(
    clip_pairs: list[Pair], prose_pairs: list[Pair]
) -> None:
    for pairs in (clip_pairs, prose_pairs):
        lengths = {pair.sample_id: len(pair.text.split()) for pair in reversed(pairs)}
        written = [pair for pair in pairs if pair.text]
        relative = np.array([len(p.text.split()) / lengths[p.sample_id] for p in written])
        targets = np.array([pair.target for pair in written])
        assert abs(rank_correlation(relative, targets)(np.ones(len(written)))) < 0.15


def test_other_samples_lend_and_nobody_else(prose_samples: list[Sample]) -> None:
    """So that pairs of one side of a split hold nothing of the other."""
    some, others = prose_samples[:5], prose_samples[5:]
    text = " ".join(pair.text for pair in context_pairs(some, seed=0, per_kind=4))
    for other in others:
        for sentence in ProseDraft.read(other.reference.context or "").sentences:
            assert sentence.written() not in text


@pytest.mark.parametrize(
    "context",
    [None, "", "  \n", "...", "It is what it is."],
)
def test_a_sample_without_a_key_element_gives_nothing(context: str | None) -> None:
    left_out: Counter[Corruption] = Counter()
    sample = plain("x").model_copy(update={"reference": Reference(context=context)})
    assert list(context_pairs([sample], seed=0, left_out=left_out)) == []
    assert left_out == dict.fromkeys(CONTEXT_VARIANTS, 1)


def test_a_reference_that_lacks_its_own_elements_gives_nothing() -> None:
    element = Element(name="voice", phrases=("voice is loud",))
    assert list(context_pairs([plain("She smiles.", element)], seed=0)) == []


def test_what_cannot_be_made_is_left_out_and_counted() -> None:
    left_out: Counter[Corruption] = Counter()
    lonely = plain("Nine umbrellas lean against the wall.")
    kinds = {pair.kind for pair in context_pairs([lonely], seed=0, left_out=left_out)}
    # Nothing to exchange, to cut or to drop, and nobody to borrow from.
    gone = {
        Corruption.SWAPPED,
        Corruption.TRUNCATED,
        Corruption.DROPPED,
        Corruption.OTHER_SAMPLE,
    }
    assert gone <= left_out.keys()
    assert kinds == CONTEXT_VARIANTS.keys() - left_out.keys()


def test_stated_elements_of_prose_are_swapped_for_their_contradictions() -> None:
    elements = (
        Element(name="hands", phrases=("hands folded",), contradictions=("hands clenched",)),
        Element(name="voice", phrases=("hoarse voice",), contradictions=("clear voice",)),
    )
    sample = plain("She sits there, her hands folded, and asks in a hoarse voice.", *elements)
    swapped = [pair for pair in context_pairs([sample], seed=0) if pair.kind is Corruption.SWAPPED]
    assert {pair.elements for pair in swapped} == {("hands",), ("voice",)}
    assert any("clenched" in pair.text for pair in swapped)
    assert any("a clear voice" in pair.text for pair in swapped)


def test_pairs_are_plain_data(all_pairs: list[Pair]) -> None:
    for pair in islice(all_pairs, 0, None, 50):
        assert parse_object(json.dumps(asdict(pair)))["text"] == pair.text


def test_a_plain_description_is_taken_for_facts_and_prose_is_not() -> None:
    draft = FactDraft.read("The mouth starts neutral and ends smiling, the brows are level.")
    assert draft is not None
    assert [(fact.subject, fact.verb, fact.value) for fact in draft.facts] == [
        ("mouth", "starts", "neutral"),
        ("mouth", "ends", "smiling"),
        ("brows", "are", "level"),
    ]
    steady = FactDraft.read("The voice stays loud.")
    assert steady is not None
    assert [fact.verb for fact in steady.facts] == ["starts", "ends"]
    assert FactDraft.read("The mouth starts neutral and she laughs.") is None
    assert FactDraft.read("starts neutral") is None
    assert FactDraft.read("") is None


def test_a_wording_that_loses_something_is_not_faithful() -> None:
    deed = Element(name="deed", phrases=("waves while the dog barks",))
    sample = plain("The man waves while the dog barks. It rains on the roof.", deed)
    draft = ProseDraft.read(sample.reference.context or "")
    wordings = {draft.rewritten(Random(number)) for number in range(20)}
    assert any("waves while the dog barks" not in text for text in wordings)
    for pair in context_pairs([sample], seed=0, per_kind=3):
        if pair.kind is Corruption.FAITHFUL:
            assert "waves while the dog barks" in pair.text


def test_a_clause_that_is_said_twice_is_not_dropped_by_leaving_it_out_once() -> None:
    sample = plain("She smiles at him. The rain falls. She smiles at him.")
    dropped = [p for p in context_pairs([sample], seed=0) if p.kind is Corruption.DROPPED]
    assert {pair.elements for pair in dropped} == {("fall", "rain")}


def test_another_sample_that_says_the_same_does_not_lend_its_context() -> None:
    one, same, other = (
        plain(text, sample_id=text)
        for text in ("The man smiles.", "A smiling man.", "It rains on the roof.")
    )
    lent = [
        pair.text
        for pair in context_pairs([one, same, other], seed=0, per_kind=4)
        if pair.kind is Corruption.OTHER_SAMPLE and pair.sample_id == one.id
    ]
    assert lent
    assert not any("man" in text.lower() for text in lent)
