"""Whose media a sample is given when its own are swapped.

A swapped voice that says the same is no swap. A donor therefore is, as far as there is one, a
sample

* of another clip, with as many items of each kind that is swapped (without that there is no swap);
* whose right answer, as text, is another one;
* of which all that the answer depends on, in the media that are swapped, is otherwise: the relevant
  elements of the reference, where both samples state elements of the same names.

Of several, one is drawn, by a seed and the ids of the samples: their order, and how many of them
are asked about, change nothing.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from triptych.data.sample import MediaKind, ProblemType, Sample
from triptych.evaluation.audit.conditions import SEEN, has_options
from triptych.evaluation.metrics import cluster_of
from triptych.rewards.words import normalise
from triptych.stages.prompt import OPTION_LETTERS


@dataclass(frozen=True)
class Donor:
    """Whose media a sample is given.

    Attributes:
        sample: theirs.
        says_otherwise: its right answer and all relevant elements differ. Where that is False, the
            swap may leave the right answer right.
    """

    sample: Sample
    says_otherwise: bool


class Donors:
    """Finds donors among samples.

    Args:
        pool: the samples; their order does not matter.
        seed: of the draw.
    """

    def __init__(self, pool: Sequence[Sample], seed: int = 0) -> None:
        self._pool = sorted(pool, key=lambda sample: sample.id)
        self._clusters = [cluster_of(sample) for sample in self._pool]
        self._answers = [answer_text(sample) for sample in self._pool]
        self._seed = seed

    def find(self, sample: Sample, kinds: frozenset[MediaKind]) -> Donor | None:
        """The donor of a sample's media of these kinds; None where no other clip has such media."""
        best: Donor | None = None
        most = -1.0
        wanted, answer = _counts(sample, kinds), answer_text(sample)
        for index in self._drawn(sample, kinds):
            candidate = self._pool[index]
            if self._clusters[index] == cluster_of(sample) or _counts(candidate, kinds) != wanted:
                continue
            if not _own_files(sample, kinds).isdisjoint(_own_files(candidate, kinds)):
                continue
            share = _share_that_differs(sample, candidate, kinds)
            otherwise = self._answers[index] != answer
            if otherwise and share == 1.0:
                return Donor(candidate, True)
            if otherwise + share > most:
                best, most = Donor(candidate, False), otherwise + share
        return best

    def _drawn(self, sample: Sample, kinds: frozenset[MediaKind]) -> Iterator[int]:
        """All candidates, in an order of this sample's own."""
        name = f"{self._seed}/{'+'.join(sorted(kinds))}/{sample.id}"
        digest = hashlib.sha256(name.encode()).digest()
        rng = np.random.default_rng(int.from_bytes(digest[:8], "big"))
        yield from rng.permutation(len(self._pool)).tolist()


def answer_text(sample: Sample) -> str:
    """The right answer in words: the texts of right options in place of their letters."""
    if has_options(sample):
        texts = [sample.options[OPTION_LETTERS.index(one)] for one in sample.answer.split(",")]
        return "\n".join(sorted(map(normalise, texts)))
    if sample.problem_type is ProblemType.YES_NO:
        # "Yes" says nothing without what is asked.
        return f"{normalise(sample.question)}\n{sample.answer}"
    return normalise(sample.answer)


def _counts(sample: Sample, kinds: frozenset[MediaKind]) -> list[int]:
    return [sum(item.kind is kind for item in sample.media) for kind in sorted(kinds)]


def _own_files(sample: Sample, kinds: frozenset[MediaKind]) -> set[str]:
    return {str(item.path) for item in sample.media if item.kind in kinds}


def _share_that_differs(sample: Sample, donor: Sample, kinds: frozenset[MediaKind]) -> float:
    """The share of the relevant elements that the donor states otherwise; 1 where it cannot be
    told.
    """
    theirs = {element.name: element for element in donor.reference.elements}
    differ = [
        {*map(normalise, element.phrases)}.isdisjoint(map(normalise, theirs[element.name].phrases))
        for element in sample.reference.elements
        if element.relevant and element.name in theirs and is_of(element.medium, kinds)
    ]
    return sum(differ) / len(differ) if differ else 1.0


def is_of(medium: MediaKind | None, kinds: frozenset[MediaKind]) -> bool:
    """Whether something of this medium may be in media of these kinds; a picture is seen, whether
    it moves or not.
    """
    return medium is None or medium in kinds or (medium in SEEN and not SEEN.isdisjoint(kinds))
