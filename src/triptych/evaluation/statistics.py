"""Means with intervals: the only place where uncertainty is computed.

Several questions are asked about one clip, and their outcomes rise and fall together. Treating
them as independent makes an interval too narrow, so whole clips are resampled, not questions
(the cluster bootstrap; Cameron, Gelbach and Miller 2008; Field and Welsh 2007).

Shapes: N values, C clusters, R resamples.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

# Cluster weights held at once: 16 MB, however many clusters there are.
_WEIGHTS_AT_ONCE = 2_000_000


@dataclass(frozen=True)
class Interval:
    """A mean over ``n`` values with the ends of its confidence interval.

    ``low`` and ``high`` are None where the values come from one cluster only: a single clip says
    nothing about how much clips differ, and an interval of width zero would claim that it does.
    """

    mean: float
    low: float | None
    high: float | None
    n: int

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return f"{self.mean:.3f} [no interval, n={self.n}]"
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"

    def to_dict(self) -> dict[str, float | int | None]:
        """The JSON form: ``mean``, ``low``, ``high``, ``n``."""
        return {"mean": self.mean, "low": self.low, "high": self.high, "n": self.n}

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> Self:
        """Inverse of `to_dict`; raises KeyError or TypeError on another shape."""
        low, high = record["low"], record["high"]
        return cls(
            mean=float(record["mean"]),
            low=None if low is None else float(low),
            high=None if high is None else float(high),
            n=int(record["n"]),
        )


def bootstrap_interval(
    values: Sequence[float],
    clusters: Sequence[Hashable] | None = None,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval | None:
    """Mean of ``values`` with a percentile bootstrap interval that resamples whole clusters.

    Args:
        values: N finite numbers.
        clusters: N labels; values with equal labels are drawn together. None: each value is
            a cluster of its own.
        confidence: share of intervals meant to hold the true mean, in (0, 1).
        resamples: bootstrap draws.
        seed: of the generator; equal arguments give an equal interval.

    Returns:
        The interval, or None when there are no values.

    The percentile interval is somewhat narrow for few clusters (near 92% rather than 95% at
    15 clusters), and has width zero where all values are equal: it cannot know of outcomes
    that never occurred.

    Raises:
        ValueError: values and clusters differ in length, a value is not finite, or a setting
            is out of range.
    """
    _check_settings(confidence, resamples)
    values_N = np.asarray(values, dtype=np.float64)
    if not np.isfinite(values_N).all():
        raise ValueError("values must be finite; leave unscored items out")
    if clusters is not None and len(clusters) != len(values_N):
        raise ValueError(f"{len(values_N)} values but {len(clusters)} cluster labels")
    if not len(values_N):
        return None
    sums_C, sizes_C = _cluster_totals(values_N, clusters)
    mean = float(values_N.mean())
    if len(sums_C) == 1:
        return Interval(mean=mean, low=None, high=None, n=len(values_N))
    means_R = _resampled_means(sums_C, sizes_C, resamples, seed)
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(means_R, (tail, 1.0 - tail))
    return Interval(mean=mean, low=float(low), high=float(high), n=len(values_N))


def bootstrap_difference(
    first: Sequence[float],
    second: Sequence[float],
    clusters: Sequence[Hashable] | None = None,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval | None:
    """Mean of ``first - second``, item by item, with its interval (a paired comparison).

    Two models answer the same items, so their difference is known better than two separate
    intervals suggest: those can overlap while the difference excludes zero.

    Raises:
        ValueError: as `bootstrap_interval`, or the two differ in length.
    """
    if len(first) != len(second):
        raise ValueError(f"paired values differ in number: {len(first)} and {len(second)}")
    differences = [a - b for a, b in zip(first, second, strict=True)]
    return bootstrap_interval(differences, clusters, confidence, resamples, seed)


def _check_settings(confidence: float, resamples: int) -> None:
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence must lie between 0 and 1, not {confidence}")
    if resamples < 1:
        raise ValueError(f"resamples must be at least 1, not {resamples}")


def _cluster_totals(
    values_N: NDArray[np.float64], clusters: Sequence[Hashable] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum and size of each cluster, in order of first appearance."""
    if clusters is None:
        return values_N, np.ones_like(values_N)
    numbers: dict[Hashable, int] = {}
    index_N = np.array([numbers.setdefault(label, len(numbers)) for label in clusters])
    sums_C = np.bincount(index_N, weights=values_N).astype(np.float64)
    sizes_C = np.bincount(index_N).astype(np.float64)
    return sums_C, sizes_C


def _resampled_means(
    sums_C: NDArray[np.float64], sizes_C: NDArray[np.float64], resamples: int, seed: int
) -> NDArray[np.float64]:
    """Means of ``resamples`` draws of C clusters with replacement.

    A draw is told by how often each cluster occurs in it: two matrix products then give all sums
    and sizes.
    """
    count = len(sums_C)
    chunk = max(1, _WEIGHTS_AT_ONCE // count)
    means = []
    for number, start in enumerate(range(0, resamples, chunk)):
        weights_RC = _draws(count, min(chunk, resamples - start), (seed, number))
        means.append((weights_RC @ sums_C) / (weights_RC @ sizes_C))
    return np.concatenate(means)


@lru_cache(maxsize=8)
def _draws(count: int, rows: int, seed: tuple[int, int]) -> NDArray[np.float64]:
    """How often each of ``count`` clusters occurs in each of ``rows`` draws, (rows, count).

    Cached: the many metrics of an evaluation are resampled over the same clips.
    """
    rng = np.random.default_rng(seed)
    drawn = rng.integers(count, size=(rows, count)) + count * np.arange(rows)[:, None]
    occurrences = np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count)
    weights_RC = occurrences.astype(np.float64)
    weights_RC.flags.writeable = False
    return weights_RC
