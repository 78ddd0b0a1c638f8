"""Tests of two runs that answered the same questions: does the one do better than the other?

Shapes: N items, C clusters, R sign patterns.
"""

import math
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from triptych.statistics.clusters import Clusters

# Signs held at once: 16 MB, however many clusters there are.
_SIGNS_AT_ONCE = 2_000_000
# Sums that are equal in exact arithmetic differ by rounding: up to this share they count as equal.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class SignFlips:
    """What `sign_flip_test` found.

    Attributes:
        p: the p-value, two-sided.
        exact: all sign patterns were looked at; otherwise `patterns` of them, drawn at random.
        patterns: how many were looked at.
    """

    p: float
    exact: bool
    patterns: int


@dataclass(frozen=True)
class McNemar:
    """What `mcnemar_test` found.

    Attributes:
        only_first: items that only the first run got right.
        only_second: items that only the second run got right.
        p: the p-value, two-sided.
    """

    only_first: int
    only_second: int
    p: float


def sign_flip_test(
    differences: Sequence[float],
    clusters: Sequence[Hashable] | None = None,
    draws: int = 9_999,
    seed: int = 0,
) -> SignFlips:
    """Permutation test of a mean difference of zero, by flipping the signs of whole clusters.

    If it does not matter which of two runs wrote which answers to the questions of a clip, then
    the sum of that clip's differences is as likely to have the other sign, for each clip by
    itself. The p-value is the share of all 2^C sign patterns under which the mean is as far from
    zero as it is, or farther (Fisher 1935; Winkler and others 2014 on whole blocks). Where these
    are more than ``draws``, so many are drawn and p = (b + 1) / (draws + 1), with b of them as far
    from zero: never zero, and valid however few are drawn (Phipson and Smyth 2010).

    Args:
        differences: N finite numbers, such as score of one run minus score of the other.
        clusters: N labels; values with equal labels change signs together. None: each value is
            a cluster of its own.
        draws: the most sign patterns that are looked at. No p-value below 1 / (draws + 1) can be
            found where they are drawn, nor one below 2 / 2^C in any case.
        seed: of the generator; equal arguments give an equal p-value.

    Raises:
        ValueError: as `bootstrap_interval`, or there are no values.
    """
    if draws < 1:
        raise ValueError(f"draws must be at least 1, not {draws}")
    totals = Clusters.of(differences, clusters)
    if totals is None:
        raise ValueError("there are no differences to test")
    # The sign of nothing changes nothing: such clusters halve no p-value.
    sums_C = totals.sums_C[totals.sums_C != 0.0]
    if not len(sums_C):
        return SignFlips(p=1.0, exact=True, patterns=1)
    # A pattern and its opposite are equally far from zero, so one sign can stay as it is.
    patterns = 2 ** (len(sums_C) - 1)
    if patterns <= draws:
        return SignFlips(_count_as_far(sums_C, _all_flips(len(sums_C))) / patterns, True, patterns)
    found = _count_as_far(sums_C, _drawn_flips(len(sums_C), draws, seed))
    return SignFlips((found + 1) / (draws + 1), False, draws)


def mcnemar_test(first: Sequence[float], second: Sequence[float]) -> McNemar:
    """Exact McNemar test of two runs whose answers are right (1) or wrong (0).

    Of the n items that only one of the two got right, each is as likely to be either's if both are
    equally good: p = min(1, 2 · P(X <= k)), with X binomial (n, 1/2) and k the smaller of the two
    counts (McNemar 1947; the exact form in Fagerland, Lydersen and Laake 2013).

    It knows nothing of clusters: where several questions share a clip it finds differences that
    are none. Then `sign_flip_test` is the test; with one question a clip the two agree.

    Raises:
        ValueError: the two differ in length, or a value is neither 0 nor 1.
    """
    if len(first) != len(second):
        raise ValueError(f"paired values differ in number: {len(first)} and {len(second)}")
    if wrong := [value for value in (*first, *second) if value not in (0.0, 1.0)]:
        raise ValueError(f"{wrong[0]} is neither 0 nor 1; use sign_flip_test for such scores")
    only_first = sum(a > b for a, b in zip(first, second, strict=True))
    only_second = sum(b > a for a, b in zip(first, second, strict=True))
    tail = _binomial_tail(min(only_first, only_second), only_first + only_second)
    return McNemar(only_first, only_second, p=min(1.0, 2.0 * tail))


def _count_as_far(sums_C: NDArray[np.float64], chunks: Iterator[NDArray[np.float64]]) -> int:
    """How many patterns bring the sum as far from zero as it is; 1 in a pattern flips a sign."""
    total = float(sums_C.sum())
    nearly = abs(total) - _ROUNDING * float(np.abs(sums_C).sum())
    return sum(
        int(np.count_nonzero(np.abs(total - 2.0 * (flips_RC @ sums_C)) >= nearly))
        for flips_RC in chunks
    )


def _all_flips(count: int) -> Iterator[NDArray[np.float64]]:
    """Every pattern that leaves the last sign as it is."""
    chunk = max(1, _SIGNS_AT_ONCE // count)
    bits = np.arange(count)
    for start in range(0, 2 ** (count - 1), chunk):
        numbers = np.arange(start, min(start + chunk, 2 ** (count - 1)))
        yield (numbers[:, None] >> bits & 1).astype(np.float64)


def _drawn_flips(count: int, rows: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """``rows`` random patterns."""
    chunk = max(1, _SIGNS_AT_ONCE // count)
    for number, start in enumerate(range(0, rows, chunk)):
        rng = np.random.default_rng((seed, number))
        flips_RC = rng.integers(2, size=(min(chunk, rows - start), count), dtype=np.bool_)
        yield flips_RC.astype(np.float64)


def _binomial_tail(k: int, n: int) -> float:
    """P(X <= k) for X binomial (n, 1/2), by logarithms: 2^n is too large for a float."""
    log_half = n * math.log(2.0) - math.lgamma(n + 1)
    return math.fsum(
        math.exp(-math.lgamma(i + 1) - math.lgamma(n - i + 1) - log_half) for i in range(k + 1)
    )
