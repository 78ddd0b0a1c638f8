"""Intervals of shares that lie near 0 or 1, where resampling knows too little.

No resampling knows of outcomes that did not occur: of ten right answers every draw is right, and
the interval would have no width. The binomial distribution knows them.
"""

import math
from functools import lru_cache

import numpy as np

from triptych.statistics.clusters import Clusters

FEW = 10.0
"""With fewer successes or fewer failures than these, an interval of a share must know more."""

# Halving (0, 1) so often leaves less than 1e-12.
_HALVINGS = 40
_MOST_TERMS = 10_000
_PRECISION = 1e-13
# Clusters that are equal in exact arithmetic differ by rounding.
_ROUNDING = 1e-12


def near_end(share: Clusters, confidence: float) -> tuple[float, float] | None:
    """The ends of Korn and Graubard's interval of a share; None where resampling does.

    The exact binomial interval (Clopper and Pearson 1934) of as many independent values as tell the
    share with the standard error SE of the clusters: n = p (1 - p) / SE² (Korn and Graubard 1998).
    Where clusters do not differ, SE is unknown, and n = C.

    The paper lessens n for what C clusters leave unknown of SE. But only those clusters tell it in
    which the rarer outcome occurs, and where these are few, values that agree within clusters may
    by chance not look it. So here N / n, the number of values that one of the n stands for, is the
    mean over these clusters and one more, whose values all agree. In simulations of 5 to 20 values
    a cluster that brings the draws in which 95% intervals hold the truth from 88% to 93% and more.
    Asking every question twice changes nothing.

    Args:
        share: N values of 0 or 1 in C > 1 clusters.
        confidence: as for `bootstrap_interval`.
    """
    tail = (1.0 - confidence) / 2.0
    n = _effective_size(share)
    successes, failures = n * share.mean, n * (1.0 - share.mean)
    if min(successes, failures) >= FEW:
        return None
    low = beta_quantile(tail, successes, failures + 1.0) if successes > 0.0 else 0.0
    high = 1.0 - beta_quantile(tail, failures, successes + 1.0) if failures > 0.0 else 1.0
    return low, high


def _effective_size(share: Clusters) -> float:
    error = share.standard_error
    if error is None or error <= _ROUNDING * share.mean:
        return float(share.count)
    rarer_C = share.sums_C if share.mean < 0.5 else share.sizes_C - share.sums_C
    telling = np.count_nonzero(rarer_C)
    alike = share.n * error**2 / (share.mean * (1.0 - share.mean))
    agreeing = share.n / share.count
    return share.n / max(alike, (telling * alike + agreeing) / (telling + 1))


@lru_cache(maxsize=4096)
def beta_quantile(p: float, a: float, b: float) -> float:
    """The number that a beta variable with parameters a, b > 0 falls below with probability p.

    Cached: in an evaluation many metrics are 1 for all questions.
    """
    if b == 1.0:
        return math.exp(math.log(p) / a)
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2.0
        if _beta_probability(middle, a, b) < p:
            low = middle
        else:
            high = middle
    return (low + high) / 2.0


def _beta_probability(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function at x in (0, 1)."""
    if x <= (a + 1.0) / (a + b + 2.0):  # so far the fraction converges fast
        return _beta_fraction(x, a, b)
    return 1.0 - _beta_fraction(1.0 - x, b, a)


def _beta_fraction(x: float, a: float, b: float) -> float:
    """The same by a continued fraction (NIST DLMF 8.17.22), which Lentz's method evaluates."""
    value, ratio, inverse = 1.0, 1.0, 0.0
    for term in range(1, _MOST_TERMS):
        m = term // 2
        if term % 2:
            numerator = -(a + m) * (a + b + m) / ((a + 2 * m) * (a + 2 * m + 1)) * x
        else:
            numerator = m * (b - m) / ((a + 2 * m - 1) * (a + 2 * m)) * x
        inverse = 1.0 / (1.0 + numerator * inverse)
        ratio = 1.0 + numerator / ratio
        value *= ratio * inverse
        if abs(ratio * inverse - 1.0) < _PRECISION:
            break
    log_beta = math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
    return math.exp(a * math.log(x) + b * math.log1p(-x) - log_beta) / (a * value)
