"""Pairs for a context reward model; the head of the package says what they are."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random

from triptych.data.sample import Sample
from triptych.rewards.scorer.corruptions.draft import Draft
from triptych.rewards.scorer.corruptions.facts import FactDraft
from triptych.rewards.scorer.corruptions.measure import Reading
from triptych.rewards.scorer.corruptions.pair import Corruption, Pair
from triptych.rewards.scorer.corruptions.phrases import LEADS, made_up, vague_text
from triptych.rewards.scorer.corruptions.prose import ProseDraft
from triptych.rewards.scorer.corruptions.source import (
    REWRITTEN,
    ContextSource,
    draft_of,
)
from triptych.rewards.words import phrase_key

CONTEXT_VARIANTS: Mapping[Corruption, int] = {
    Corruption.FAITHFUL: 6,
    Corruption.TRUNCATED: 2,
    Corruption.DROPPED: 6,
    Corruption.SWAPPED: 6,
    Corruption.HALLUCINATED: 3,
    Corruption.MIXED: 4,
    Corruption.VAGUE: 2,
    Corruption.OTHER_SAMPLE: 2,
    Corruption.EMPTY: 1,
}
"""How many texts of each kind a sample gives at most, for each 1 of `per_kind`."""

_TRIES = 6


def context_pairs(
    samples: Sequence[Sample],
    seed: int,
    per_kind: int = 1,
    left_out: Counter[Corruption] | None = None,
) -> Iterator[Pair]:
    """Texts for the context stage of each sample, right and wrong, with targets.

    What a sample gives depends on itself, the seed, and the set of the samples (others lend their
    contexts); not on their order.

    Args:
        samples: Those without a reference context, or without a key element in it, give nothing.
        seed: Draws everything.
        per_kind: Multiplies the numbers of `CONTEXT_VARIANTS`.
        left_out: Filled with how many samples gave no pair of a kind: because nothing in them can
            be exchanged, say, or nothing can go.

    Yields:
        Pairs, sample by sample. No two of a sample have the same text.
    """
    lenders = _Lenders(samples)
    for sample in samples:
        made = list(_sample_pairs(sample, lenders, seed, per_kind))
        yield from made
        if left_out is not None:
            left_out.update(CONTEXT_VARIANTS.keys() - {pair.kind for pair in made})


def _sample_pairs(sample: Sample, lenders: "_Lenders", seed: int, per_kind: int) -> Iterator[Pair]:
    source = ContextSource(sample)
    if not source.usable:
        return
    seen: set[str] = set()
    for kind, count in CONTEXT_VARIANTS.items():
        rng = Random(f"{seed}/{sample.id}/{kind}")
        wanted = count * per_kind
        for text, reading in _MAKERS[kind](source, lenders, rng, wanted):
            key = phrase_key(text)
            if key in seen or (not key and kind is not Corruption.EMPTY):
                continue
            seen.add(key)
            yield source.pair(kind, text, reading)
            wanted -= 1
            if not wanted:
                break


class _Lenders:
    """The contexts of all samples, to borrow from; the same whatever the samples' order."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        texts = {(sample.reference.context or "").strip() for sample in samples}
        self._texts = sorted(texts - {""})

    def contexts(self, own: str, rng: Random, count: int) -> Iterator[str]:
        """Some contexts of others."""
        for text in rng.sample(self._texts, min(count, len(self._texts))):
            if text != own:
                yield text

    def sentences(self, own: str, rng: Random) -> Iterator[str]:
        """Sentences of prose of others, without their full stops."""
        for text in self.contexts(own, rng, _TRIES):
            if FactDraft.read(text) is None:
                yield rng.choice(ProseDraft.read(text).sentences).written().rstrip(".!?\"' ")


_Made = Iterator[tuple[str, Reading]]
_Maker = Callable[[ContextSource, _Lenders, Random, int], _Made]


def _faithful(source: ContextSource, _lenders: _Lenders, rng: Random, wanted: int) -> _Made:
    yield source.text, source.measure.read(source.text)
    for _ in range(wanted * _TRIES):
        text = source.draft.rewritten(rng)
        reading = source.measure.read(text)
        if reading.faithful:
            yield text, reading


def _one_of_each(
    source: ContextSource,
    drafts: Sequence[Draft],
    rng: Random,
    wanted: int,
    fits: Callable[[Reading], bool],
) -> _Made:
    """Drafts whose reading fits; those that get different elements wrong before the others."""
    later: list[Draft] = []
    done: set[tuple[str, ...]] = set()
    for draft in rng.sample(drafts, len(drafts)):
        reading = source.measure.read(draft.written())
        if fits(reading):
            if reading.wrong in done:
                later.append(draft)
            else:
                done.add(reading.wrong)
                yield source.worded(draft, rng)
    for draft in later[:wanted]:
        yield source.worded(draft, rng)


