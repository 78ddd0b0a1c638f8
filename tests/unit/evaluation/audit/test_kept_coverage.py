"""How often the intervals of what is kept hold the truth, where the truth is set."""

import numpy as np
import pytest

from triptych.data.sample import ProblemType, Sample
from triptych.evaluation.audit.conditions import Condition
from triptych.evaluation.audit.kept import kept_under, shortcut_index
from triptych.evaluation.audit.observations import Observation, Observations, Outcome


def questions(clips: int, each: int) -> list[Sample]:
    return [
        Sample(
            id=f"{clip}/{number}",
            question="?",
            problem_type=ProblemType.MULTIPLE_CHOICE,
            options=("a", "b", "c", "d"),
            answer="A",
            media=(),
            extra={"clip": str(clip)},
        )
        for clip in range(clips)
        for number in range(each)
    ]


def observed(
    samples: list[Sample],
    rng: np.random.Generator,
    full: float,
    kept: dict[Condition, float],
    spread: float,
) -> Observations:
    """Answers that are right with a probability above chance that differs from clip to clip, by
    `spread`, and of which a condition keeps a share on average.
    """
    clips = list(dict.fromkeys(one.extra["clip"] for one in samples))
    above = dict(
        zip(clips, (full - 0.25) * rng.uniform(1 - spread, 1 + spread, len(clips)), strict=True)
    )
    trials = {}
    for condition, share in {Condition.FULL: 1.0, **kept}.items():
        trials[condition, 0] = Observation(
            {
                one.id: Outcome(float(rng.random() < 0.25 + share * above[one.extra["clip"]]))
                for one in samples
            }
        )
    return Observations(samples, trials)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("clips", "each", "full"), [(150, 1, 0.8), (60, 3, 0.6)], ids=["single", "clustered"]
)
def test_intervals_hold_what_is_kept(clips: int, each: int, full: float) -> None:
    """Both media are needed alike: that is where the largest of the two is most misleading."""
    samples = questions(clips, each)
    kept = {Condition.SWAPPED_VIDEO: 0.4, Condition.SWAPPED_AUDIO: 0.4}
    draws, single, largest, points = 150, 0, 0, []
    for seed in range(draws):
        observations = observed(samples, np.random.default_rng(seed), full, kept, spread=0.3)
        found = kept_under(observations, Condition.SWAPPED_AUDIO, samples)
        index = shortcut_index(observations, samples)
        assert found is not None
        assert found.kept is not None
        assert found.kept.low is not None
        assert found.kept.high is not None
        single += found.kept.low <= 0.4 <= found.kept.high
        assert index is not None
        assert index.shortcut is not None
        assert index.shortcut.low is not None
        assert index.shortcut.high is not None
        largest += index.shortcut.low <= 0.4 <= index.shortcut.high
        points.append(index.shortcut.mean)
    print(f"kept {single / draws:.3f}, index {largest / draws:.3f}, mean {np.mean(points):.3f}")
    assert 0.91 <= single / draws <= 0.99
    assert largest / draws >= 0.93
    assert np.mean(points) > 0.4, "the largest of two is too large on average"


def test_nothing_is_kept_of_nothing() -> None:
    """A little above chance by luck the ratio would be anything; it is not given."""
    samples = questions(60, 1)
    right = {one.id: Outcome(float(number < 18)) for number, one in enumerate(samples)}
    trials = {(Condition.FULL, 0): right, (Condition.SWAPPED_AUDIO, 0): right}
    observations = Observations(samples, {key: Observation(one) for key, one in trials.items()})
    found = kept_under(observations, Condition.SWAPPED_AUDIO, samples)
    index = shortcut_index(observations, samples)
    assert found is not None
    assert found.full.mean == pytest.approx(0.30)
    assert found.kept is None
    assert index is not None
    assert index.shortcut is None


def test_the_same_answers_differ_by_nothing() -> None:
    """Differences of 0 are no share of which outcomes were missed."""
    samples = questions(12, 1)
    right = Observation({one.id: Outcome(1.0) for one in samples})
    observations = Observations(samples, {(Condition.FULL, 0): right, (Condition.DEAF, 0): right})
    found = kept_under(observations, Condition.DEAF, samples)
    assert found is not None
    assert (found.difference.low, found.difference.high) == (0, 0)
    assert found.accuracy.low is not None
    assert 0.5 < found.accuracy.low < 1
