"""From a model's logit to a score that means what it says.

    score = sigmoid(slope * logit + intercept)

Two numbers, fitted on pairs that were not trained on, by the cross-entropy with their targets
(Platt scaling with soft targets; Platt 1999, Guo et al. 2017). The slope is positive, so the order
of texts stays as the model has it, and ties are not made, as isotonic steps would make them: in a
group two completions with equal scores teach nothing.
"""

from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from triptych.errors import DataError

_STEPS = 100
_RIDGE = 1e-3  # per pair, towards slope 1 and intercept 0: keeps a perfect separation finite


@dataclass(frozen=True)
class Calibration:
    """The two numbers. As they are by default, the logit is taken as it is."""

    slope: float = 1.0
    intercept: float = 0.0

    def scores(self, logits_N: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N,) in [0, 1]."""
        return _sigmoid(self.slope * np.asarray(logits_N, dtype=np.float64) + self.intercept)

    @classmethod
    def fit(cls, logits_N: NDArray[np.float64], targets_N: NDArray[np.float64]) -> Self:
        """The calibration with the least cross-entropy; by Newton's method, since it is convex.

        Args:
            logits_N: of the model.
            targets_N: what the scores should be, in [0, 1].

        Raises:
            DataError: there are no pairs, or the logits fall as the targets rise.
        """
        logits_N = np.asarray(logits_N, dtype=np.float64)
        targets_N = np.asarray(targets_N, dtype=np.float64)
        if not len(logits_N):
            raise DataError("no pairs are left to calibrate the scorer with; give more samples")
        features_N2 = np.stack([logits_N, np.ones_like(logits_N)], axis=1)
        prior_2 = np.array([1.0, 0.0])
        weights_2 = prior_2.copy()
        best = np.inf
        for _ in range(_STEPS):
            step_2 = _newton_step(features_N2, targets_N, weights_2, prior_2)
            size, loss = 1.0, np.inf
            while size > 1e-8:  # far from the minimum a whole step overshoots
                loss = _loss(features_N2, targets_N, weights_2 - size * step_2, prior_2)
                if loss < best:
                    break
                size /= 2
            if not loss < best - 1e-12:
                break
            weights_2, best = weights_2 - size * step_2, loss
        slope, intercept = map(float, weights_2)
        if slope <= 0:
            raise DataError(
                "the scorer gives good texts no higher scores than bad ones, on samples that it "
                "was not trained on; train on more samples, or longer (--num-epochs)"
            )
        return cls(slope, intercept)

    def to_dict(self) -> dict[str, float]:
        """The JSON form."""
        return asdict(self)

    @classmethod
    def from_dict(cls, record: Any) -> Self:
        """Inverse of `to_dict`.

        Raises:
            DataError: it is no calibration.
        """
        try:
            return cls(float(record["slope"]), float(record["intercept"]))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f'calibration: {record!r:.80} is not {{"slope": ..., "intercept": ...}}'
            ) from error


def _sigmoid(values_N: NDArray[np.float64]) -> NDArray[np.float64]:
    exponential_N = np.exp(-np.abs(values_N))
    return np.where(values_N >= 0, 1.0, exponential_N) / (1.0 + exponential_N)


def _loss(
    features_N2: NDArray[np.float64],
    targets_N: NDArray[np.float64],
    weights_2: NDArray[np.float64],
    prior_2: NDArray[np.float64],
) -> float:
    values_N = features_N2 @ weights_2
    entropy_N = np.logaddexp(0.0, values_N) - targets_N * values_N
    return float(entropy_N.mean() + _RIDGE / 2 * ((weights_2 - prior_2) ** 2).sum())


def _newton_step(
    features_N2: NDArray[np.float64],
    targets_N: NDArray[np.float64],
    weights_2: NDArray[np.float64],
    prior_2: NDArray[np.float64],
) -> NDArray[np.float64]:
    scores_N = _sigmoid(features_N2 @ weights_2)
    count = len(targets_N)
    gradient_2 = features_N2.T @ (scores_N - targets_N) / count + _RIDGE * (weights_2 - prior_2)
    spread_N = scores_N * (1.0 - scores_N)
    hessian_22 = (features_N2 * spread_N[:, None]).T @ features_N2 / count + _RIDGE * np.eye(2)
    return np.linalg.solve(hessian_22, gradient_2).astype(np.float64)
