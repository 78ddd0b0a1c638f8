"""A text as sentences and words that know where they stand.

`rewards.words` reads words to compare them and forgets where they were; the guards take passages
out and keep the rest to the letter, so they need the places.
"""

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

# A sentence ends at its mark and what closes it, before white space; a line ends a sentence, too.
# The marks come first, all in one set: so the many other characters are passed over fast.
_BREAK = re.compile(
    r"[.!?\u2026\u3002\uff0e\uff01\uff1f\n]"
    r"(?:(?<=[.!?\u2026])[.!?\u2026]*[\"')\]*_\u2019\u201d]*(?=\s)|(?<=[\u3002\uff0e\uff01\uff1f\n]))\s*"
)
# "A." and "2)" at the head of a line or sentence belong to what follows.
_LABEL = re.compile(r"\s*[\"'(\[*]*(?:[A-Za-z]|\d{1,2})[.)]+\s*")
# Format characters (zero width space, joiners, soft hyphen, direction marks, tags) show nothing.
_INVISIBLE = (
    "\u00ad\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff\U000e0000-\U000e007f"
)
_HIDDEN = re.compile(f"[{_INVISIBLE}]")
# Scripts without spaces: each character counts as a word.
_UNSPACED = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
_LETTER = rf"(?![{_UNSPACED}])[^\W_]"
_WORD = re.compile(rf"[{_UNSPACED}]|{_LETTER}(?:[{_INVISIBLE}'\u2019]*{_LETTER})*")
_ASCII_WORD = re.compile(r"[a-z0-9]+(?:'+[a-z0-9]+)*")
_ASCII_SPACED = str.maketrans(
    {char: " " for char in map(chr, range(128)) if not char.isalnum() and char != "'"}
)
_PLAIN = str.maketrans("\u2018\u2019\u02bc\u201c\u201d\u2212", "'''\"\"-")


class Span(NamedTuple):
    """A part of a text: its first character and the one after its last."""

    start: int
    end: int


class Word(NamedTuple):
    """A word of a text: its key (as `fold` gives it) and its place."""

    key: str
    start: int
    end: int


def fold(text: str) -> str:
    r"""A text in the form in which two are compared: no case, width, or invisible characters.

    >>> fold("Sm\u200biling \uff22oys\u2019 HATS")
    "smiling boys' hats"
    """
    if not text.isascii():
        text = _HIDDEN.sub("", unicodedata.normalize("NFKC", text).translate(_PLAIN))
    return text.casefold()


@lru_cache(maxsize=1024)  # all guards look at the same text one after the other
def keys_of(text: str) -> tuple[str, ...]:
    """The words of a text, folded. Characters of scripts without spaces are words."""
    return read_keys(text)


def read_keys(text: str) -> tuple[str, ...]:
    """The same for a text that is looked at once."""
    if text.isascii():  # nearly always, and much cheaper than what follows
        words = text.casefold().translate(_ASCII_SPACED).split()
        if "'" in text:
            return tuple(bare for word in words if (bare := word.strip("'")))
        return tuple(words)
    return tuple(word.key for word in words_of(text))


def words_of(text: str, start: int = 0, end: int | None = None) -> list[Word]:
    """The words of a text, or of a part of it, with their places."""
    end = len(text) if end is None else end
    if text.isascii():
        found = _ASCII_WORD.finditer(text.casefold(), start, end)
        return [Word(match[0], *match.span()) for match in found]
    found = _WORD.finditer(text, start, end)
    return [Word(fold(match[0]), *match.span()) for match in found]


def sentences_of(text: str, start: int = 0, end: int | None = None) -> list[Span]:
    """The sentences and lines of a text, each with the white space that follows it."""
    end = len(text) if end is None else end
    spans: list[Span] = []
    for match in _BREAK.finditer(text, start, end):
        if "\n" in match[0] or not _LABEL.fullmatch(text, start, match.end()):
            spans.append(Span(start, match.end()))
            start = match.end()
    return [*spans, Span(start, end)] if start < end else spans


def without(text: str, removed: Sequence[Span]) -> str:
    """A text without some of its parts."""
    if not removed:
        return text
    pieces: list[str] = []
    position = 0
    for span in sorted(removed, key=lambda span: span.start):
        pieces.append(text[position : span.start])
        position = max(position, span.end)
    return "".join([*pieces, text[position:]])
