import itertools
from typing import Any

import numpy as np
import pytest
from numpy.random import default_rng
from numpy.typing import NDArray

from triptych.rewards.scorer.measures import (
    Floats,
    auc,
    auc_within,
    calibration_error,
    mean,
    partial_rank_correlation,
    rank_correlation,
    with_interval,
)
from triptych.statistics import Measure


def ones(values: NDArray[Any]) -> Floats:
    return np.ones(len(values))


def by_hand(scores: Floats, good: list[bool], clusters: list[str] | None = None) -> float:
    wins = pairs = 0.0
    for i, j in itertools.product(range(len(scores)), repeat=2):
        if good[i] and not good[j] and (clusters is None or clusters[i] == clusters[j]):
            pairs += 1
            wins += 1.0 if scores[i] > scores[j] else 0.5 * (scores[i] == scores[j])
    return wins / pairs


def test_auc_counts_pairs_and_half_of_the_ties() -> None:
    scores = np.array([0.9, 0.4, 0.4, 0.1])
    good = np.array([True, True, False, False])
    assert auc(scores, good)(ones(scores)) == (1 + 1 + 0.5 + 1) / 4


@pytest.mark.parametrize("seed", range(5))
def test_auc_is_what_counting_all_pairs_gives(seed: int) -> None:
    rng = default_rng(seed)
    scores = rng.integers(5, size=40) / 4.0
    good = rng.random(40) < 0.4
    clusters = [str(n) for n in rng.integers(6, size=40)]
    assert auc(scores, good)(ones(scores)) == pytest.approx(by_hand(scores, list(good)))
    within = auc_within(scores, good, clusters)(ones(scores))
    assert within == pytest.approx(by_hand(scores, list(good), clusters))


def test_within_a_cluster_the_level_of_others_does_not_matter() -> None:
    scores = np.array([0.9, 0.8, 0.2, 0.1])
    good = np.array([True, False, True, False])
    assert auc(scores, good)(ones(scores)) == 0.75
    assert auc_within(scores, good, ["a", "a", "b", "b"])(ones(scores)) == 1.0


def test_within_clusters_a_cluster_counts_as_often_as_it_is_drawn() -> None:
    scores, good = np.array([0.9, 0.8, 0.1, 0.2]), np.array([True, False, True, False])
    within = auc_within(scores, good, ["a", "a", "b", "b"])
    assert within(np.array([1.0, 1, 1, 1])) == 0.5
    assert within(np.array([3.0, 3, 1, 1])) == 0.75


@pytest.mark.parametrize("seed", range(3))
def test_weights_are_copies(seed: int) -> None:
    """Every measure with a weight of two gives what it gives with the text twice."""
    rng = default_rng(seed)
    scores, targets, words = rng.integers(6, size=(3, 20)).astype(np.float64) / 6
    good = rng.random(20) < 0.5
    weights = rng.integers(4, size=20)
    copies = np.repeat(np.arange(20), weights)

    def measures(rows: NDArray[np.int64]) -> list[Measure]:
        return [
            auc(scores[rows], good[rows]),
            rank_correlation(scores[rows], targets[rows]),
            partial_rank_correlation(scores[rows], words[rows], targets[rows]),
            calibration_error(scores[rows], targets[rows]),
            mean(scores[rows]),
        ]

    for weighted, copied in zip(measures(np.arange(20)), measures(copies), strict=True):
        assert weighted(weights.astype(np.float64)) == pytest.approx(copied(ones(copies)))


def test_rank_correlation_sees_order_alone_and_shares_ranks_among_ties() -> None:
    first = np.array([1.0, 2.0, 3.0, 4.0])
    assert rank_correlation(first, first**3)(ones(first)) == pytest.approx(1.0)
    assert rank_correlation(first, -first)(ones(first)) == pytest.approx(-1.0)
    tied = np.array([1.0, 1.0, 1.0, 2.0, 3.0])  # ranks 2, 2, 2, 4, 5
    assert rank_correlation(np.arange(5.0), tied)(ones(tied)) == pytest.approx(8 / 80**0.5)
    assert np.isnan(rank_correlation(first, np.ones(4))(ones(first)))


def test_partial_correlation_leaves_out_what_the_third_explains() -> None:
    rng = default_rng(0)
    target = rng.random(4000)
    words = target + 0.05 * rng.random(4000)
    honest, biased = target + 0.2 * rng.random(4000), target + 4 * words
    honest_bias = partial_rank_correlation(honest, words, target)(ones(target))
    assert rank_correlation(honest, words)(ones(target)) > 0.9
    assert abs(honest_bias) < 0.05
    assert partial_rank_correlation(biased, words, target)(ones(target)) > 0.9


def test_calibration_error_is_the_distance_in_each_bin() -> None:
    scores = np.array([0.05, 0.05, 0.95, 1.0])
    targets = np.array([0.0, 0.1, 1.0, 0.55])  # right on average below, 0.2 too high above
    assert calibration_error(scores, targets)(ones(scores)) == pytest.approx(0.5 * 0.2)


def test_intervals_draw_whole_clusters() -> None:
    values = np.repeat(default_rng(0).random(8), 50)
    alone = with_interval(mean(values), range(400))
    together = with_interval(mean(values), [number // 50 for number in range(400)])
    assert alone is not None
    assert together is not None
    assert alone.mean == together.mean == pytest.approx(values.mean())
    assert alone.low is not None
    assert alone.high is not None
    assert together.low is not None
    assert together.high is not None
    assert together.low < together.mean < together.high
    assert together.high - together.low > 4 * (alone.high - alone.low)


def test_one_cluster_gives_no_interval_and_an_undefined_measure_none() -> None:
    one = with_interval(mean(np.array([0.2, 0.4])), ["a", "a"])
    assert one is not None
    assert (one.low, one.high) == (None, None)
    assert one.mean == pytest.approx(0.3)
    constant = np.ones(4)
    assert with_interval(rank_correlation(constant, constant), "abcd") is None
