"""How much of a reference a text says: the target of a context pair, read off the text itself."""

from dataclasses import dataclass
from functools import cached_property

from triptych.data.sample import Reference
from triptych.rewards.elements import ElementStatus, element_coverage, prepare
from triptych.rewards.lexicon import FILLERS
from triptych.rewards.scorer.corruptions.phrases import ALL_FRAMES
from triptych.rewards.scorer.corruptions.wording import SAME, WORD
from triptych.rewards.words import concept, read_text, rivals


def _base(name: str) -> str:
    """A concept without the marks of negation and of the start ("not from smile")."""
    return name.removeprefix("not ").removeprefix("from ")


def concepts_of(text: str) -> frozenset[str]:
    """The concepts that a text speaks of, negated or not."""
    return frozenset(name for word in read_text(text).words if (name := concept(word)))


_SAYS_NOTHING = frozenset().union(*map(concepts_of, (*FILLERS, *ALL_FRAMES)))


@dataclass(frozen=True)
class Reading:
    """What a text says of the key elements of a reference.

    Attributes:
        named, contradicted, missing: Their names, as `rewards.element_coverage` gives them.
        added: How many claims the text makes that the reference does not know.
        target: max(0, named - contradicted) / (elements + added), in [0, 1].
    """

    named: frozenset[str]
    contradicted: frozenset[str]
    missing: frozenset[str]
    added: int

    @property
    def target(self) -> float:
        surplus = max(0, len(self.named) - len(self.contradicted))
        total = len(self.named) + len(self.contradicted) + len(self.missing) + self.added
        return surplus / total if total else 0.0

    @property
    def faithful(self) -> bool:
        """Whether everything is named and nothing else said."""
        return not (self.contradicted or self.missing or self.added)

    @property
    def wrong(self) -> tuple[str, ...]:
        """The elements that are missing or contradicted, sorted."""
        return tuple(sorted(self.contradicted | self.missing))


class Measure:
    """Reads texts against one reference.

    Claims are counted in the coin of the elements. Where a sample states its elements, a clause
    that holds a concept unknown to reference and elements is one claim; where elements are the
    concepts of the reference text, so are claims. What excludes something that is expected is no
    claim of its own: the element counts as contradicted already. Words of frames ("in the clip")
    and fillers ("something") claim nothing. Synonyms (`wording.SAME`) are read as the word that the
    reference has; all else is `rewards.element_coverage`.
    """

    def __init__(self, reference: Reference) -> None:
        self._reference = reference
        self._prepared = prepare(reference)
        self._names = [*element_coverage("", reference)]
        self._readings: dict[str, Reading] = {}

    @property
    def num_elements(self) -> int:
        """How many key elements the reference has."""
        return len(self._names)

    @cached_property
    def _said(self) -> list[str]:
        """The texts of the reference."""
        said = [self._reference.context or ""]
        for element in self._reference.elements:
            said += [*element.phrases, *element.contradictions]
        return said

    @cached_property
    def _known(self) -> frozenset[str]:
        named = frozenset().union(*map(concepts_of, self._said))
        return named.union(*map(rivals, named)) | _SAYS_NOTHING

    @cached_property
    def _own_words(self) -> dict[str, str]:
        """Synonyms of the reference's words that it does not have itself -> those words."""
        own = {match[0].lower() for text in self._said for match in WORD.finditer(text)}
        return {
            other: word for word in sorted(own) for other in SAME.get(word, ()) if other not in own
        }

    def _in_own_words(self, text: str) -> str:
        return WORD.sub(lambda match: self._own_words.get(match[0].lower(), match[0]), text)

    def read(self, text: str) -> Reading:
        """What `text` says; remembered, since a draft is read again for each wording of it."""
        if text not in self._readings:
            self._readings[text] = self._read(text)
        return self._readings[text]

    def _read(self, text: str) -> Reading:
        words = read_text(self._in_own_words(text))
        by_status: dict[ElementStatus, set[str]] = {status: set() for status in ElementStatus}
        for name, element in zip(self._names, self._prepared.elements, strict=True):
            by_status[element.status(words)].add(name)
        foreign = [
            {name for name in map(_base, clause) if name not in self._known}
            for clause in words.clause_concepts
        ]
        added = (
            sum(map(bool, foreign)) if self._prepared.stated else len(frozenset().union(*foreign))
        )
        return Reading(
            frozenset(by_status[ElementStatus.NAMED]),
            frozenset(by_status[ElementStatus.CONTRADICTED]),
            frozenset(by_status[ElementStatus.MISSING]),
            added,
        )
