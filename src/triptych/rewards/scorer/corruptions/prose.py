"""Descriptions in free prose, as sentences and clauses in their own words.

What is done to them is surgery on the surface, so it stays close to the text: a clause goes, two
change places, a word is exchanged. Where a sentence is not of a kind that a change is known to
suit, it stays as it is.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Self

from triptych.rewards.scorer.corruptions.draft import Exchanges
from triptych.rewards.scorer.corruptions.phrases import (
    CLOSINGS,
    JOINTS,
    LEADS,
    capitalised,
)
from triptych.rewards.scorer.corruptions.wording import WORD, exchange, varied

_CLOSING = "\"'\u201d\u2019)"
_SENTENCE_END = re.compile(
    rf"(?:(?<=[.!?\u2026])|(?<=[.!?\u2026][{_CLOSING}]))\s+(?=[\"'\u201c\u2018(]?[A-Z0-9])"
)
_CONJUNCTIONS = "and|but|while|whereas|although|though|so|then|yet|who|which|because|as|until"
_JOINT = re.compile(
    rf"(?P<joint>,\s+(?:{_CONJUNCTIONS})\s+|;\s+|:\s+|\s+[\u2013\u2014-]\s+|,\s+"
    r"|\s+(?:while|whereas|although|though|but|who|which|because|until)\s+|\s+and\s+)"
)
# "in a low, hurried voice": what stands before the comma needs what follows.
_UNFINISHED = re.compile(
    r"\b(?:an?|the|his|her|its|their|very|so|of|in|with|more|two|three|four|both|one|some)"
    r"(?:\s+\w+(?:y|ed|ing|ful|less|ous|ish|ant|ent|al|ar|ld|ow|ort|ong|ft|ud|ick|im|in|ark|ght"
    r"|ep|ll|rm|ff|all|igh|lack|lue|reen|hite|ray|ey))$|\b(?:an?|the|his|her|its|their|of|in"
    r"|with|to|very|from|by|at|on|not|is|are)$",
    re.IGNORECASE,
)
_LEAD = re.compile(
    r"(?:in|throughout|during) (?:the|this) (?:video|clip|scene|footage|recording),?\s+",
    re.IGNORECASE,
)
_STARTERS = frozenset(
    word
    for line in (
        "the a an this that these those his her its their he she it they both one two three four",
        "another someone somebody nobody everyone there here in on at behind beside between before",
        "after near from with without while when as under over across outside inside all some many",
        "several no only then now later finally meanwhile instead suddenly slowly quickly",
    )
    for word in line.split()
)
_SUBJECT = re.compile(
    r"(?:the|a|an|his|her|its|their|another|one|two|three|both|nobody|someone|everyone|he|she|it"
    r"|they|there)\b",
    re.IGNORECASE,
)
_PRONOUN = re.compile(r"(?:he|she|it|they)\b", re.IGNORECASE)
_VERB = re.compile(r"(?!as\b|his\b|its\b|this\b|always\b)\w+s\b")
_AND = re.compile(r",?\s+(?:and|but|then)\s+|[;,]\s+")
# "the man who waves": without the clause it is another man, or none.
_CLOSE_TIE = re.compile(r"\s+(?:who|which|because|until)\s+")
_SIDE_BY_SIDE = re.compile(r"(?:\s|,\s)(?:while|whereas)\s")
_NO_SUBORDINATE = re.compile(r"\b(?:that|if|when|after|before|while|as|because)\b", re.IGNORECASE)
_POSSESSIVE = re.compile(r"(?:his|her|their|both|one)\s", re.IGNORECASE)
_SHORT_FORMS = (
    ("is not", "isn't"),
    ("does not", "doesn't"),
    ("do not", "don't"),
    ("did not", "didn't"),
    ("are not", "aren't"),
    ("was not", "wasn't"),
    ("cannot", "can't"),
    ("has not", "hasn't"),
)
_LEANS_BACK = re.compile(
    r"(?:he|she|it|they|his|her|their|him|them|then|now|later|finally|after|afterwards|so|this"
    r"|that|these|but|and|suddenly|at last|in the end|for a|before|again|both|neither)\b",
    re.IGNORECASE,
)
_LEANING = re.compile(
    r"\b(?:he|she|it|they|his|hers?|their|him|them|then|now|later|finally|after|afterwards|last|end"
    r"|again|other|both|neither|not|this|these|only)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Sentence:
    """A sentence as clauses.

    Attributes:
        clauses: As they are written.
        joints: What stands between them; one fewer.
        end: What stands after the last, such as ".".
    """

    clauses: tuple[str, ...]
    joints: tuple[str, ...]
    end: str

    @classmethod
    def read(cls, text: str) -> Self:
        end = re.search(r"[\s.!?\u2026\"'\u201d]*$", text)
        body = text[: end.start()] if end else text
        pieces = _JOINT.split(body)
        clauses, joints = [pieces[0]], list[str]()
        for joint, clause in zip(pieces[1::2], pieces[2::2], strict=True):
            if _UNFINISHED.search(clauses[-1]) or " " not in clause.strip():
                clauses[-1] += joint + clause
            else:
                joints.append(joint)
                clauses.append(clause)
        return cls(tuple(clauses), tuple(joints), (end[0].strip() if end else "") or ".")

    def written(self) -> str:
        parts = [self.clauses[0]]
        for joint, clause in zip(self.joints, self.clauses[1:], strict=True):
            parts += [joint, clause]
        return capitalised("".join(parts)) + self.end

    def without(self, index: int) -> Self | None:
        """Without one clause; None where what is left would be no sentence."""
        count = len(self.clauses)
        if count == 1 or _CLOSE_TIE.fullmatch(_at(self.joints, index - 1)):
            return None
        gone, clauses, joints = self.clauses[index], [*self.clauses], [*self.joints]
        del clauses[index]
        following = _at(self.clauses, index + 1)
        leans = bool(following) and not _SUBJECT.match(following)
        stronger = max(joints[max(0, index - 1) : index + 1], key=len)
        pronoun = _PRONOUN.match(gone)
        if leans and pronoun and _AND.fullmatch(joints[index]) and _VERB.match(following):
            clauses[index] = (
                f"{pronoun[0]} {clauses[index]}"  # of "she sits and waits", "she waits"
            )
            leans, stronger = False, joints[max(0, index - 1)]
        if index == 0:
            if leans or not _AND.fullmatch(joints[0]) or _POSSESSIVE.match(self.clauses[1]):
                return None
            del joints[0]
        elif index == count - 1:
            listed = count > 2 and not _SUBJECT.match(clauses[-1]) and joints[-2].strip() == ","
            if "and" in joints.pop() and listed:
                joints[-1] = " and "  # of "a, b and c", "a and b"
        elif leans and _SUBJECT.match(gone):
            return None
        else:
            joints[index - 1 : index + 1] = [stronger]
        left = "".join(clauses)
        end = self.end if left.count('"') % 2 == ('"' in self.end) else "."
        return replace(self, clauses=tuple(clauses), joints=tuple(joints), end=end)

    def first(self, count: int) -> Self:
        """Its first clauses."""
        return replace(self, clauses=self.clauses[:count], joints=self.joints[: count - 1], end=".")


@dataclass(frozen=True)
class ProseDraft:
    """A description as sentences."""

    sentences: tuple[Sentence, ...]

    @classmethod
    def read(cls, text: str) -> Self:
        """The sentences of a text; at least one."""
        plain = " ".join(text.split())
        parts = [part for part in _SENTENCE_END.split(plain) if WORD.search(part)]
        return cls(tuple(map(Sentence.read, parts or [plain])))

    def drops(self) -> list[Self]:
        drafts = []
        for i, sentence in enumerate(self.sentences):
            if len(self.sentences) > 1 and len(sentence.clauses) < 3:
                drafts.append(self._with(i))
            for k in range(len(sentence.clauses)):
                if (shorter := sentence.without(k)) is not None:
                    drafts.append(self._with(i, shorter))
        return drafts

    def swaps(self, exchanges: Exchanges) -> list[Self]:
        text = self.written()
        words = dict.fromkeys(match[0].lower() for match in WORD.finditer(text))
        return [
            type(self).read(exchange(text, word, other))
            for word in words
            for other in exchanges.get(word, ())
        ]

    def cuts(self) -> list[Self]:
        drafts: list[Self] = []
        for i, sentence in enumerate(self.sentences):
            for count in range(1, len(sentence.clauses) + 1):
                if i == len(self.sentences) - 1 and count == len(sentence.clauses):
                    break
                drafts.append(replace(self, sentences=(*self.sentences[:i], sentence.first(count))))
        return drafts

    def with_addition(self, sentence: str) -> Self:
        """At the end; where it stands in the text is drawn when it is rewritten."""
        added = Sentence.read(sentence + ".")
        middle = (len(self.sentences) + 1) // 2
        return replace(self, sentences=(*self.sentences[:middle], added, *self.sentences[middle:]))

    def written(self) -> str:
        return " ".join(sentence.written() for sentence in self.sentences)

    def rewritten(self, rng: Random) -> str:
        text = self.rephrased(rng)
        text = _with_lead(text, rng)
        return f"{text} {rng.choice(CLOSINGS)}" if rng.random() < 0.2 else text

    def rephrased(self, rng: Random, keep: frozenset[str] = frozenset()) -> str:
        """In other words, with no more around it; the words `keep` (lower case) stay."""
        sentences = [_rephrased(sentence, rng) for sentence in _reordered(self.sentences, rng)]
        text = _short_or_long_forms(_joined(sentences, rng), rng)
        return varied(text, rng, rng.choice((0.0, 0.5, 1.0)), keep)

    def _with(self, index: int, *sentences: Sentence) -> Self:
        return replace(
            self,
            sentences=(*self.sentences[:index], *sentences, *self.sentences[index + 1 :]),
        )


def _at(parts: Sequence[str], index: int) -> str:
    return parts[index] if 0 <= index < len(parts) else ""


def uncapitalised(text: str) -> str | None:
    """The text to stand within a sentence; None where its first word may be a name."""
    word = WORD.match(text)
    if word and word[0].lower() in _STARTERS:
        return text[:1].lower() + text[1:]
    return None


def _reordered(sentences: tuple[Sentence, ...], rng: Random) -> list[Sentence]:
    """Now and then with two neighbours exchanged that do not lean on each other."""
    order = list(sentences)
    for i in range(len(order) - 1):
        first, second = (sentence.written() for sentence in order[i : i + 2])
        after = order[i + 2].written() if i + 2 < len(order) else ""
        free = not any(map(_LEANING.search, (first, second))) and not _LEANS_BACK.match(after)
        if free and rng.random() < 0.5:
            order[i], order[i + 1] = order[i + 1], order[i]
    return order


def _rephrased(sentence: Sentence, rng: Random) -> str:
    """One sentence with its clauses in another order, or as two; often as it is."""
    text = sentence.written()
    if rng.random() < 0.35 or len(sentence.clauses) < 2:
        return text
    options = [text]
    first, rest = sentence.clauses[0], sentence.clauses[1:]
    joint = sentence.joints[0]
    inner = uncapitalised(first)
    if len(rest) == 1 and inner:
        second = rest[0]
        if _SIDE_BY_SIDE.fullmatch(joint) and not first.lower().startswith("while"):
            options += [f"While {second}, {inner}{sentence.end}"] * 2
            if _SUBJECT.match(second):
                options.append(f"{first}. At the same time, {second}{sentence.end}")
        elif joint == ", " and _POSSESSIVE.match(second) and not _NO_SUBORDINATE.match(first):
            options += [f"{capitalised(second)}, {inner}{sentence.end}"] * 2
        elif joint == ", " and first.lower().startswith("while "):
            options += [f"{capitalised(second)} while {inner[6:]}{sentence.end}"] * 2
    if (
        rest
        and ", and" in sentence.joints[-1]
        and _SUBJECT.match(rest[-1])
        and not _NO_SUBORDINATE.search(sentence.written())
        and len(rest[-1].split()) > 4  # "and the wall clock" is no sentence of its own
    ):
        head = replace(sentence, clauses=sentence.clauses[:-1], joints=sentence.joints[:-1])
        start = head.written()[: -len(sentence.end)]
        options += [f"{start}. {capitalised(rest[-1])}{sentence.end}"]
        options += [f"{start}{rng.choice(JOINTS)}{rest[-1]}{sentence.end}"]
        options += [f"{start}; {rest[-1]}{sentence.end}"]
    return rng.choice(options)


def _with_lead(text: str, rng: Random) -> str:
    bare = _LEAD.sub("", text, count=1) if _LEAD.match(text) else text
    if rng.random() < 0.5 or (inner := uncapitalised(bare)) is None:
        return capitalised(bare) if rng.random() < 0.5 else text
    return rng.choice(LEADS) + inner


def _joined(sentences: list[str], rng: Random) -> str:
    text = sentences[0]
    for sentence in sentences[1:]:
        inner = uncapitalised(sentence)
        if inner and text.endswith(".") and rng.random() < 0.2:
            text = f"{text[:-1]}{rng.choice(('; ', ', and '))}{inner}"
        else:
            text = f"{text} {sentence}"
    return text


def _short_or_long_forms(text: str, rng: Random) -> str:
    for long, short in _SHORT_FORMS:
        if rng.random() < 0.5:
            text = text.replace(long, short) if rng.random() < 0.5 else text.replace(short, long)
    return text
