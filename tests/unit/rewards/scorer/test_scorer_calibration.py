import numpy as np
import pytest
from numpy.random import default_rng

from triptych.errors import DataError
from triptych.rewards.scorer.calibration import Calibration


@pytest.mark.parametrize("true", [Calibration(0.5, -1.0), Calibration(3.0, 2.0), Calibration()])
def test_the_calibration_that_made_the_targets_is_found(true: Calibration) -> None:
    logits = default_rng(0).normal(0, 2, 500)
    found = Calibration.fit(logits, true.scores(logits))
    assert found.slope == pytest.approx(true.slope, rel=0.1)
    assert np.abs(found.scores(logits) - true.scores(logits)).max() < 0.02


def test_scores_are_right_on_average_after_it() -> None:
    rng = default_rng(1)
    logits = rng.normal(0, 1, 2000)
    targets = np.clip(0.6 + 0.05 * logits + 0.2 * rng.random(2000), 0, 1)
    before, after = Calibration(), Calibration.fit(logits, targets)
    assert abs(after.scores(logits).mean() - targets.mean()) < 0.005
    assert abs(before.scores(logits).mean() - targets.mean()) > 0.1


def test_order_stays_and_extreme_logits_stay_scores() -> None:
    calibration = Calibration.fit(np.array([-4.0, -1, 0, 2, 5]), np.array([0, 0.2, 0.4, 0.9, 1.0]))
    scores = calibration.scores(np.array([-1e6, -3, -2, 0, 1, 1e6]))
    assert (np.diff(scores) > 0).all()
    assert scores.min() >= 0
    assert scores.max() <= 1


def test_perfectly_separated_targets_keep_the_slope_finite() -> None:
    calibration = Calibration.fit(np.array([-1.0, -1, 1, 1]), np.array([0.0, 0, 1, 1]))
    assert 1 < calibration.slope < 1000


def test_logits_that_tell_nothing_give_the_mean() -> None:
    calibration = Calibration.fit(np.full(100, 0.3), np.linspace(0.2, 0.4, 100))
    assert calibration.scores(np.array([0.3])) == pytest.approx(0.3, abs=0.01)


def test_a_scorer_that_ranks_backwards_is_refused() -> None:
    logits = np.linspace(-2, 2, 50)
    with pytest.raises(DataError, match="no higher scores"):
        Calibration.fit(logits, 1 - Calibration().scores(logits))


def test_nothing_to_calibrate_with_is_an_error() -> None:
    with pytest.raises(DataError, match="no pairs"):
        Calibration.fit(np.array([]), np.array([]))


def test_the_json_form_and_what_is_none() -> None:
    calibration = Calibration(1.25, -0.5)
    assert Calibration.from_dict(calibration.to_dict()) == calibration
    for broken in (None, {}, {"slope": "steep", "intercept": 0}):
        with pytest.raises(DataError, match="calibration"):
            Calibration.from_dict(broken)
