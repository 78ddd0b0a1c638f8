"""What a text says a second time in the same words.

* A sentence of two words and more that stood before.
* A run of words that follows itself: of three words and more the second time, of one or two words
  the third time ("very, very" is style, "smiling smiling smiling" is none), the fourth where marks
  set them apart ("no, no, no" is speech).

Words are compared without case, width, punctuation and invisible characters. A run that comes back
later in another sentence ("in the background ... in the background") is no repetition.
"""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from operator import eq
from typing import TypeAlias

from triptych.rewards.guards.passages import (
    Span,
    Word,
    fold,
    keys_of,
    read_keys,
    sentences_of,
    words_of,
)

_Trigram: TypeAlias = tuple[str, str, str]

_MARKS = " \t\r\n.,;:!?*_-"
_LOOP = 3
"""From so many words on a run may not follow itself once."""


def repeated_spans(text: str) -> list[Span]:
    """The repeated sentences of a text, and the repeated runs of words in the others."""
    keys = keys_of(text)
    if len(set(pairwise(keys))) >= len(keys) - 1:
        return []  # where anything is repeated, so is a pair of words
    trigrams = list(zip(keys, keys[1:], keys[2:], strict=False))
    twice = _twice(trigrams)
    sentences = sentences_of(text)
    thrice = _thrice(keys)
    if not thrice and not twice and not _short_twice(text, sentences):
        return []  # mostly
    said: set[tuple[str, ...]] = set()
    repeated: list[Span] = []
    kept: list[Span] = []
    for sentence in sentences:
        own = read_keys(text[sentence.start : sentence.end])
        again = len(own) > 1 and own in said
        (repeated if again else kept).append(sentence)
        said.add(own)
    if not repeated and not thrice and not _may_loop(keys, trigrams, twice):
        return []
    words = [word for span in kept for word in words_of(text, span.start, span.end)]
    return repeated + _loops(text, words)


def _twice(trigrams: Sequence[_Trigram]) -> set[_Trigram]:
    """Those that come back."""
    if len(set(trigrams)) == len(trigrams):  # mostly
        return set()
    return {one for one, count in Counter(trigrams).items() if count > 1}


def _thrice(keys: Sequence[str]) -> bool:
    """Whether any word follows itself twice."""
    twice = any(map(eq, keys, keys[1:]))
    return twice and any(a == b == c for a, b, c in zip(keys, keys[1:], keys[2:], strict=False))


def _short_twice(text: str, sentences: Sequence[Span]) -> bool:
    """Whether any sentence of few characters comes back."""
    short = [fold(part) for s in sentences if len(part := text[s.start : s.end].strip(_MARKS)) < 40]
    return len(set(short)) < len(short)


def _may_loop(keys: Sequence[str], trigrams: Sequence[_Trigram], twice: set[_Trigram]) -> bool:
    """Whether the words between some three words and the same three come back after them."""
    latest: dict[_Trigram, int] = {}
    for index, trigram in enumerate(trigrams):
        if trigram not in twice:
            continue
        before = latest.get(trigram)
        if before is not None and keys[before:index] == keys[index : 2 * index - before]:
            return True
        latest[trigram] = index
    return False


def _loops(text: str, words: Sequence[Word]) -> list[Span]:
    keys = [word.key for word in words]
    spans: list[Span] = []
    latest: dict[tuple[str, ...], int] = {}
    index = 0
    while index < len(keys):
        again = keys[index] in keys[max(0, index - 2) : index]
        length = _short_loop(text, words, index) if again else 0
        length = length or _long_loop(keys, index, latest)
        if length:
            spans.append(Span(words[index - 1].end, words[index + length - 1].end))
        for position in range(index, index + max(1, length)):
            latest[tuple(keys[position : position + _LOOP])] = position
        index += max(1, length)
    return spans


def _short_loop(text: str, words: Sequence[Word], index: int) -> int:
    """How many words from `index` on only repeat the one word, or the two, right before them."""
    for period in (1, 2):
        end = index
        while index >= period and end < len(words) and words[end].key == words[end - period].key:
            end += 1
        apart = text[words[index - 1].end : words[index].start].strip() != ""
        if end - index >= (3 if apart else 2) * period:
            return (end - index) // period * period
    return 0


def _long_loop(keys: list[str], index: int, latest: dict[tuple[str, ...], int]) -> int:
    """How many words from `index` on say again the run of three and more right before them."""
    before = latest.get(tuple(keys[index : index + _LOOP]))
    if before is None or index - before < _LOOP:
        return 0
    return index - before if keys[before:index] == keys[index : 2 * index - before] else 0
