"""Quantiles of Student's t, for whole degrees of freedom."""

import math
from functools import lru_cache

import numpy as np

# Halving (0, pi/2) so often leaves less than the spacing of floating-point numbers there.
_HALVINGS = 60


@lru_cache(maxsize=4096)
def t_quantile(p: float, df: int) -> float:
    """The number that Student's t with ``df`` degrees of freedom falls below with probability p.

    With t = sqrt(df) tan(angle), the probability of [-t, t] is a finite series in sine and cosine
    of the angle (Abramowitz and Stegun 1964, 26.7.3 and 26.7.4); the angle is found by bisection.

    Args:
        p: in (0, 1).
        df: at least 1.

    Raises:
        ValueError: an argument is out of range.
    """
    if not 0.0 < p < 1.0 or df < 1:
        raise ValueError(f"p must lie between 0 and 1, df be at least 1; not {p} and {df}")
    if p < 0.5:
        return -t_quantile(1.0 - p, df)
    low, high = 0.0, math.pi / 2
    for _ in range(_HALVINGS):
        angle = (low + high) / 2
        if _probability_within(angle, df) < 2.0 * p - 1.0:
            low = angle
        else:
            high = angle
    return math.sqrt(df) * math.tan((low + high) / 2)


def _probability_within(angle: float, df: int) -> float:
    """The probability of [-t, t], with t = sqrt(df) tan(angle)."""
    sine, cosine = math.sin(angle), math.cos(angle)
    if df == 1:
        return 2.0 * angle / math.pi
    k = np.arange(1, (df - df % 2) // 2)
    ratios = (2 * k) / (2 * k + 1) if df % 2 else (2 * k - 1) / (2 * k)
    series = 1.0 + float(np.cumprod(ratios * cosine**2).sum())
    if df % 2:
        return 2.0 / math.pi * (angle + sine * cosine * series)
    return sine * series
