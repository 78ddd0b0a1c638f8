"""Values that rise and fall together, as one sum and one size per cluster.

Shapes: N values, C clusters.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

Labels: TypeAlias = Sequence[Hashable] | NDArray[np.int64]
"""What tells the cluster of each of N values; an array holds the numbers of clusters."""


def number_clusters(labels: Labels) -> NDArray[np.int64]:
    """The number of each label's cluster, (N,); clusters in order of first appearance.

    Of numbers, too: those of a part of the values begin elsewhere, and some do not occur.
    """
    if isinstance(labels, np.ndarray):
        _, first, index_N = np.unique(labels, return_index=True, return_inverse=True)
        return np.argsort(np.argsort(first))[index_N]
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(label, len(numbers)) for label in labels], dtype=np.int64)


@dataclass(frozen=True)
class Clusters:
    """N values in C clusters.

    Attributes:
        mean: of all values.
        n: how many values there are.
        sums_C: sum of the values of each cluster, in order of first appearance.
        sizes_C: number of its values.
        binary: whether each value is 0 or 1, so that the mean may be a share.
    """

    mean: float
    n: int
    sums_C: NDArray[np.float64]
    sizes_C: NDArray[np.float64]
    binary: bool

    @classmethod
    def of(
        cls, values: Sequence[float] | NDArray[np.float64], labels: Labels | None
    ) -> Self | None:
        """Bring values with equal labels together; None when there are no values.

        Args:
            values: N finite numbers.
            labels: N labels, or the numbers that `number_clusters` gives them. None: each value is
                a cluster of its own.

        Raises:
            ValueError: values and labels differ in number, or a value is not finite.
        """
        values_N = np.asarray(values, dtype=np.float64)
        if not np.isfinite(values_N).all():
            raise ValueError("values must be finite; leave unscored items out")
        if labels is not None and len(labels) != len(values_N):
            raise ValueError(f"{len(values_N)} values but {len(labels)} cluster labels")
        if not len(values_N):
            return None
        mean = float(values_N.mean())
        binary = bool(((values_N == 0.0) | (values_N == 1.0)).all())
        if labels is None:
            return cls(mean, len(values_N), values_N, np.ones_like(values_N), binary)
        index_N = labels if isinstance(labels, np.ndarray) else number_clusters(labels)
        sums_C = np.bincount(index_N, weights=values_N).astype(np.float64)
        sizes_C = np.bincount(index_N).astype(np.float64)
        return cls(mean, len(values_N), sums_C, sizes_C, binary)

    @property
    def count(self) -> int:
        """C."""
        return len(self.sums_C)

    @property
    def standard_error(self) -> float | None:
        """Standard error of the mean; None for one cluster, which says nothing of others.

        SE² = C / (C - 1) · Σ (S_c - mean · n_c)² / N², with the sum S_c and size n_c of cluster c:
        the cluster-robust error of a mean (Liang and Zeger 1986; Cameron and Miller 2015, with
        their correction C / (C - 1)). With clusters of one value it is the textbook s / sqrt(N).
        """
        if self.count == 1:
            return None
        residuals_C = self.sums_C - self.mean * self.sizes_C
        squares = float(residuals_C @ residuals_C)
        return math.sqrt(self.count / (self.count - 1) * squares) / self.n
