"""Intervals of measures that are no means: made as those of means, and as trustworthy."""

import math
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import pytest
from numpy.typing import NDArray

from triptych.statistics import Interval, Measure, bootstrap_interval, bootstrap_measure

Floats: TypeAlias = NDArray[np.float64]
Draw: TypeAlias = tuple[Measure, NDArray[np.int64], float]
"""A measure of values, the cluster of each value, and the true measure."""
Simulate: TypeAlias = Callable[[np.random.Generator, int], Draw]


def _interval(*args: object, **kwargs: object) -> Interval:
    interval = bootstrap_measure(*args, **kwargs)  # type: ignore[arg-type]
    assert interval is not None
    return interval


def _mean(values_N: Floats) -> Measure:
    return lambda weights_N: float(weights_N @ values_N / weights_N.sum())


def _ratio(rng: np.random.Generator, clips: int) -> Draw:
    """What is kept of an accuracy above chance (0.25) when something is taken away."""
    labels = np.repeat(np.arange(clips), 1 + rng.integers(4, size=clips))
    easy_N = rng.beta(4, 2, size=clips)[labels]
    before_N = rng.random(len(labels)) < 0.25 + 0.75 * easy_N
    after_N = before_N & (rng.random(len(labels)) < 0.7)
    # Per clip: E[before] = 0.25 + 0.75 * 2/3, and 0.7 of them stay right.
    truth = (0.7 * 0.75 - 0.25) / (0.75 - 0.25)

    def kept(weights_N: Floats) -> float:
        after, before = (weights_N @ right_N / weights_N.sum() for right_N in (after_N, before_N))
        return float((after - 0.25) / (before - 0.25))

    return kept, labels, truth


def _auc(rng: np.random.Generator, clips: int) -> Draw:
    """A good and two bad texts a clip, whose scores share the clip's level."""
    labels = np.repeat(np.arange(clips), 3)
    good_N = np.tile([True, False, False], clips)
    scores_N = rng.normal(size=clips)[labels] * 0.6 + rng.normal(size=3 * clips) * 0.8 + good_N
    truth = 0.5 * (1 + math.erf(1 / 2))  # of two scores of unit variance, one higher by 1
    above = scores_N[good_N][:, None] > scores_N[~good_N]

    def auc(weights_N: Floats) -> float:
        good, bad = weights_N[good_N], weights_N[~good_N]
        return float(good @ above @ bad / (good.sum() * bad.sum()))

    return auc, labels, truth


def _coverage(simulate: Simulate, clips: int, trials: int, resamples: int) -> float:
    """Share of 95% intervals that hold the true measure."""
    rng = np.random.default_rng(11)
    hits = 0
    for _ in range(trials):
        measure, labels, truth = simulate(rng, clips)
        interval = _interval(measure, labels.tolist(), resamples=resamples)
        assert interval.low is not None
        assert interval.high is not None
        hits += interval.low <= truth <= interval.high
    return hits / trials


@pytest.mark.parametrize("simulate", [_ratio, _auc])
def test_intervals_hold_the_true_measure(simulate: Simulate) -> None:
    # 300 draws tell a coverage to within 0.04.
    assert 0.91 <= _coverage(simulate, clips=40, trials=300, resamples=300) <= 0.99


@pytest.mark.slow
@pytest.mark.parametrize("clips", [30, 60])
@pytest.mark.parametrize("simulate", [_ratio, _auc])
def test_95_percent_intervals_hold_the_true_measure_in_93_to_97_percent(
    simulate: Simulate, clips: int
) -> None:
    assert 0.93 <= _coverage(simulate, clips, trials=1000, resamples=1000) <= 0.97


def test_a_mean_has_the_interval_that_means_have() -> None:
    rng = np.random.default_rng(0)
    values, labels = rng.random(90), rng.integers(25, size=90).tolist()
    other = bootstrap_interval(values.tolist(), labels, confidence=0.8, resamples=300, seed=4)
    assert other is not None
    ours = _interval(_mean(values), labels, confidence=0.8, resamples=300, seed=4)
    assert (ours.mean, ours.low, ours.high) == pytest.approx((other.mean, other.low, other.high))
    assert ours.n == other.n == 90


def test_whole_clusters_are_drawn() -> None:
    seen: list[Floats] = []

    def measure(weights_N: Floats) -> float:
        seen.append(weights_N)
        return 0.5

    _interval(measure, ["b", "a", "b", "c"], resamples=40)
    assert seen[0].tolist() == [1, 1, 1, 1]
    assert all(weights[0] == weights[2] for weights in seen)
    assert {float(weights[[0, 1, 3]].sum()) for weights in seen} == {3.0}
    assert len({tuple(weights) for weights in seen}) > 5


def test_draws_of_which_it_is_not_defined_are_left_out() -> None:
    def share_of_first(weights_N: Floats) -> float:
        return 1.0 if weights_N[0] else math.nan

    interval = _interval(share_of_first, range(4), resamples=50)
    assert (interval.mean, interval.low, interval.high, interval.n) == (1.0, 1.0, 1.0, 4)


def test_where_no_draw_defines_it_there_are_no_ends() -> None:
    def all_drawn(weights_N: Floats) -> float:
        return 0.25 if weights_N.min() > 0 else math.nan

    interval = _interval(all_drawn, range(30), resamples=20)
    assert (interval.mean, interval.low, interval.high) == (0.25, None, None)


def test_not_defined_of_the_values_themselves_is_none() -> None:
    assert bootstrap_measure(lambda _: math.nan, range(4)) is None
    assert bootstrap_measure(_mean(np.array([])), []) is None


def test_one_cluster_has_a_measure_but_no_ends() -> None:
    interval = _interval(_mean(np.array([0.2, 0.4])), ["a", "a"])
    assert interval.mean == pytest.approx(0.3)
    assert (interval.low, interval.high, interval.n) == (None, None, 2)


def test_settings_out_of_range_are_named() -> None:
    with pytest.raises(ValueError, match="confidence"):
        bootstrap_measure(lambda _: 0.0, range(4), confidence=1.0)
    with pytest.raises(ValueError, match="resamples"):
        bootstrap_measure(lambda _: 0.0, range(4), resamples=0)
