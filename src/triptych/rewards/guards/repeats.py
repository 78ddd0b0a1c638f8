"""What a text says a second time in the same words.

* A sentence of two words and more that stood before.
* A run of words that follows itself: of three words and more the second time, of one or two words
  the third time ("very, very" is style, "smiling smiling smiling" is none), the fourth where marks
  set them apart ("no, no, no" is speech).

Words are compared without case, width, punctuation and invisible characters. A run that comes back
later in another sentence ("in the background ... in the background") is no repetition.
"""

from collections.abc import Sequence

from triptych.rewards.guards.passages import Span, Word, fold, keys_of, sentences_of, words_of

_MARKS = " \t\r\n.,;:!?*_-"
_LOOP = 3
"""From so many words on a run may not follow itself once."""


def repeated_spans(text: str) -> list[Span]:
    """The repeated sentences of a text, and the repeated runs of words in the others."""
    sentences = sentences_of(text)
    if not _may_repeat(text, sentences):
        return []
    said: set[tuple[str, ...]] = set()
    repeated: list[Span] = []
    words: list[Word] = []
    for sentence in sentences:
        own = words_of(text, sentence.start, sentence.end)
        keys = tuple(word.key for word in own)
        if len(keys) > 1 and keys in said:
            repeated.append(sentence)
        else:
            said.add(keys)
            words += own
    return repeated + _loops(text, words)


def _may_repeat(text: str, sentences: Sequence[Span]) -> bool:
    """Whether any three words come back, any word follows itself twice, or any short sentence."""
    keys = keys_of(text)
    trigrams = list(zip(keys, keys[1:], keys[2:], strict=False))
    if len(set(trigrams)) < len(trigrams) or any(a == b == c for a, b, c in trigrams):
        return True
    short = [fold(part) for s in sentences if len(part := text[s.start : s.end].strip(_MARKS)) < 40]
    return len(set(short)) < len(short)


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
