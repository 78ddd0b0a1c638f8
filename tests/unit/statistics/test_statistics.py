"""Intervals cover what they claim to cover, and know about clusters."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from triptych.statistics import (
    Interval,
    bootstrap_difference,
    bootstrap_interval,
    bootstrap_intervals,
)
from triptych.statistics.clusters import number_clusters

Draw: TypeAlias = tuple[NDArray[np.float64], NDArray[np.int64], float]
"""Values, the clip of each, and the true mean."""
Simulate: TypeAlias = Callable[[np.random.Generator, int], Draw]


def _interval(*args: object, **kwargs: object) -> Interval:
    interval = bootstrap_interval(*args, **kwargs)  # type: ignore[arg-type]
    assert interval is not None
    return interval


def _width(interval: Interval) -> float:
    assert interval.low is not None
    assert interval.high is not None
    return interval.high - interval.low


def _accuracies(rng: np.random.Generator, clips: int) -> Draw:
    """Four questions a clip; the clips' success rates spread widely, so answers on one agree."""
    rates_C = rng.beta(0.6, 0.4, size=clips)
    values = (rng.random((clips, 4)) < rates_C[:, None]).astype(float).ravel()
    return values, np.repeat(np.arange(clips), 4), 0.6


def _differences(rng: np.random.Generator, clips: int) -> Draw:
    """Two runs that differ on few questions, and on half of the clips more than on others."""
    gained_C = np.where(rng.random(clips) < 0.5, 0.25, 0.05)
    luck = rng.random((clips, 3))
    values = np.where(luck < gained_C[:, None], 1.0, np.where(luck > 0.95, -1.0, 0.0)).ravel()
    return values, np.repeat(np.arange(clips), 3), 0.10


def _unequal(rng: np.random.Generator, clips: int) -> Draw:
    """Clips of 2 to 12 questions, most of them of few."""
    sizes_C = 1 + rng.geometric(0.25, size=clips).clip(max=11)
    labels = np.repeat(np.arange(clips), sizes_C)
    rates_C = rng.beta(1.2, 0.8, size=clips)
    return (rng.random(len(labels)) < rates_C[labels]).astype(float), labels, 0.6


def _share(share: float, questions: int = 1, alike: float = 0.0) -> Simulate:
    """Right answers, of which two to one clip correlate by ``alike``."""

    def simulate(rng: np.random.Generator, clips: int) -> Draw:
        spread = (1 - alike) / alike if alike else 0.0
        rates_C = (
            rng.beta(share * spread, (1 - share) * spread, size=clips)
            if alike
            else np.full(clips, share)
        )
        values = (rng.random((clips, questions)) < rates_C[:, None]).astype(float).ravel()
        return values, np.repeat(np.arange(clips), questions), share

    return simulate


def _coverage(
    simulate: Simulate, clips: int, trials: int, *, clustered: bool = True, resamples: int = 400
) -> float:
    """Share of 95% intervals that hold the true mean."""
    rng = np.random.default_rng(7)
    hits = 0
    for _ in range(trials):
        values, labels, truth = simulate(rng, clips)
        interval = _interval(
            values.tolist(), labels.tolist() if clustered else None, resamples=resamples
        )
        assert interval.low is not None
        assert interval.high is not None
        hits += interval.low <= truth <= interval.high
    return hits / trials


@pytest.mark.parametrize("simulate", [_accuracies, _differences, _unequal])
def test_intervals_cover_the_true_mean(simulate: Simulate) -> None:
    # 400 draws tell a coverage to within 0.03.
    assert 0.92 <= _coverage(simulate, clips=40, trials=400) <= 0.98


@pytest.mark.slow
@pytest.mark.parametrize("clips", [30, 60])
@pytest.mark.parametrize("simulate", [_accuracies, _differences, _unequal])
def test_95_percent_intervals_hold_the_true_mean_in_93_to_97_percent(
    simulate: Simulate, clips: int
) -> None:
    assert 0.93 <= _coverage(simulate, clips, trials=2000, resamples=2000) <= 0.97


@pytest.mark.parametrize("simulate", [_accuracies, _differences])
def test_few_clips_widen_the_interval_enough(simulate: Simulate) -> None:
    # Plain percentiles hold the truth in 89 to 91% here.
    assert 0.935 <= _coverage(simulate, clips=12, trials=1000) <= 0.98


@pytest.mark.parametrize(
    ("share", "clips", "questions", "alike"),
    [
        *((0.9, 12, 1, 0.0), (0.95, 20, 1, 0.0), (0.02, 50, 1, 0.0), (0.99, 200, 1, 0.0)),
        *((0.9, 12, 5, 0.3), (0.02, 50, 5, 0.3), (0.98, 100, 5, 0.6)),
    ],
)
def test_intervals_of_shares_near_0_and_1_are_wide_enough(
    share: float, clips: int, questions: int, alike: float
) -> None:
    """Percentiles hold the truth in 64 to 88% here."""
    assert _coverage(_share(share, questions, alike), clips, trials=300, resamples=200) >= 0.92


