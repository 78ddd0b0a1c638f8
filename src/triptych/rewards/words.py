"""Text as the rule rewards see it: words, clauses, negation, and concepts.

Everything is compared after the same reading, so that case, spacing, punctuation and width of
characters never decide a reward.
"""

import re
import unicodedata
from collections.abc import Set
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import compress

from rouge_score.tokenizers import DefaultTokenizer

from triptych.rewards.lexicon import (
    CLAUSE_WORDS,
    EMOTION_GROUP,
    FILLERS,
    FRONTED,
    GOING_ON,
    NEGATING,
    NEGATORS,
    NO_NEGATION,
    PERCEIVED_GROUPS,
    START_WORDS,
    STOP_WORDS,
)

SENTENCE_END = "."
"""Stands among the words of a text where a sentence ends, so that no phrase reaches across."""

_TEXTS_CACHED = 2048
_WORDS_CACHED = 65536
_PLAIN = str.maketrans("\u2018\u2019\u02bc\u201c\u201d\u2212", "'''\"\"-")
# Scripts without spaces: each character counts as a word.
_UNSPACED = re.compile(r"([\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff])")
_NOT = re.compile(r"n't\b|(?<=\bcan)not\b")
_IDIOMS = re.compile(rf"\b(?:(?:{'|'.join(NO_NEGATION)})\b|(?:{'|'.join(GOING_ON)})(?= \w+ing\b))")
_NEGATING = re.compile(rf"\b(?:{'|'.join(NEGATING)})\b")
_FRONTED = re.compile(
    rf"(?:^|[.!?;:,] )(?:{'|'.join(FRONTED)}) [^.!?;:,]*?(?= (?:i|he|she|it|we|they)\b)"
)
# Turns of phrase by a word of theirs that many texts do not have.
_TURNS: dict[str, list[str]] = {}
for _turn in (*NO_NEGATION, *GOING_ON, *NEGATING):
    _TURNS.setdefault(max(_turn.split(), key=len), []).append(_turn)
_OPENERS = frozenset(max(opener.split(), key=len) for opener in FRONTED)
_TURN_WORDS = _OPENERS | _TURNS.keys()
_DASHES = str.maketrans("\u2013\u2014", "::")
_STOPS = ".!?;\u2026\u3002"
_COMMAS = ",:()[]/-\u2013\u2014\u3001"
_TOKEN = re.compile(
    r"\d+(?:[.,]\d+)+|[^\W_]+(?:'[^\W_]+)*|[.!?;\u2026\u3002]"
    r"|[,:()\[\]/\u2013\u2014\u3001]|(?<=\s)-(?=\s)"
)
# What stands for the marks of plain text, in which no such white space is left.
_STOP, _COMMA = "\n", "\t"
_MARKED = dict.fromkeys(_STOPS, _STOP) | dict.fromkeys(_COMMAS, _COMMA)
_MARKED_ASCII = str.maketrans(
    {char: _MARKED.get(char, " ") for char in map(chr, range(128)) if not char.isalnum()}
    | {"-": " "}
)
_SEPARATED_NUMBER = re.compile(r"\d[.,]\d")
_APOSTROPHE = re.compile(r"'(?<=[a-z0-9]')[a-z0-9]+(?:'[a-z0-9]+)*")
_FILLER = re.compile(rf" (?:{'|'.join(sorted(FILLERS, key=lambda words: -len(words)))})(?= )")


def plain_characters(text: str) -> str:
    """Compatibility form of the characters (full width becomes ASCII), plain quotes and minus."""
    if text.isascii():  # nearly always, and then there is nothing to do
        return text
    return unicodedata.normalize("NFKC", text).translate(_PLAIN)


def one_line(text: str) -> str:
    """The text with single spaces in place of all white space, and none around it."""
    # What can be printed has no other white space; this is nearly always so, and looked up fast.
    if text.isprintable() and "  " not in text and text == text.strip():
        return text
    return " ".join(text.split())


def normalise(text: str) -> str:
    """Plain characters, case folded, single spaces; punctuation kept.

    Characters of scripts without spaces are set apart.

    >>> normalise("  The  \uff22oy\u2019s HAT ")
    "the boy's hat"
    """
    text = plain_characters(text).casefold()
    if not text.isascii():
        text = _UNSPACED.sub(r" \1 ", text)
    return one_line(text)


