"""Means and other measures with bootstrap intervals that resample whole clusters.

Shapes: N values, C clusters, R resamples.
"""

import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from statistics import NormalDist
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from triptych.statistics.clusters import Clusters, Labels, number_clusters
from triptych.statistics.shares import near_end
from triptych.statistics.student import t_quantile

# Cluster weights held at once: 16 MB, however many clusters there are.
_WEIGHTS_AT_ONCE = 2_000_000

Measure: TypeAlias = Callable[[NDArray[np.float64]], float]
"""A figure of N values, from how often each of them counts (N,); NaN where it is not defined."""


@dataclass(frozen=True)
class Interval:
    """A mean, or another measure, of ``n`` values with the ends of its confidence interval.

    ``low`` and ``high`` are None where the values come from one cluster only: a single clip says
    nothing about how much clips differ, and an interval of width zero would claim that it does.
    ``clusters`` is the number of clusters that the values come from, None where it is not known:
    the JSON form does not say.
    """

    mean: float
    low: float | None
    high: float | None
    n: int
    clusters: int | None = field(default=None, compare=False)

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
    """Mean of ``values`` with an expanded percentile interval that resamples whole clusters.

    The cluster bootstrap (Cameron, Gelbach and Miller 2008; Field and Welsh 2007) with percentiles
    that lie further out than (1 - confidence) / 2: at tail' = Φ(sqrt(C / (C - 1)) · t), where t is
    the quantile of Student's t with C - 1 degrees of freedom at (1 - confidence) / 2. That undoes
    what makes plain percentiles too narrow for few clusters (Hesterberg 2015, section 5.3).

    Values that are all 0 or 1 are taken for a share. With few successes or few failures its
    interval reaches as far as Korn and Graubard's, too: see `shares.near_end`. Differences are no
    shares, even if all are 0: `bootstrap_difference` knows.

    Args:
        values: N finite numbers.
        clusters: N labels; values with equal labels are drawn together. None: each value is
            a cluster of its own.
        confidence: share of intervals meant to hold the true mean, in (0, 1).
        resamples: bootstrap draws.
        seed: of the generator; equal arguments give an equal interval.

    Returns:
        The interval, or None when there are no values.

    In simulations of accuracies and of paired differences, with clips of 1 to 12 questions, 95%
    intervals held the truth in 94 to 96% of the draws with 30 to 100 clusters, in 91 to 97% with 10
    to 20; how shares near 0 and 1 fare is in docs/evaluation.md. Of values that are no shares no
    resampling knows what did not occur: where all are equal the width is zero.

    Raises:
        ValueError: values and clusters differ in length, a value is not finite, or a setting
            is out of range.
    """
    return bootstrap_intervals([values], clusters, confidence, resamples, seed)[0]