@pytest.mark.slow
@pytest.mark.parametrize("clips", [12, 20, 50, 100, 200])
@pytest.mark.parametrize(
    ("questions", "alike"), [(1, 0.0), (5, 0.0), (5, 0.3), (5, 0.6), (20, 0.2)]
)
def test_95_percent_intervals_of_shares_hold_the_truth_in_93_percent_at_least(
    questions: int, alike: float, clips: int
) -> None:
    for share in (0.5, 0.8, 0.9, 0.95, 0.98, 0.99):
        held = _coverage(_share(share, questions, alike), clips, trials=2000, resamples=1000)
        print(f"{questions} questions, alike {alike}, {clips} clips, {share}: held in {held:.1%}")
        assert held >= 0.925, share  # 2,000 draws tell 93% to within a percent


def test_what_did_not_occur_may_still_occur() -> None:
    """Exact binomial ends, as no resampling gives them: 0.025 ** (1 / n)."""
    assert _interval([1.0, 1.0]).low == pytest.approx(0.025 ** (1 / 2))
    assert _interval([1.0] * 12).low == pytest.approx(0.025 ** (1 / 12))
    assert _interval([0.0] * 12).high == pytest.approx(1 - 0.025 ** (1 / 12))
    assert _interval([1.0] * 12, confidence=0.9).low == pytest.approx(0.05 ** (1 / 12))
    # Five questions of a clip may always agree: they count as one.
    assert _interval([1.0] * 60, [n // 5 for n in range(60)]).low == _interval([1.0] * 12).low
    assert (_interval([1.0] * 12).high, _interval([0.0] * 12).low) == (1.0, 0.0)


def test_clips_that_are_all_half_right_may_still_differ() -> None:
    interval = _interval([0.0, 1.0] * 4, [n // 2 for n in range(8)])
    assert _width(interval) > 0.8


def test_a_share_of_many_successes_and_failures_is_resampled() -> None:
    """As any other mean: one value that is no share makes no difference worth the name."""
    values = [0.0, 1.0] * 60
    almost = [1e-9, *values[1:]]
    assert _interval(values).to_dict() == pytest.approx(_interval(almost).to_dict(), abs=1e-7)


def test_differences_are_no_shares() -> None:
    """All are 0, or 1: that says nothing of how far below 0 others may lie."""
    for gain in (0.0, 1.0):
        difference = bootstrap_difference([gain] * 12, [0.0] * 12)
        assert difference is not None
        assert (difference.low, difference.high) == (gain, gain)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=2, max_size=40),
    st.sampled_from([0.5, 0.95, 0.99]),
)
def test_intervals_of_shares_hold_them_and_stay_within_0_and_1(
    items: list[tuple[bool, int]], confidence: float
) -> None:
    values, labels = [float(right) for right, _ in items], [label for _, label in items]
    interval = _interval(values, labels, confidence, resamples=100)
    assert interval == _interval(values, labels, confidence, resamples=100)
    if interval.low is not None:
        assert interval.high is not None
        assert 0.0 <= interval.low <= interval.mean <= interval.high <= 1.0


def test_ignoring_clusters_undercovers() -> None:
    assert _coverage(_accuracies, clips=40, trials=200, clustered=False) < 0.85


def test_agrees_with_the_normal_interval_for_many_independent_values() -> None:
    values = np.random.default_rng(0).random(2000)
    interval = _interval(values.tolist())
    expected = 2 * 1.96 * values.std() / np.sqrt(len(values))
    assert _width(interval) == pytest.approx(expected, rel=0.08)
    assert interval.mean == pytest.approx(values.mean())
    assert interval.n == 2000


def test_duplicating_items_adds_no_certainty_when_clustered() -> None:
    values = np.random.default_rng(1).random(50).tolist()
    once = _interval(values)
    copied = _interval(values * 4)
    clustered = _interval(values * 4, list(range(50)) * 4)
    assert _width(clustered) == pytest.approx(_width(once), rel=1e-9)
    assert _width(copied) < 0.65 * _width(clustered)
    assert clustered.n == 200


@pytest.mark.parametrize("questions", [1, 3])
def test_asking_everything_twice_adds_no_certainty_of_a_share(questions: int) -> None:
    rng = np.random.default_rng(3)
    for share in (0.05, 0.3, 0.9):
        values = (rng.random(12 * questions) < share).astype(float).tolist()
        labels = [n // questions for n in range(12 * questions)]
        once, twice = _interval(values, labels), _interval(values * 2, labels * 2)
        assert (twice.mean, twice.low, twice.high) == pytest.approx(
            (once.mean, once.low, once.high), abs=1e-9
        )


def test_deterministic_per_seed() -> None:
    values = np.random.default_rng(2).random(30).tolist()
    assert _interval(values, seed=3) == _interval(values, seed=3)
    assert _interval(values, seed=3) != _interval(values, seed=4)


def test_labels_may_be_any_hashable_and_their_names_do_not_matter() -> None:
    values = [0.0, 1.0, 1.0, 0.0, 1.0, 0.5]
    named = _interval(values, ["a", "a", "b", "b", "c", "c"])
    numbered = _interval(values, [9, 9, 4, 4, (1, 2), (1, 2)])
    assert named == numbered


def test_drawing_in_chunks_gives_the_same_kind_of_interval(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = np.random.default_rng(2).random(60).tolist()
    whole = _interval(values)
    monkeypatch.setattr("triptych.statistics.intervals._WEIGHTS_AT_ONCE", 60 * 70)
    chunked = _interval(values)
    assert chunked != whole
    assert _width(chunked) == pytest.approx(_width(whole), rel=0.1)


@pytest.mark.parametrize("labels", [None, [n // 3 for n in range(30)], [0] * 30])
def test_several_values_of_the_same_items_get_the_intervals_that_each_gets_alone(
    labels: list[int] | None,
) -> None:
    rng = np.random.default_rng(5)
    columns = [rng.normal(size=30).tolist() for _ in range(3)]
    alone = [bootstrap_interval(values, labels, 0.9, 200, seed=7) for values in columns]
    assert bootstrap_intervals(columns, labels, 0.9, 200, seed=7) == alone
    assert bootstrap_intervals([[], []], []) == [None, None]
    assert bootstrap_intervals([], labels) == []


def test_numbers_of_clusters_do_for_their_labels() -> None:
    labels = ["c", "a", "c", "b", "a", "d"]
    numbers = number_clusters(labels)
    assert numbers.tolist() == [0, 1, 0, 2, 1, 3]
    some = np.array([3, 1, 4, 5])  # begins elsewhere, and lacks one
    assert number_clusters(numbers[some]).tolist() == [0, 1, 1, 2]
    assert number_clusters(numbers[some][::-1]).tolist() == [0, 1, 1, 2]
    values = [[0.0, 1.0, 0.5, 0.25]]
    own = [labels[row] for row in some.tolist()]
    assert bootstrap_intervals(values, numbers[some]) == bootstrap_intervals(values, own)


def test_an_interval_knows_how_many_clusters_it_rests_on() -> None:
    assert _interval([0.0, 1.0, 0.5, 0.2], ["a", "a", "b", "c"]).clusters == 3
    assert _interval([0.0, 1.0], ["a", "a"]).clusters == 1
    assert _interval([0.0, 1.0]).clusters == 2


def test_no_values_is_none() -> None:
    assert bootstrap_interval([]) is None
    assert bootstrap_interval([], []) is None


@pytest.mark.parametrize(("values", "labels"), [([0.7], None), ([0.0, 1.0], ["clip", "clip"])])
def test_one_cluster_has_a_mean_but_no_ends(values: list[float], labels: list[str] | None) -> None:
    interval = _interval(values, labels)
    assert interval.mean == pytest.approx(sum(values) / len(values))
    assert interval.low is None
    assert interval.high is None
    assert "no interval" in str(interval)


def test_a_paired_difference_is_sharper_than_two_intervals() -> None:
    rng = np.random.default_rng(5)
    second = rng.random(80)
    first = second + 0.05 + 0.02 * rng.standard_normal(80)
    difference = bootstrap_difference(first.tolist(), second.tolist())
    assert difference is not None
    assert difference.low is not None
    assert difference.low > 0.0
    assert difference.mean == pytest.approx(0.05, abs=0.01)
    assert _width(difference) < 0.2 * _width(_interval(first.tolist()))


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"values": [1.0], "clusters": ["a", "b"]}, "1 values but 2 cluster labels"),
        ({"values": [float("nan")]}, "finite"),
        ({"values": [1.0], "confidence": 1.0}, "confidence"),
        ({"values": [1.0], "resamples": 0}, "resamples"),
    ],
)
def test_bad_arguments_say_what_is_wrong(kwargs: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        bootstrap_interval(**kwargs)  # type: ignore[arg-type]


def test_unpaired_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="paired"):
        bootstrap_difference([1.0], [1.0, 2.0])


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.floats(-1e3, 1e3), st.integers(0, 4)), min_size=1, max_size=25),
)
def test_ends_lie_within_the_values(items: list[tuple[float, int]]) -> None:
    values = [value for value, _ in items]
    assume(not {*values} <= {0.0, 1.0})  # of a share it is also known what did not occur
    interval = _interval(values, [label for _, label in items], resamples=50)
    slack = 1e-9 * max(1.0, *(abs(value) for value in values))
    assert min(values) - slack <= interval.mean <= max(values) + slack
    if interval.low is not None:
        assert interval.high is not None
        assert min(values) - slack <= interval.low <= interval.high <= max(values) + slack


def test_json_round_trip() -> None:
    interval = _interval([0.0, 1.0, 1.0])
    assert Interval.from_dict(interval.to_dict()) == interval
    assert "clusters" not in interval.to_dict()
    alone = _interval([1.0])
    assert alone.to_dict() == {"mean": 1.0, "low": None, "high": None, "n": 1}
    assert Interval.from_dict(alone.to_dict()) == alone