@dataclass(frozen=True, eq=False)  # eq=False: hashed often, by identity
class Text:
    """A text as words.

    Attributes:
        words: Lower case, without punctuation; `SENTENCE_END` after each sentence but the last.
        clauses: For each word the number of its clause.
    """

    words: tuple[str, ...]
    clauses: tuple[int, ...]

    @cached_property
    def padded(self) -> str:
        """The words between single spaces, with a space at either end."""
        return f" {' '.join(self.words)} "

    @cached_property
    def vocabulary(self) -> frozenset[str]:
        """The different words."""
        return frozenset(self.words)

    @cached_property
    def num_words(self) -> int:
        """How many words, sentence ends not counted."""
        return len(self.words) - self.words.count(SENTENCE_END)

    @cached_property
    def filler_share(self) -> float:
        """Share of the words that commit to nothing (`lexicon.FILLERS`); 0 of an empty text."""
        if not self.num_words:
            return 0.0
        fillers = sum(len(match[0].split()) for match in _FILLER.finditer(self.padded))
        return fillers / self.num_words

    def find(self, phrase: str) -> list[int]:
        """The word at which `phrase` (as `phrase_key` gives it) starts, for each occurrence."""
        found, position = [], self.padded.find(phrase)
        while position >= 0:
            found.append(self.padded.count(" ", 0, position))
            position = self.padded.find(phrase, position + 1)
        return found

    def negated(self, index: int) -> bool:
        """Whether a negator stands before word `index` in its clause."""
        return self._negations[index]

    def affirms(self, phrase: str) -> bool:
        """Whether `phrase` (as `phrase_key` gives it) stands anywhere without being negated."""
        if not self._negates:
            return phrase in self.padded
        return any(not self.negated(start) for start in self.find(phrase))

    @cached_property
    def affirmed(self) -> frozenset[str]:
        """Stems of the words that are not negated."""
        return frozenset(map(stem, self._affirmed_words))

    @cached_property
    def denied(self) -> frozenset[str]:
        """Stems of the words that are negated."""
        if not self._negates:
            return frozenset()
        return frozenset(map(stem, compress(self.words, self._negations)))

    @cached_property
    def stems(self) -> frozenset[str]:
        """Stems of all words."""
        return self.affirmed | self.denied

    @cached_property
    def affirmed_concepts(self) -> frozenset[str]:
        """The concepts of the words that are not negated."""
        return frozenset(filter(None, map(concept, self._affirmed_words)))

    @cached_property
    def clause_concepts(self) -> tuple[frozenset[str], ...]:
        """The concepts of each clause that has any, as "smile", "not smile" or "from smile".

        A clause of a single one is elliptic ("and stays loud") and joins the clause before it,
        if there is one in its sentence.
        """
        grouped: list[tuple[int, set[str]]] = []  # sentence, concepts of a clause
        sentence, latest = 0, -1
        before = ""
        for word, clause, negated in zip(self.words, self.clauses, self._negations, strict=True):
            if word == SENTENCE_END:
                sentence += 1
            elif name := concept(word):
                if before in START_WORDS:
                    name = f"from {name}"
                if negated:
                    name = f"not {name}"
                if clause == latest:
                    grouped[-1][1].add(name)
                else:
                    grouped.append((sentence, {name}))
                    latest = clause
            before = word
        merged: list[tuple[int, set[str]]] = []
        for sentence, names in grouped:
            if len(names) == 1 and merged and merged[-1][0] == sentence:
                merged[-1][1].update(names)
            else:
                merged.append((sentence, names))
        return tuple(frozenset(names) for _, names in merged)

    @cached_property
    def all_concepts(self) -> frozenset[str]:
        """The concepts of all clauses, as `clause_concepts` has them."""
        return frozenset().union(*self.clause_concepts)

    def together(self, concepts: frozenset[str]) -> frozenset[str]:
        """Those of several concepts that a clause has beside another one of them."""
        found = self._together.get(concepts)
        if found is None:
            shared = [clause & concepts for clause in self.clause_concepts]
            found = frozenset().union(*[names for names in shared if len(names) > 1])
            self._together[concepts] = found
        return found

    @cached_property
    def _together(self) -> dict[frozenset[str], frozenset[str]]:
        return {}

    @cached_property
    def _affirmed_words(self) -> Set[str]:
        if not self._negates:
            return self.vocabulary
        return {word for word, no in zip(self.words, self._negations, strict=True) if not no}

    @cached_property
    def _negates(self) -> bool:
        return not NEGATORS.isdisjoint(self.vocabulary)

    @cached_property
    def _negations(self) -> tuple[bool, ...]:
        if not self._negates:  # mostly
            return (False,) * len(self.words)
        negations: list[bool] = []
        clause, negated = -1, False
        for word, number in zip(self.words, self.clauses, strict=True):
            negated = negated and number == clause
            negations.append(negated)
            clause, negated = number, negated or word in NEGATORS
        return tuple(negations)

    def reads_as(self, other: "Text") -> bool:
        """Whether two texts are the same to whoever reads words."""
        same = self is other  # mostly
        return same or (self.words == other.words and self.clauses == other.clauses)

    def kept(self, keep: list[bool]) -> "Text":
        """The same text without some of its words."""
        if all(keep):
            return self
        return Text(tuple(compress(self.words, keep)), tuple(compress(self.clauses, keep)))