def bootstrap_intervals(
    columns: Sequence[Sequence[float] | NDArray[np.float64]],
    clusters: Labels | None = None,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> list[Interval | None]:
    """`bootstrap_interval` of each of several values of the same N items: one draw serves all.

    Args:
        columns: N finite numbers each.
        clusters: as for `bootstrap_interval`; an array holds numbers.
        confidence: as there.
        resamples: as there.
        seed: as there.

    Raises:
        ValueError: as `bootstrap_interval`.
    """
    labels = None if clusters is None else number_clusters(clusters)
    totals = [Clusters.of(values, labels) for values in columns]
    intervals = _intervals_of_means(totals, confidence, resamples, seed)
    return [
        _widened(interval, one, confidence) if one and interval and one.binary else interval
        for one, interval in zip(totals, intervals, strict=True)
    ]


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
    labels = None if clusters is None else number_clusters(clusters)
    totals = Clusters.of(differences, labels)
    return _intervals_of_means([totals], confidence, resamples, seed)[0]


def bootstrap_measure(
    measure: Measure,
    clusters: Sequence[Hashable],
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval | None:
    """Any measure of N values with its interval, made as `bootstrap_interval` makes a mean's.

    A mean gets the same interval from both, unless it is a share with few successes or failures;
    here the measure is called once for each draw.

    Args:
        measure: from a weight per value: how often its cluster was drawn. 1 for each gives the
            measure of the values themselves.
        clusters: N labels; values with equal labels are drawn together.
        confidence: as for `bootstrap_interval`.
        resamples: as there.
        seed: as there; the draws are the same ones.

    Returns:
        The interval, its ``mean`` the measure; None where the measure is not defined (NaN). Draws
        of which it is not are left out, so the interval is one of values for which it is; with no
        draw left it has no ends.

    In simulations 95% intervals of an AUC and of a ratio of two means held the truth in 94 to 96%
    of the draws with 30 to 60 clusters.

    Raises:
        ValueError: a setting is out of range.
    """
    _check_settings(confidence, resamples)
    index_N = number_clusters(clusters)
    if not len(index_N):
        return None
    value = float(measure(np.ones(len(index_N))))
    if not math.isfinite(value):
        return None
    count = int(index_N.max()) + 1
    values_R = np.array(
        [
            measure(weights_C[index_N])
            for weights_RC in _all_draws(count, resamples, seed)
            for weights_C in weights_RC
        ]
        if count > 1
        else []
    )
    values_R = values_R[np.isfinite(values_R)]
    if not len(values_R):
        return Interval(mean=value, low=None, high=None, n=len(index_N), clusters=count)
    tail = _expanded_tail((1.0 - confidence) / 2.0, count)
    low, high = np.quantile(values_R, (tail, 1.0 - tail))
    return Interval(value, float(low), float(high), n=len(index_N), clusters=count)


def _check_settings(confidence: float, resamples: int) -> None:
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence must lie between 0 and 1, not {confidence}")
    if resamples < 1:
        raise ValueError(f"resamples must be at least 1, not {resamples}")


def _intervals_of_means(
    totals: Sequence[Clusters | None], confidence: float, resamples: int, seed: int
) -> list[Interval | None]:
    """Expanded percentile intervals, for values of the same items; None where there are none."""
    _check_settings(confidence, resamples)
    known = [one for one in totals if one is not None]
    if len(known) < len(totals):  # then there are no items at all
        return [None] * len(totals)
    if not known:
        return []
    count = known[0].count
    if count == 1:
        return [Interval(one.mean, low=None, high=None, n=one.n, clusters=1) for one in known]
    tail = _expanded_tail((1.0 - confidence) / 2.0, count)
    intervals: list[Interval | None] = []
    for one, means_R in zip(known, _resampled_means(known, resamples, seed), strict=True):
        low, high = np.quantile(means_R, (tail, 1.0 - tail))
        intervals.append(Interval(one.mean, float(low), float(high), n=one.n, clusters=count))
    return intervals


def _widened(interval: Interval, share: Clusters, confidence: float) -> Interval:
    """The interval of a share, whose ends lie further out where few successes or failures are."""
    if interval.low is None or interval.high is None:
        return interval
    ends = near_end(share, confidence)
    if ends is None:
        return interval
    low, high = min(interval.low, ends[0]), max(interval.high, ends[1])
    return replace(interval, low=low, high=high)


def _expanded_tail(tail: float, count: int) -> float:
    """The share to cut off at each end, so that about ``tail`` of the true means lie beyond it."""
    return NormalDist().cdf(math.sqrt(count / (count - 1)) * t_quantile(tail, count - 1))


def _resampled_means(
    totals: Sequence[Clusters], resamples: int, seed: int
) -> list[NDArray[np.float64]]:
    """Means of ``resamples`` draws of C clusters with replacement, for values of the same items.

    A draw is told by how often each cluster occurs in it: two matrix products then give all sums
    and sizes. Every draw serves all values, and the sizes are the same.
    """
    means: list[list[NDArray[np.float64]]] = [[] for _ in totals]
    for weights_RC in _all_draws(totals[0].count, resamples, seed):
        sizes_R = weights_RC @ totals[0].sizes_C
        for one, means_R in zip(totals, means, strict=True):
            means_R.append((weights_RC @ one.sums_C) / sizes_R)
    return [np.concatenate(parts) for parts in means]


def _all_draws(count: int, resamples: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """The draws, so many at once that their weights fit into memory."""
    chunk = max(1, _WEIGHTS_AT_ONCE // count)
    for number, start in enumerate(range(0, resamples, chunk)):
        yield _draws(count, min(chunk, resamples - start), (seed, number))


@lru_cache(maxsize=8)
def _draws(count: int, rows: int, seed: tuple[int, int]) -> NDArray[np.float64]:
    """How often each of ``count`` clusters occurs in each of ``rows`` draws, (rows, count).

    Cached: the many metrics of an evaluation are resampled over the same clips.
    """
    rng = np.random.default_rng(seed)
    drawn = rng.integers(count, size=(rows, count))
    drawn += count * np.arange(rows)[:, None]
    occurrences = np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count)
    weights_RC = occurrences.astype(np.float64)
    weights_RC.flags.writeable = False
    return weights_RC
