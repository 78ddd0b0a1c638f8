"""Pairs for a reasoning reward model.

A target is set by what was done, since it is known; the shares are read off the text:

| kind | target | why |
|---|---|---|
| faithful | 1 | all evidence is in the context, and the conclusion is the answer |
| permuted | 1/2 | right evidence, right answer, but one no longer leads to the other |
| foreign evidence | held / (held + foreign) | as far as it rests on what the context holds |
| non sequitur | 0 | evidence held, but for another answer |
| contradicted answer | 0 | it does not lead to the answer that is given |
| other sample | 0 | none of its evidence is in the context |
| shortcut | 0 | no evidence |
| copied context | 0 | no reasoning |
| empty | 0 | nothing |
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random

from triptych.data.sample import Sample
from triptych.rewards.scorer.corruptions.pair import Corruption, Pair
from triptych.rewards.scorer.corruptions.phrases import (
    CONCLUSIONS,
    REASONING_OPENINGS,
    SHORTCUT_PADDING,
    SHORTCUTS,
    capitalised,
    made_up,
)
from triptych.rewards.scorer.corruptions.prose import ProseDraft, uncapitalised
from triptych.rewards.scorer.corruptions.reasoning_source import (
    CHOICES,
    ReasoningSource,
    claimed_concepts,
    closed,
)
from triptych.rewards.scorer.corruptions.wording import WORD, exchange
from triptych.rewards.words import concept, phrase_key
from triptych.stages.prompt import OPTION_LETTERS, ProblemType

REASONING_VARIANTS: Mapping[Corruption, int] = {
    Corruption.FAITHFUL: 5,
    Corruption.PERMUTED: 2,
    Corruption.FOREIGN_EVIDENCE: 4,
    Corruption.CONTRADICTED_ANSWER: 3,
    Corruption.NON_SEQUITUR: 2,
    Corruption.SHORTCUT: 2,
    Corruption.OTHER_SAMPLE: 2,
    Corruption.COPIED_CONTEXT: 1,
    Corruption.EMPTY: 1,
}
"""How many texts of each kind a sample gives at most, for each 1 of `per_kind`."""

PERMUTED_TARGET = 0.5

_TRIES = 6

_OPENING = re.compile(r"^(?:So|Therefore|Thus|Hence|Also|Meanwhile|At the same time),?\s+")
_MARKER = re.compile(
    r",?\s+(?:so|therefore|thus|hence|which means|means|which shows|shows?|suggests?|indicates?)\s+"
)


def reasoning_pairs(
    samples: Sequence[Sample],
    seed: int,
    per_kind: int = 1,
    left_out: Counter[Corruption] | None = None,
) -> Iterator[Pair]:
    """Texts for the reasoning stage of each sample, right and wrong, with targets.

    Args:
        samples: Those without a reference context or without a reference reasoning give nothing.
        seed: Draws everything.
        per_kind: Multiplies the numbers of `REASONING_VARIANTS`.
        left_out: Filled with how many samples gave no pair of a kind.

    Yields:
        Pairs, sample by sample. No two of a sample have the same text and answer.
    """
    lenders = sorted(
        ((s.id, s.reference.reasoning.strip()) for s in samples if s.reference.reasoning),
    )
    for sample in samples:
        made = list(_sample_pairs(sample, lenders, seed, per_kind))
        yield from made
        if left_out is not None:
            left_out.update(REASONING_VARIANTS.keys() - {pair.kind for pair in made})


def _sample_pairs(sample: Sample, lenders: "_Lenders", seed: int, per_kind: int) -> Iterator[Pair]:
    source = ReasoningSource(sample)
    if not source.usable:
        return
    seen: set[tuple[str, str]] = set()
    for kind, count in REASONING_VARIANTS.items():
        rng = Random(f"{seed}/{sample.id}/reasoning/{kind}")
        wanted = count * per_kind
        for pair in _MAKERS[kind](source, lenders, rng, wanted):
            key = (phrase_key(pair.text), pair.answer)
            if key in seen or (not key[0] and kind is not Corruption.EMPTY):
                continue
            seen.add(key)
            yield pair
            wanted -= 1
            if not wanted:
                break


_Lenders = Sequence[tuple[str, str]]
_Maker = Callable[[ReasoningSource, _Lenders, Random, int], Iterator[Pair]]


def _faithful(
    source: ReasoningSource, _lenders: _Lenders, rng: Random, wanted: int
) -> Iterator[Pair]:
    yield source.pair(Corruption.FAITHFUL, source.text, 1.0)
    for _ in range(wanted * _TRIES):
        yield source.pair(Corruption.FAITHFUL, _framed(source, source.reworded(rng), rng), 1.0)


def _framed(source: ReasoningSource, text: str, rng: Random) -> str:
    """With a conclusion of its own, or an opening, or both, or neither."""
    return _opened(source.with_conclusion(text, rng) if rng.random() < 0.5 else text, rng)


def _opened(text: str, rng: Random) -> str:
    """With an opening or not; any text may have one, so that it tells nothing."""
    inner = uncapitalised(text)
    if inner and rng.random() < 0.4:
        return rng.choice(REASONING_OPENINGS) + inner
    return capitalised(text) if rng.random() < 0.8 else text


def _permuted(
    source: ReasoningSource, _lenders: _Lenders, rng: Random, wanted: int
) -> Iterator[Pair]:
    for _ in range(wanted * _TRIES):
        text = source.reworded(rng)
        moved = _split_at_marker(text)
        if moved is None:
            rest, end = _conclusion_apart(source, text, rng)
            rng.shuffle(rest)
            moved = " ".join((end, *rest))
        if source.concluded(moved) in (None, source.canonical(source.answer)):
            yield source.pair(Corruption.PERMUTED, _opened(moved, rng), PERMUTED_TARGET)


def _split_at_marker(text: str) -> str | None:
    """What stands after "so" or "means" before the rest; None but for one sentence with one."""
    markers = list(_MARKER.finditer(text))
    if len(markers) != 1 or len(ProseDraft.read(text).sentences) > 1:
        return None
    premise, end = text[: markers[0].start()], text[markers[0].end() :].rstrip(". ")
    return f"It is {end}. {capitalised(premise)}."


def _conclusion_apart(source: ReasoningSource, text: str, rng: Random) -> tuple[list[str], str]:
    """The sentences without the one that concludes, and that one; one is made if need be."""
    rest = [
        capitalised(_OPENING.sub("", sentence.written()))
        for sentence in ProseDraft.read(text).sentences
    ]
    if len(rest) > 1 and source.concluded(rest[-1]) == source.canonical(source.answer):
        return rest, rest.pop()
    end = rng.choice(CONCLUSIONS).format(source.said(source.answer))
    return rest, capitalised(_OPENING.sub("", end))


def _foreign_evidence(
    source: ReasoningSource, _lenders: _Lenders, rng: Random, wanted: int
) -> Iterator[Pair]:
    """With one cue exchanged for one that the context lacks, or with some added."""
    if not source.evidence:
        return
    swaps = [
        (word, other)
        for word in dict.fromkeys(match[0].lower() for match in WORD.finditer(source.text))
        for other in source.exchanges.get(word, ())
        if concept(word) in source.evidence and concept(other) not in source.in_context
    ]
    rng.shuffle(swaps)
    for word, other in swaps[: max(1, wanted // 2 + 1)]:
        swapped = exchange(source.text, word, other)
        held = len(claimed_concepts(swapped) & source.evidence)
        if held < len(source.evidence):
            text = _framed(source, source.reworded(rng, swapped), rng)
            yield source.pair(Corruption.FOREIGN_EVIDENCE, text, held / (held + 1))
    held = len(source.evidence)
    for _ in range(wanted * _TRIES):
        extra = made_up(rng)
        foreign = 1 if source.stated else len(claimed_concepts(extra) - source.in_context)
        if not foreign:
            continue
        text = f"{extra}. {capitalised(source.reworded(rng))}"
        yield source.pair(
            Corruption.FOREIGN_EVIDENCE, _framed(source, text, rng), held / (held + foreign)
        )


def _with_answer(source: ReasoningSource, text: str, other: str, rng: Random) -> str | None:
    """The text with another answer for its conclusion; None where that cannot be done."""
    sample = source.sample
    if source.concluded(text) is None:
        return f"{closed(text)} {rng.choice(CONCLUSIONS).format(source.said(other))}"
    if sample.problem_type is ProblemType.YES_NO:
        words = list(re.finditer(rf"\b{sample.answer}\b", text, re.IGNORECASE))
        if not words:
            return None
        changed = text[: words[-1].start()] + other + text[words[-1].end() :]
    else:
        changed = text
        for old, new in zip(sample.answer.split(","), other.split(","), strict=False):
            changed = _renamed(changed, old, new, sample.options)
    return changed if source.concluded(changed) == source.canonical(other) else None


def _renamed(text: str, old: str, new: str, options: Sequence[str]) -> str:
    """Letter and text of one option exchanged for those of another."""
    old_text, new_text = (options[OPTION_LETTERS.index(letter)] for letter in (old, new))
    text = re.sub(rf"\b{re.escape(old_text)}\b", new_text.replace("\\", r"\\"), text, flags=re.I)
    text = re.sub(rf"\({old}\)", f"({new})", text)
    return re.sub(rf"(?<=\b(?:is|so) )\(?{old}\)?(?=[.,]|$)", new, text)


def _contradicted_answer(
    source: ReasoningSource, _lenders: _Lenders, rng: Random, wanted: int
) -> Iterator[Pair]:
    """The conclusion exchanged beside the right answer, or the answer beside the right one."""
    others = source.other_answers()
    for _ in range(wanted * _TRIES if others else 0):
        other = rng.choice(others)
        text = source.reworded(rng)
        if rng.random() < 0.5:
            yield source.pair(
                Corruption.CONTRADICTED_ANSWER,
                _opened(source.with_conclusion(text, rng), rng),
                0.0,
                other,
            )
        elif changed := _with_answer(source, text, other, rng):
            yield source.pair(Corruption.CONTRADICTED_ANSWER, _opened(changed, rng), 0.0)


def _non_sequitur(
    source: ReasoningSource, _lenders: _Lenders, rng: Random, wanted: int
) -> Iterator[Pair]:
    others = source.other_answers()
    for _ in range(wanted * _TRIES if others else 0):
        other = rng.choice(others)
        if changed := _with_answer(source, source.reworded(rng), other, rng):
            yield source.pair(Corruption.NON_SEQUITUR, _opened(changed, rng), 0.0, other)


def _shortcut(
    source: ReasoningSource, _lenders: _Lenders, rng: Random, _wanted: int
) -> Iterator[Pair]:
    """Short ones, and some that talk around it for as long as real reasoning would."""
    for template in rng.sample(SHORTCUTS, len(SHORTCUTS)):
        said = source.said(source.answer)
        if source.sample.problem_type in CHOICES and rng.random() < 0.5:
            texts = [
                source.sample.options[OPTION_LETTERS.index(x)] for x in source.answer.split(",")
            ]
            said = f"{' and '.join(texts)} {said}"
        text = template.format(said)
        padding = rng.sample(SHORTCUT_PADDING, len(SHORTCUT_PADDING))
        length = len(source.text.split()) * rng.choice((0.0, 1.0, 1.5))
        while padding and len(text.split()) < length:
            text = f"{padding.pop()} {text}"
        yield source.pair(Corruption.SHORTCUT, text, 0.0)


def _other_sample(
    source: ReasoningSource, lenders: _Lenders, rng: Random, wanted: int
) -> Iterator[Pair]:
    """Reasoning of others that shares no evidence; half of it made to end at this answer."""
    for other_id, text in rng.sample(lenders, min(len(lenders), wanted * 4 * _TRIES)):
        if other_id == source.sample.id or claimed_concepts(text) & source.in_context & source.cues:
            continue
        if rng.random() < 0.5:
            text = source.with_conclusion(_without_letters(text), rng)
        yield source.pair(Corruption.OTHER_SAMPLE, _opened(text, rng), 0.0)


def _without_letters(text: str) -> str:
    return re.sub(r"\s*\([A-Z]\)", "", text)


def _copied_context(
    source: ReasoningSource, _lenders: _Lenders, rng: Random, wanted: int
) -> Iterator[Pair]:
    for _ in range(wanted * _TRIES):
        text = source.context
        if (cuts := source.context_cuts) and rng.random() < 0.5:
            text = rng.choice(cuts)
        if rng.random() < 0.5:
            text = source.with_conclusion(text, rng)
        yield source.pair(Corruption.COPIED_CONTEXT, text, 0.0)


def _empty(
    source: ReasoningSource, _lenders: _Lenders, _rng: Random, _wanted: int
) -> Iterator[Pair]:
    yield source.pair(Corruption.EMPTY, "", 0.0)


_MAKERS: Mapping[Corruption, _Maker] = {
    Corruption.FAITHFUL: _faithful,
    Corruption.PERMUTED: _permuted,
    Corruption.FOREIGN_EVIDENCE: _foreign_evidence,
    Corruption.CONTRADICTED_ANSWER: _contradicted_answer,
    Corruption.NON_SEQUITUR: _non_sequitur,
    Corruption.SHORTCUT: _shortcut,
    Corruption.OTHER_SAMPLE: _other_sample,
    Corruption.COPIED_CONTEXT: _copied_context,
    Corruption.EMPTY: _empty,
}
