"""Whose media a sample is given when its own are swapped.

A swapped voice that says the same is no swap. A donor therefore is, as far as there is one, a
sample

* of another clip, with as many items of each kind that is swapped (without that there is no swap);
* whose right answer, as text, is another one;
* of which all that the answer depends on, in the media that are swapped, is otherwise: the relevant
  elements of the reference, where both samples state elements of the same names.

Of several, one is drawn, by a seed and the ids of the samples: their order, and how many of them
are asked about, change nothing.

Shapes: P samples of the pool.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from triptych.data.sample import MediaKind, ProblemType, Sample
from triptych.evaluation.audit.conditions import SEEN, has_options
from triptych.evaluation.metrics import cluster_of
from triptych.rewards.words import normalise
from triptych.stages.prompt import OPTION_LETTERS

_Fact: TypeAlias = tuple[str, ...]


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
        pool: P samples; their order does not matter.
        seed: of the draw.
    """

    def __init__(self, pool: Sequence[Sample], seed: int = 0) -> None:
        self._pool = sorted(pool, key=lambda sample: sample.id)
        self._seed = seed
        # Which samples a fact is true of: to read every sample anew for every other one takes long.
        members: dict[_Fact, list[int]] = {}
        for index, sample in enumerate(self._pool):
            for fact in _facts(sample):
                members.setdefault(fact, []).append(index)
        self._members = {fact: np.array(indices) for fact, indices in members.items()}

    def find(self, sample: Sample, kinds: frozenset[MediaKind]) -> Donor | None:
        """The donor of a sample's media of these kinds; None where no other clip has such media."""
        otherwise_P = ~self._has("answer", answer_text(sample))
        points_P = otherwise_P + self._share_that_differs(sample, kinds)
        points_P[~self._may_give(sample, kinds)] = -1.0
        drawn_P = self._drawn(sample, kinds)
        if not len(drawn_P):
            return None
        best = drawn_P[np.argmax(points_P[drawn_P])]  # of several the first one
        points = points_P[best]
        return Donor(self._pool[best], bool(points == 2.0)) if points >= 0.0 else None

    def _has(self, *fact: str) -> NDArray[np.bool_]:
        """Whether a fact is true of each sample of the pool."""
        has_P = np.zeros(len(self._pool), dtype=np.bool_)
        has_P[self._members.get(fact, [])] = True
        return has_P

    def _may_give(self, sample: Sample, kinds: frozenset[MediaKind]) -> NDArray[np.bool_]:
        """Whether they are of other clips and files, with as many items of each kind."""
        may_P = ~self._has("cluster", cluster_of(sample))
        for kind in kinds:
            may_P &= self._has("count", kind, _count(sample, kind))
        for item in sample.media:
            for kind in kinds if item.kind in kinds else ():
                may_P &= ~self._has("file", kind, str(item.path))
        return may_P

    def _share_that_differs(
        self, sample: Sample, kinds: frozenset[MediaKind]
    ) -> NDArray[np.float64]:
        """The share of the relevant elements that each states otherwise; 1 where it cannot be
        told.
        """
        stated_P = np.zeros(len(self._pool), dtype=np.int64)
        alike_P = np.zeros(len(self._pool), dtype=np.int64)
        for element in sample.reference.elements:
            if not element.relevant or not is_of(element.medium, kinds):
                continue
            stated_P += self._has("element", element.name)
            alike_P += np.logical_or.reduce(
                [self._has("phrase", element.name, normalise(one)) for one in element.phrases]
            )
        return np.where(stated_P == 0, 1.0, (stated_P - alike_P) / np.maximum(stated_P, 1))

    def _drawn(self, sample: Sample, kinds: frozenset[MediaKind]) -> NDArray[np.int64]:
        """The pool, in an order of this sample's own."""
        name = f"{self._seed}/{'+'.join(sorted(kinds))}/{sample.id}"
        digest = hashlib.sha256(name.encode()).digest()
        rng = np.random.default_rng(int.from_bytes(digest[:8], "big"))
        return rng.permutation(len(self._pool))


def answer_text(sample: Sample) -> str:
    """The right answer in words: the texts of right options in place of their letters."""
    if has_options(sample):
        texts = [sample.options[OPTION_LETTERS.index(one)] for one in sample.answer.split(",")]
        return "\n".join(sorted(map(normalise, texts)))
    if sample.problem_type is ProblemType.YES_NO:
        # "Yes" says nothing without what is asked.
        return f"{normalise(sample.question)}\n{sample.answer}"
    return normalise(sample.answer)


def _facts(sample: Sample) -> set[_Fact]:
    """All that decides whose donor a sample may be."""
    said = {one.name: one.phrases for one in sample.reference.elements}
    return {
        ("cluster", cluster_of(sample)),
        ("answer", answer_text(sample)),
        *(("count", kind, _count(sample, kind)) for kind in MediaKind),
        *(("file", item.kind, str(item.path)) for item in sample.media),
        *(("element", name) for name in said),
        *(("phrase", name, normalise(one)) for name, phrases in said.items() for one in phrases),
    }


def _count(sample: Sample, kind: MediaKind) -> str:
    return str(sum(item.kind is kind for item in sample.media))


def is_of(medium: MediaKind | None, kinds: frozenset[MediaKind]) -> bool:
    """Whether something of this medium may be in media of these kinds; a picture is seen, whether
    it moves or not.
    """
    return medium is None or medium in kinds or (medium in SEEN and not SEEN.isdisjoint(kinds))
