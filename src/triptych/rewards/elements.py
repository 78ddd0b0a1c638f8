"""The key elements of a reference context, and what a text says of each: named, contradicted,
or nothing.

Elements that the sample states (`Reference.elements`) are looked up by their phrases. Where there
are none they are taken from the text of the reference context, one per content word and clause:

* "The man smiles and the woman is not loud." has the clauses {man, smile} and {woman, not loud},
  so four elements. A clause of one word joins the one before it: "The voice is rising and stays
  loud." has one clause, {voice, rise, loud}.
* An element is named where its word stands in a clause together with another word of its own
  clause. So "the mouth, the voice" names nothing, and of "the man smiles, the woman frowns" with
  the verbs exchanged nothing is right.
* It is contradicted where such a clause has a word that excludes it (`lexicon`: rising or flat,
  loud or soft, man or woman ...) or says it with the opposite sign.
* Word order within a clause is not seen, but for starts: "from neutral to smiling" and "starts
  neutral and ends smiling" both have the words "from neutral" and "smile".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property, lru_cache
from itertools import compress
from typing import Any, Protocol, Self

from pydantic import ValidationError

from triptych.data.sample import Element, Reference
from triptych.errors import DataError
from triptych.rewards.columns import PlainReference
from triptych.rewards.lexicon import STOP_WORDS
from triptych.rewards.words import (
    Text,
    phrase_key,
    read_text,
    rivals,
    stem,
)

# Between "smiling" and "frowning" in "smiling, or maybe frowning".
_CONNECTIVES = frozenset({"or", "and", "nor", "then", "maybe", "perhaps", "possibly", "even"})


class ElementStatus(StrEnum):
    """What a text says of a key element."""

    NAMED = "named"
    CONTRADICTED = "contradicted"
    """Something that excludes it is said, or it is negated; also if it is named besides."""

    MISSING = "missing"


class KeyElement(Protocol):
    """One thing that a good context names."""

    @property
    def name(self) -> str:
        """Unique among the elements of a reference."""

    def status(self, text: Text) -> ElementStatus:
        """What the text says of it."""


@dataclass(frozen=True, eq=False)
class _Phrase:
    """A phrase of an element, prepared for look-up.

    Attributes:
        key: As `phrase_key` gives it.
        telling: Its first cue, or longest word: many texts without the phrase do not have it.
        num_words: How many words it has.
        cues: Those of the element's cues that it has.
        starts, ends: Whether its first and its last word are such.
    """

    key: str
    telling: str
    num_words: int
    cues: frozenset[str]
    starts: bool
    ends: bool

    @classmethod
    def of(cls, key: str, cues: frozenset[str]) -> Self:
        words = key.split()
        stems = [*map(stem, words)]
        own = cues.intersection(stems)
        telling = next(compress(words, map(cues.__contains__, stems)), max(words, key=len))
        return cls(key, telling, len(words), own, stems[0] in cues, stems[-1] in cues)


@dataclass(frozen=True, eq=False)  # eq=False: hashed often, by identity
class StatedElement:
    """An element of `Reference.elements`, prepared for look-up.

    Attributes:
        phrases: Any of them names the element.
        contradictions: Any of them contradicts it.
        cues: Stems of the words by which a text shows which value it speaks of: those that tell
            phrases from contradictions ("smiling", "frowning"; not "mouth" or "stays"). Where
            there are no contradictions, the last content word of each phrase.
        rival_cues: The cues of the contradictions.
    """

    name: str
    relevant: bool
    phrases: tuple[_Phrase, ...]
    contradictions: tuple[_Phrase, ...]
    cues: frozenset[str]
    rival_cues: frozenset[str]

    def status(self, text: Text) -> ElementStatus:
        """Named by a phrase; contradicted by a contradiction or a negated phrase.

        A phrase whose value another one stands beside ("stays smiling or frowning") contradicts
        too, and one with an "or" there names nothing: listing every value is no description.
        """
        named = False
        for phrase in _among(text, self.phrases):
            for start in text.find(phrase.key):
                beside = _beside_value(text.words, start, phrase)
                if text.negated(start) or not self.rival_cues.isdisjoint(map(stem, beside)):
                    return ElementStatus.CONTRADICTED
                named = named or "or" not in beside
        if any(text.affirms(one.key) for one in _among(text, self.contradictions)):
            return ElementStatus.CONTRADICTED
        return ElementStatus.NAMED if named else ElementStatus.MISSING

    def asserted_cues(self, text: Text) -> frozenset[str]:
        """The cues of the phrases and contradictions that a text states."""
        if self.cues.isdisjoint(text.stems):  # mostly
            return frozenset()
        there = _among(text, self._with_cues)
        return frozenset().union(*[one.cues for one in there if text.affirms(one.key)])

    @cached_property
    def _with_cues(self) -> tuple[_Phrase, ...]:
        return tuple(one for one in (*self.phrases, *self.contradictions) if one.cues)


def _among(text: Text, phrases: tuple[_Phrase, ...]) -> list[_Phrase]:
    """The phrases that a text has."""
    words, padded = text.vocabulary, text.padded
    return [one for one in phrases if one.telling in words and one.key in padded]


def _beside_value(words: tuple[str, ...], start: int, phrase: _Phrase) -> list[str]:
    """The words beside a phrase, up to the first that is no connective.

    Only on the side where the phrase has its value word: in "from loud to soft" the value of
    "to soft" has nothing before it.
    """
    beside: list[str] = []
    if phrase.starts:
        beside += _up_to_content(words[max(0, start - 3) : start][::-1])
    if phrase.ends:
        end = start + phrase.num_words
        beside += _up_to_content(words[end : end + 3])
    return beside


def _up_to_content(words: tuple[str, ...]) -> list[str]:
    """The connectives that a text begins with, and the word after them."""
    count = 0
    while count < len(words) and words[count] in _CONNECTIVES:
        count += 1
    return list(words[: count + 1])


def _content_stems(phrase: str) -> list[str]:
    return [stem(word) for word in phrase.split() if word not in STOP_WORDS and word.isalnum()]


def _prepare(element: Element) -> StatedElement:
    phrases = tuple(key for phrase in element.phrases if (key := phrase_key(phrase)))
    against = tuple(key for phrase in element.contradictions if (key := phrase_key(phrase)))
    named = frozenset(name for phrase in phrases for name in _content_stems(phrase))
    opposed = frozenset(name for phrase in against for name in _content_stems(phrase))
    if not against:
        named = frozenset(names[-1] for phrase in phrases if (names := _content_stems(phrase)))
    cues = named ^ opposed
    return StatedElement(
        element.name,
        element.relevant,
        tuple(_Phrase.of(key, cues) for key in phrases),
        tuple(_Phrase.of(key, cues) for key in against),
        cues,
        opposed - named,
    )


@dataclass(frozen=True)
class FoundElement:
    """An element taken from the text of a reference context: one concept of one clause.

    Attributes:
        concept: The concept, "not ..." when the clause negates it.
        clause: All concepts of the clause.
        expected: All concepts of the whole reference; what is said there contradicts nothing that
            is also said.
    """

    name: str
    concept: str
    clause: frozenset[str]
    expected: frozenset[str]

    @cached_property
    def opposites(self) -> frozenset[str]:
        """The concepts that contradict it."""
        if self.concept.startswith("not "):
            return frozenset({self.concept.removeprefix("not ")})
        return rivals(self.concept) | {f"not {self.concept}"}

    @cached_property
    def mates(self) -> frozenset[str]:
        """The other concepts of the clause."""
        return self.clause - {self.concept}

    def status(self, text: Text) -> ElementStatus:
        """By the rules at the head of the module."""
        near = text.together(self.clause) if len(self.clause) > 1 else text.all_concepts
        named = self.concept in near
        if not self.opposites.isdisjoint(text.all_concepts):
            opposed = {other for other in self.opposites if self._near(text, other)}
            # Beside its own clause, the reference may well say the opposite of someone else.
            if opposed - self.expected or (opposed and self.mates and not named):
                return ElementStatus.CONTRADICTED
        return ElementStatus.NAMED if named else ElementStatus.MISSING

    def _near(self, text: Text, concept: str) -> bool:
        """Whether a clause with a mate, or any where there are none, has a concept."""
        return any(
            concept in clause and not (self.mates and self.mates.isdisjoint(clause))
            for clause in text.clause_concepts
        )


def find_elements(context: Text) -> tuple[FoundElement, ...]:
    """The elements of a reference context, as the head of the module says."""
    clauses = context.clause_concepts
    expected = frozenset().union(*clauses)
    found: dict[str, FoundElement] = {}
    for clause in dict.fromkeys(clauses):
        for concept in sorted(clause):
            name, number = concept, 1
            while name in found:
                number += 1
                name = f"{concept} ({number})"
            found[name] = FoundElement(name, concept, clause, expected)
    return tuple(found.values())


@dataclass(frozen=True, eq=False)  # eq=False: hashed often, by identity
class PreparedReference:
    """A reference prepared for scoring many completions.

    Attributes:
        source: The reference.
        context: Its context; empty when it has none.
        stated: The elements of the reference.
        elements: The same, or those found in `context` where none are stated.
    """

    source: Reference
    context: Text
    stated: tuple[StatedElement, ...]
    elements: tuple[KeyElement, ...]

    @cached_property
    def cues(self) -> frozenset[str]:
        """The cues of all stated elements."""
        return frozenset().union(*(element.cues for element in self.stated))

    def statuses(self, text: Text) -> tuple[ElementStatus, ...]:
        """What a text says of each of the elements. Cached: it is asked more than once."""
        return _statuses(self, text)

    def coverage(self, context: str) -> dict[str, ElementStatus]:
        """As `element_coverage`."""
        return dict(zip(self._names, self.statuses(read_text(context)), strict=True))

    @cached_property
    def _names(self) -> tuple[str, ...]:
        names: dict[str, None] = {}
        for element in self.elements:
            name, number = element.name, 1
            while name in names:
                number += 1
                name = f"{element.name} ({number})"
            names[name] = None
        return tuple(names)


@lru_cache(maxsize=2048)
def _statuses(reference: PreparedReference, text: Text) -> tuple[ElementStatus, ...]:
    return tuple(element.status(text) for element in reference.elements)


@lru_cache(maxsize=4096)
def prepare(reference: Reference) -> PreparedReference:
    """Prepare a reference; cached, since the completions of many steps share it."""
    context = read_text(reference.context or "")
    stated = tuple(_prepare(element) for element in reference.elements)
    return PreparedReference(reference, context, stated, stated or find_elements(context))


def prepare_all(
    references: Sequence[Reference | Mapping[str, Any] | None],
) -> dict[int, PreparedReference]:
    """Each distinct reference object of a column prepared, by its `id`.

    Raises:
        DataError: one is malformed.
    """
    distinct = {id(reference): reference for reference in references}
    return {key: prepare(as_reference(value)) for key, value in distinct.items()}


def as_reference(value: Reference | Mapping[str, Any] | None) -> Reference:
    """The `reference` column's value as a `Reference`; None is an empty one.

    Fields that are None (data set libraries fill gaps so) count as left out.

    Raises:
        DataError: it is no reference.
    """
    if isinstance(value, Reference):
        return value
    if isinstance(value, PlainReference):
        return value.source
    try:
        return Reference.model_validate(_without_none(value or {}))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or repr(value)
        raise DataError(f"reference: {field}: {first['msg']}; correct it") from error


def _without_none(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_without_none(item) for item in value]
    return value


def element_coverage(
    context_text: str, reference: Reference | Mapping[str, Any] | None
) -> dict[str, ElementStatus]:
    """What a context says of each key element, by the element's name.

    Two elements of one name would hide each other, so the later ones are numbered: "brows (2)".
    """
    return prepare(as_reference(reference)).coverage(context_text)