def _only_missing(reading: Reading) -> bool:
    return bool(reading.missing) and not reading.contradicted and not reading.added


def _wrong_value(reading: Reading) -> bool:
    # Where the lexicon does not know that two words exclude each other ("left" and "right"), the
    # one is missing and the other was added.
    return bool(reading.contradicted) or bool(reading.missing and reading.added)


def _truncated(source: ContextSource, _lenders: _Lenders, rng: Random, wanted: int) -> _Made:
    yield from _one_of_each(source, source.draft.cuts(), rng, wanted, _only_missing)


def _dropped(source: ContextSource, _lenders: _Lenders, rng: Random, wanted: int) -> _Made:
    yield from _one_of_each(source, source.draft.drops(), rng, wanted, _only_missing)


def _swapped(source: ContextSource, _lenders: _Lenders, rng: Random, wanted: int) -> _Made:
    drafts = source.draft.swaps(source.exchanges)
    yield from _one_of_each(source, drafts, rng, wanted, _wrong_value)


def _additions(source: ContextSource, lenders: _Lenders, rng: Random) -> Iterator[str]:
    borrowed = [] if isinstance(source.draft, FactDraft) else lenders.sentences(source.text, rng)
    yield from borrowed
    while True:
        yield made_up(rng)


def _hallucinated(source: ContextSource, lenders: _Lenders, rng: Random, wanted: int) -> _Made:
    additions = _additions(source, lenders, rng)
    for _ in range(wanted * _TRIES):
        draft = source.draft
        for _ in range(rng.choice((1, 1, 2))):
            draft = draft.with_addition(next(additions))
        text, reading = source.worded(draft, rng)
        if reading.added and not reading.missing and not reading.contradicted:
            yield text, reading


def _mixed(source: ContextSource, lenders: _Lenders, rng: Random, wanted: int) -> _Made:
    additions = _additions(source, lenders, rng)
    for _ in range(wanted * _TRIES):
        draft, took = source.draft, 0
        for _ in range(rng.choice((2, 2, 3, 4))):
            deed = rng.choice(("drop", "swap", "swap", "add"))
            if deed == "add":
                changed = draft.with_addition(next(additions))
            elif options := draft.drops() if deed == "drop" else draft.swaps(source.exchanges):
                changed = rng.choice(options)
            else:
                continue
            if source.measure.read(changed.written()) != source.measure.read(draft.written()):
                draft, took = changed, took + 1
        # Two changes may undo each other.
        reading = source.measure.read(draft.written())
        if took > 1 and len(reading.wrong) + reading.added > 1:
            yield source.worded(draft, rng)


def _vague(source: ContextSource, _lenders: _Lenders, rng: Random, wanted: int) -> _Made:
    length = len(source.text.split())
    for _ in range(wanted * _TRIES):
        topics = source.topics if rng.random() < 0.5 else ()
        text = vague_text(rng, round(length * rng.choice((0.5, 1.0, 1.5))), topics)
        if rng.random() < 0.4:
            text = rng.choice(LEADS) + text[:1].lower() + text[1:]
        reading = source.measure.read(text)
        if reading.target == 0.0:
            yield text, reading


def _other_sample(source: ContextSource, lenders: _Lenders, rng: Random, wanted: int) -> _Made:
    for text in lenders.contexts(source.text, rng, wanted * _TRIES):
        draft = draft_of(text)
        yielded = draft.rewritten(rng) if rng.random() < REWRITTEN else text
        reading = source.measure.read(yielded)
        if not reading.faithful:
            yield yielded, reading


def _empty(source: ContextSource, _lenders: _Lenders, _rng: Random, _wanted: int) -> _Made:
    yield "", source.measure.read("")


_MAKERS: Mapping[Corruption, _Maker] = {
    Corruption.FAITHFUL: _faithful,
    Corruption.TRUNCATED: _truncated,
    Corruption.DROPPED: _dropped,
    Corruption.SWAPPED: _swapped,
    Corruption.HALLUCINATED: _hallucinated,
    Corruption.MIXED: _mixed,
    Corruption.VAGUE: _vague,
    Corruption.OTHER_SAMPLE: _other_sample,
    Corruption.EMPTY: _empty,
}
