"""How small a difference a comparison could have shown.

"Cannot be told apart" means little without it: with few clips everything cannot be told apart.
"""

import math
from collections.abc import Hashable, Sequence

from triptych.statistics.clusters import Clusters
from triptych.statistics.student import t_quantile

_ROUNDING = 1e-12


def detectable_difference(
    differences: Sequence[float],
    clusters: Sequence[Hashable] | None = None,
    power: float = 0.8,
    alpha: float = 0.05,
) -> float | None:
    """The difference of two runs on the same items that a two-sided test at alpha would show.

    (t(1 - alpha/2) + t(power)) · SE, with quantiles of Student's t at C - 1 degrees of freedom and
    the standard error SE of the mean difference over C clusters (Bloom 1995). A true difference of
    that size is found with probability ``power``. It falls with 1 / sqrt(C): four times as many
    clips show half of it.

    Args:
        differences: N finite numbers: score of one run minus score of the other, item by item.
        clusters: N labels of what rises and falls together. None: each item by itself.
        power: probability to find it, in (0, 1).
        alpha: level of the test, in (0, 1).

    Returns:
        The difference in the units of the scores. None where nothing can be said: no values, one
        cluster, or clusters that do not differ, whose variance is unknown rather than zero.

    The variance is taken from the data. Where few items differ at all it is itself uncertain, and
    so is this.

    Raises:
        ValueError: as `bootstrap_interval`.
    """
    _check_shares(power, alpha)
    error = _standard_error(totals := Clusters.of(differences, clusters))
    if totals is None or error is None:
        return None
    return _multiplier(power, alpha, totals.count - 1) * error


def detectable_difference_unpaired(
    first: Sequence[float],
    second: Sequence[float],
    first_clusters: Sequence[Hashable] | None = None,
    second_clusters: Sequence[Hashable] | None = None,
    power: float = 0.8,
    alpha: float = 0.05,
) -> float | None:
    """As `detectable_difference`, for two runs on different items.

    SE² = SE1² + SE2², with the degrees of freedom of Welch and Satterthwaite, rounded down:
    SE^4 / (SE1^4 / (C1 - 1) + SE2^4 / (C2 - 1)) (Welch 1947).

    Raises:
        ValueError: as `bootstrap_interval`.
    """
    _check_shares(power, alpha)
    one, other = Clusters.of(first, first_clusters), Clusters.of(second, second_clusters)
    error_one, error_other = _standard_error(one), _standard_error(other)
    if one is None or other is None or error_one is None or error_other is None:
        return None
    error = math.hypot(error_one, error_other)
    spread = error_one**4 / (one.count - 1) + error_other**4 / (other.count - 1)
    return _multiplier(power, alpha, int(error**4 / spread)) * error


def _check_shares(power: float, alpha: float) -> None:
    if not 0.0 < power < 1.0 or not 0.0 < alpha < 1.0:
        raise ValueError(f"power and alpha must lie between 0 and 1, not {power} and {alpha}")


def _standard_error(totals: Clusters | None) -> float | None:
    """None also for zero, or what rounding leaves of it: equal clusters tell no variance."""
    error = totals.standard_error if totals else None
    if totals is None or error is None or error <= _ROUNDING * abs(totals.mean):
        return None
    return error


def _multiplier(power: float, alpha: float, df: int) -> float:
    return t_quantile(1.0 - alpha / 2.0, df) + t_quantile(power, df)
