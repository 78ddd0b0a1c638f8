"""A sample's reference context, ready to be corrupted."""

import re
from collections.abc import Iterable
from functools import cached_property
from random import Random

from triptych.data.sample import Sample
from triptych.rewards.scorer.corruptions.draft import Draft, Exchanges
from triptych.rewards.scorer.corruptions.facts import FactDraft
from triptych.rewards.scorer.corruptions.measure import Measure, Reading
from triptych.rewards.scorer.corruptions.pair import Corruption, Pair
from triptych.rewards.scorer.corruptions.prose import ProseDraft
from triptych.rewards.scorer.corruptions.wording import EXCLUDE, WORD

REWRITTEN = 0.75
"""How much of all texts but the reference itself is put in other words."""

_TRIES = 6
_TOPIC = re.compile(
    r"\b(?:the|an?|his|her|their)\s+([a-z]+)(?=[,.;]|\s+(?:in|on|of|at|with|and|is|are|who|[a-z]+s)\b)",
    re.IGNORECASE,
)


def draft_of(text: str) -> Draft:
    """A description taken apart: as facts where it is that plain, else as prose."""
    return FactDraft.read(text) or ProseDraft.read(text)


class ContextSource:
    """One sample's reference context, taken apart and ready to be measured against."""

    def __init__(self, sample: Sample) -> None:
        self.sample = sample
        self.text = (sample.reference.context or "").strip()
        self.measure = Measure(sample.reference)

    @property
    def usable(self) -> bool:
        """Whether the reference names all of its own key elements, and has some."""
        return bool(self.text) and self.measure.num_elements > 0 and self._read.faithful

    @cached_property
    def _read(self) -> Reading:
        return self.measure.read(self.text)

    @cached_property
    def draft(self) -> Draft:
        """The context, taken apart."""
        return draft_of(self.text)

    @cached_property
    def exchanges(self) -> Exchanges:
        """The words that exclude each other: those of the elements' values, else of the table."""
        return {**EXCLUDE, **self.values}

    @cached_property
    def values(self) -> Exchanges:
        """The words that tell the values of stated elements, and those that exclude them."""
        table: dict[str, tuple[str, ...]] = {}
        for element in self.sample.reference.elements:
            own, others = _words(element.phrases), _words(element.contradictions)
            rivals = tuple(word for word in others if word not in own)
            table.update({word: rivals for word in own if word not in others and rivals})
        return table

    @cached_property
    def topics(self) -> tuple[str, ...]:
        """Nouns of the context; now and then another word that stands where they do."""
        return tuple(dict.fromkeys(match[1].lower() for match in _TOPIC.finditer(self.text)))

    def worded(self, draft: Draft, rng: Random, rewrite: float = REWRITTEN) -> tuple[str, Reading]:
        """A draft as text: in other words with this probability, if those say the same."""
        plain = draft.written()
        reading = self.measure.read(plain)
        if rng.random() < rewrite:
            for _ in range(_TRIES):
                text = draft.rewritten(rng)
                if self.measure.read(text) == reading:
                    return text, reading
        return plain, reading

    def pair(self, kind: Corruption, text: str, reading: Reading) -> Pair:
        """The pair of one text."""
        return Pair(
            sample_id=self.sample.id,
            stage="context",
            kind=kind,
            text=text,
            target=reading.target,
            reference=self.text,
            question=self.sample.question,
            options=self.sample.options,
            answer=self.sample.answer,
            elements=reading.wrong,
        )


def _words(phrases: Iterable[str]) -> tuple[str, ...]:
    return tuple(
        dict.fromkeys(match[0].lower() for phrase in phrases for match in WORD.finditer(phrase))
    )
