"""How well scores order texts and how far they can be taken at their word.

Every measure takes a weight per text: how often it was drawn, in a bootstrap that draws the texts
of one reference together. They rise and fall together, and intervals that took them for
independent would be too narrow.

Shapes: N texts, C clusters (references).
"""

from collections.abc import Callable, Hashable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from triptych.statistics import Interval, Measure, bootstrap_measure

Floats: TypeAlias = NDArray[np.float64]

RESAMPLES = 1000
BINS = 10
"""Of the calibration error: equally wide, over scores from 0 to 1."""


def with_interval(
    measure: Measure, clusters: Sequence[Hashable], seed: int = 0, resamples: int = RESAMPLES
) -> Interval | None:
    """`bootstrap_measure` with fewer draws: most measures here take long."""
    return bootstrap_measure(measure, clusters, resamples=resamples, seed=seed)


def auc(scores_N: Floats, good_N: NDArray[np.bool_]) -> Measure:
    """How often a good text has a higher score than a bad one; a tie counts half."""
    values_N, place_N = np.unique(scores_N, return_inverse=True)

    def measure(weights_N: Floats) -> float:
        good_V = np.bincount(place_N, weights_N * good_N, len(values_N))
        bad_V = np.bincount(place_N, weights_N * ~good_N, len(values_N))
        below_V = np.cumsum(bad_V) - bad_V / 2
        return _ratio(float(good_V @ below_V), float(good_V.sum() * bad_V.sum()))

    return measure


def auc_within(
    scores_N: Floats, good_N: NDArray[np.bool_], clusters: Sequence[Hashable]
) -> Measure:
    """`auc` of texts of one and the same cluster only, which is what a group of GRPO compares."""
    rows: dict[Hashable, list[int]] = {}
    for index, label in enumerate(clusters):
        rows.setdefault(label, []).append(index)
    parts = []
    for members in rows.values():
        good = scores_N[[i for i in members if good_N[i]]]
        bad = scores_N[[i for i in members if not good_N[i]]]
        wins = (good[:, None] > bad).sum() + (good[:, None] == bad).sum() / 2
        parts.append((members[0], float(wins), good.size * bad.size))
    first_C, wins_C, pairs_C = (np.array(column) for column in zip(*parts, strict=True))

    def measure(weights_N: Floats) -> float:
        weights_C = weights_N[first_C]
        return _ratio(float(weights_C @ wins_C), float(weights_C @ pairs_C))

    return measure


def rank_correlation(first_N: Floats, second_N: Floats) -> Measure:
    """Spearman's: the correlation of the ranks, ties sharing their mean rank."""
    rank_first, rank_second = _ranker(first_N), _ranker(second_N)
    return lambda weights_N: _correlation(rank_first(weights_N), rank_second(weights_N), weights_N)


def partial_rank_correlation(first_N: Floats, second_N: Floats, given_N: Floats) -> Measure:
    """Spearman's of what in the ranks of two is not explained by the ranks of a third."""
    rankers = [_ranker(values_N) for values_N in (first_N, second_N, given_N)]

    def measure(weights_N: Floats) -> float:
        a, b, given = (ranker(weights_N) for ranker in rankers)
        ab, ag, bg = (_correlation(x, y, weights_N) for x, y in ((a, b), (a, given), (b, given)))
        return _ratio(ab - ag * bg, float(np.sqrt(max(0.0, (1 - ag**2) * (1 - bg**2)))))

    return measure


def calibration_error(scores_N: Floats, targets_N: Floats) -> Measure:
    """Mean distance of score and target over `BINS` bins of the score, by how much is in each.

    The expected calibration error of Guo et al. (2017), with targets that are shares.
    """
    bin_N = np.minimum((scores_N * BINS).astype(int), BINS - 1)
    error_N = scores_N - targets_N

    def measure(weights_N: Floats) -> float:
        sums = np.bincount(bin_N, weights_N * error_N, BINS)
        return _ratio(float(np.abs(sums).sum()), float(weights_N.sum()))

    return measure


def mean(values_N: Floats) -> Measure:
    """The weighted mean."""
    return lambda weights_N: _ratio(float(weights_N @ values_N), float(weights_N.sum()))


def _ranker(values_N: Floats) -> Callable[[Floats], Floats]:
    """From weights to weighted mid-ranks."""
    distinct, place_N = np.unique(values_N, return_inverse=True)

    def ranks(weights_N: Floats) -> Floats:
        weight_V = np.bincount(place_N, weights_N, len(distinct))
        middle_V: Floats = np.cumsum(weight_V) - weight_V / 2
        return middle_V[place_N]

    return ranks


def _correlation(first_N: Floats, second_N: Floats, weights_N: Floats) -> float:
    total = weights_N.sum()
    first_N = first_N - weights_N @ first_N / total
    second_N = second_N - weights_N @ second_N / total
    squares = float(weights_N @ first_N**2) * float(weights_N @ second_N**2)
    return _ratio(float(weights_N @ (first_N * second_N)), float(np.sqrt(squares)))


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 1e-12 else float("nan")
