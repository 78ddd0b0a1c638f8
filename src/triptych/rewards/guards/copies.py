"""Passages copied from the question or its options.

What the prompt already says is no observation, however true. But a true context shares words with
the question ("the man in the red shirt"), so only whole passages count, by these rules:

* A *source* is a sentence of the question, or an option; of a source of ten words and more, also
  every run of four fifths of it.
* A sentence is copied when it is made of sources and of words that present them ("option B:", "the
  question is"). For sources of four words and more function words may stand around them, too ("I
  can see that he smiles politely but looks away").
* A clause is copied in the same way by sources of four words and more.

So "She is smiling" is no copy of the option "smiling", "The man in the red shirt laughs" none of
"the man in the red shirt", and a clause that adds a word of its own is none of anything.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from triptych.rewards.guards.passages import (
    Span,
    Word,
    keys_of,
    read_keys,
    sentences_of,
    words_of,
)
from triptych.rewards.lexicon import CLAUSE_WORDS, NEGATORS, PRESENTING_WORDS, STOP_WORDS

LONG_SOURCE = 4
"""From so many words on a source is recognised among function words, and as a clause."""
MIN_PARTIAL = 8
PARTIAL_SHARE = 0.8
"""A run of this share of a source, and of `MIN_PARTIAL` words, stands for the source."""

_AROUND = (STOP_WORDS - NEGATORS) | PRESENTING_WORDS
_CLAUSE_MARKS = frozenset(",;:()[]/–—…")


@dataclass(frozen=True)
class _Source:
    """The words of a source between single spaces, with a space at either end."""

    padded: str
    num_words: int


def copied_spans(text: str, question: str, options: Sequence[str]) -> list[Span]:
    """The copied sentences and clauses of a text, in order."""
    padded = _padded(keys_of(text))
    present = [s for s in _sources(question, tuple(options)) if s.padded in padded]
    if not present:  # nearly always
        return []
    return [span for sentence in sentences_of(text) for span in _copied(text, sentence, present)]


@lru_cache(maxsize=4096)
def _sources(question: str, options: tuple[str, ...]) -> tuple[_Source, ...]:
    passages = [question[span.start : span.end] for span in sentences_of(question)]
    found: dict[str, _Source] = {}
    for passage in (*passages, *options):
        keys = keys_of(passage)
        size = max(MIN_PARTIAL, -int(-PARTIAL_SHARE * len(keys) // 1)) if keys else 0
        runs = [keys[i : i + size] for i in range(len(keys) - size + 1)] if size < len(keys) else []
        for run in filter(None, (keys, *runs)):
            padded = _padded(run)
            found[padded] = _Source(padded, len(run))
    return tuple(found.values())


def _padded(keys: Sequence[str]) -> str:
    return f" {' '.join(keys)} "


def _copied(text: str, sentence: Span, sources: Sequence[_Source]) -> list[Span]:
    keys = read_keys(text[sentence.start : sentence.end])
    padded = _padded(keys)
    every = [place for source in sources for place in _places(padded, source)]
    if not every:
        return []
    if all(_made_of(keys, every, PRESENTING_WORDS)):
        return [sentence]
    long = [place for place in every if len(place) >= LONG_SOURCE]
    if not long:
        return []
    framed = _made_of(keys, long, _AROUND)
    if all(framed):
        return [sentence]
    words = words_of(text, sentence.start, sentence.end)
    covered = {index for place in long for index in place}
    copied = [
        clauses
        for clauses in _clauses(text, words, long)
        if not covered.isdisjoint(clauses) and all(framed[index] for index in clauses)
    ]
    return [_span(words, sentence, clauses) for clauses in _joined(copied)]


def _places(padded: str, source: _Source) -> Iterator[range]:
    """The words at which a source stands, for each time that it does."""
    position = padded.find(source.padded)
    while position >= 0:
        start = padded.count(" ", 0, position)
        yield range(start, start + source.num_words)
        position = padded.find(source.padded, position + 1)


def _made_of(keys: Sequence[str], places: list[range], allowed: frozenset[str]) -> list[bool]:
    """For each word whether a source covers it, or it may stand beside one."""
    fits = [key in allowed or _is_label(key) for key in keys]
    for place in places:
        for index in place:
            fits[index] = True
    return fits


def _is_label(key: str) -> bool:
    return len(key) == 1 and key.isascii()


def _clauses(text: str, words: Sequence[Word], places: list[range]) -> list[range]:
    """The clauses of a sentence; those that a source reaches across are one."""
    starts = [
        index
        for index, word in enumerate(words)
        if not index
        or (
            (
                word.key in CLAUSE_WORDS
                or not _CLAUSE_MARKS.isdisjoint(text[words[index - 1].end : word.start])
            )
            and not any(place.start < index < place.stop for place in places)
        )
    ]
    return [range(*bounds) for bounds in zip(starts, [*starts[1:], len(words)], strict=True)]


def _joined(clauses: Sequence[range]) -> list[range]:
    joined: list[range] = []
    for clause in clauses:
        if joined and joined[-1].stop == clause.start:
            clause = range(joined.pop().start, clause.stop)
        joined.append(clause)
    return joined


def _span(words: Sequence[Word], sentence: Span, clauses: range) -> Span:
    """Where clauses stand, with the punctuation that joins them to the rest of the sentence."""
    if clauses.start:
        return Span(words[clauses.start - 1].end, words[clauses.stop - 1].end)
    return Span(words[0].start, words[clauses.stop].start)