@lru_cache(maxsize=_TEXTS_CACHED)
def read_text(text: str) -> Text:
    """Read a text into words and clauses.

    A clause ends at a comma, colon, dash, bracket or slash, at the end of a sentence, and before
    words such as "and" or "while". "isn't" reads "is not"; an "'s" is dropped. Turns of phrase that
    negate, or only seem to, read as what they mean (`lexicon.NEGATING`, `lexicon.NO_NEGATION`).
    """
    plain = normalise(text)
    if "n't" in plain or "cannot" in plain:
        plain = _NOT.sub(" not", plain)
    read = _read(plain)
    turned = _turned(plain, read.vocabulary)
    return read if turned == plain else _read(turned)


def _turned(plain: str, vocabulary: frozenset[str]) -> str:
    """A normalised text, its turns of phrase in words that `_read` takes as they are meant."""
    telling = _TURN_WORDS & vocabulary
    if not telling:  # mostly
        return plain
    if any(turn in plain for word in telling for turn in _TURNS.get(word, ())):
        plain = _NEGATING.sub(r"\g<0> not", _IDIOMS.sub(" ", plain))
    return plain if _OPENERS.isdisjoint(telling) else _FRONTED.sub(r"\g<0>,", plain)


def _read(plain: str) -> Text:
    words: list[str] = []
    clauses: list[int] = []
    clause = 0
    for sentence in _marked(plain).split(_STOP):
        if words and words[-1] != SENTENCE_END:
            words.append(SENTENCE_END)
            clauses.append(clause)
            clause += 1
        for number, part in enumerate(sentence.split(_COMMA)):
            clause += number > 0
            found = part.split()
            words += found
            if CLAUSE_WORDS.isdisjoint(found):
                clauses += [clause] * len(found)
                continue
            for word in found:
                clause += word in CLAUSE_WORDS
                clauses.append(clause)
    if words and words[-1] == SENTENCE_END:
        del words[-1], clauses[-1]
    return Text(tuple(words), tuple(clauses))


def _marked(plain: str) -> str:
    """The words of a normalised text between spaces, `_STOP` and `_COMMA` in place of marks."""
    if not plain.isascii():
        plain = plain.translate(_DASHES)
    simple = plain.isascii() and " - - " not in plain
    if simple and not _SEPARATED_NUMBER.search(plain):  # nearly always, and much faster
        if "'" in plain:
            plain = _APOSTROPHE.sub("", plain)
        return plain.replace(" - ", ",").translate(_MARKED_ASCII)
    return _marked_by_pattern(plain)


def _marked_by_pattern(plain: str) -> str:
    """The same for any text."""
    tokens = _TOKEN.findall(plain)
    return " ".join(_MARKED.get(token) or token.partition("'")[0] for token in tokens)


def phrase_key(phrase: str) -> str:
    """A phrase as `Text.find` looks for it; "" when it holds no word."""
    padded = read_text(phrase).padded
    return padded if padded.strip() else ""


_porter = DefaultTokenizer(use_stemmer=True)


@lru_cache(maxsize=_WORDS_CACHED)
def stem(word: str) -> str:
    """Porter's stem of an English word, as ROUGE takes it; other words stay as they are."""
    if word.isascii() and word.isalpha():
        return str(_porter.tokenize(word)[0])
    return word


def _concepts() -> dict[str, tuple[str, frozenset[str]]]:
    """Stem of a word of the lexicon -> its concept, and the concepts that exclude it."""
    table: dict[str, tuple[str, frozenset[str]]] = {}
    for group in (*PERCEIVED_GROUPS, EMOTION_GROUP):
        names = [stem(synonyms.split()[0]) for synonyms in group]
        for name, synonyms in zip(names, group, strict=True):
            rivals = frozenset(names) - {name}
            table.update({stem(word): (name, rivals) for word in synonyms.split()})
    return table


_CONCEPTS = _concepts()
PERCEIVED_CONCEPTS = frozenset(
    _CONCEPTS[stem(word)][0]
    for group in PERCEIVED_GROUPS
    for synonyms in group
    for word in synonyms.split()
)
"""Concepts of the lexicon that can be seen or heard."""


@lru_cache(maxsize=_WORDS_CACHED)
def concept(word: str) -> str | None:
    """What a word stands for: its synonyms' common name, or its stem. None for a stop word.

    >>> concept("grins"), concept("smiled"), concept("the")
    ('smile', 'smile', None)
    """
    if word in STOP_WORDS or word in NEGATORS or word == SENTENCE_END:
        return None
    known = _CONCEPTS.get(stem(word))
    return known[0] if known else stem(word)


def rivals(name: str) -> frozenset[str]:
    """The concepts that exclude this one.

    >>> sorted(rivals(concept("loud")))
    ['soft']
    """
    return _CONCEPTS[name][1] if name in _CONCEPTS else frozenset()
