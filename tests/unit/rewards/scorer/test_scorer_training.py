"""The tiny encoder, trained for some seconds: enough to tell vague texts from faithful ones."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from triptych.data.sample import Sample
from triptych.errors import ConfigError, DataError
from triptych.rewards.scorer.calibration import Calibration
from triptych.rewards.scorer.config import ScorerConfig
from triptych.rewards.scorer.corruptions import Corruption, Pair
from triptych.rewards.scorer.evaluation import Evaluation, evaluate_scorer
from triptych.rewards.scorer.splits import Splits, make_splits
from triptych.rewards.scorer.text import TextScorer
from triptych.rewards.scorer.training import train_text_scorer

CONFIG = ScorerConfig(encoder="tiny", max_steps=80, held_out_share=0.4)
SHORT = replace(CONFIG, max_steps=3)


@pytest.fixture(scope="module")
def splits(questions: list[Sample]) -> Splits:
    return make_splits(questions, "context", CONFIG.held_out_share, 1, seed=0)


@pytest.fixture(scope="module")
def trained(splits: Splits) -> TextScorer:
    return train_text_scorer(splits, CONFIG, "cpu")


@pytest.fixture(scope="module")
def evaluation(trained: TextScorer, splits: Splits) -> Evaluation:
    return evaluate_scorer(trained, splits.held_out, splits.samples)


def test_it_learns_what_is_easy(evaluation: Evaluation) -> None:
    vague, truncated = (evaluation.kinds[kind].auc for kind in ("vague", "truncated"))
    assert vague is not None
    assert truncated is not None
    assert vague.mean > 0.95
    assert truncated.mean > 0.7
    assert evaluation.rank_correlation is not None
    assert evaluation.rank_correlation.low is not None
    assert evaluation.rank_correlation.low > 0.1


def test_every_kind_is_counted_and_the_empty_text_is_zero(
    evaluation: Evaluation, splits: Splits
) -> None:
    counts = Counter(str(pair.kind) for pair in splits.held_out)
    assert {kind: figures.count for kind, figures in evaluation.kinds.items()} == counts
    assert evaluation.unscored == {}
    assert evaluation.references == len({pair.reference for pair in splits.held_out})
    empty = evaluation.kinds[Corruption.EMPTY]
    assert empty.score is not None
    assert (empty.score.mean, empty.score.high) == (0.0, 0.0)
    assert empty.auc is not None
    assert empty.auc.mean == 1.0
    assert evaluation.kinds[Corruption.FAITHFUL].auc is None


def test_calibration_is_fitted_to_the_calibration_part(trained: TextScorer, splits: Splits) -> None:
    def fitted_to(pairs: list[Pair]) -> Calibration:
        read = [pair for pair in pairs if pair.text]
        windows = trained.windows([(pair.reference, pair.text) for pair in read])
        logits = trained.logits([window for (window,) in windows])
        return Calibration.fit(logits, np.array([pair.target for pair in read]))

    assert trained.calibration.slope == pytest.approx(fitted_to(splits.calibration).slope, rel=1e-3)
    assert trained.calibration.slope != pytest.approx(fitted_to(splits.held_out).slope, rel=1e-2)


def weights(scorer: TextScorer) -> torch.Tensor:
    return torch.cat([weight.detach().flatten() for weight in scorer.model.parameters()])


def test_equal_seeds_give_equal_scorers_and_others_do_not(splits: Splits) -> None:
    first, same, other = (
        train_text_scorer(splits, replace(SHORT, seed=seed), "cpu") for seed in (1, 1, 2)
    )
    assert torch.equal(weights(first), weights(same))
    assert first.calibration == same.calibration
    assert not torch.equal(weights(first), weights(other))


@pytest.mark.parametrize("most", [24, 64])
def test_a_text_that_is_too_long_to_learn_from_is_named(splits: Splits, most: int) -> None:
    """Where it would not fit at all, and where it would fit in windows."""
    with pytest.raises(DataError, match=rf"sample 'clip-.*more than the {most} tokens"):
        train_text_scorer(splits, replace(SHORT, max_length=most), "cpu")


def test_an_encoder_that_does_not_exist_is_named(splits: Splits, tmp_path: Path) -> None:
    for name in (str(tmp_path / "nowhere"), "nobody/no-encoder"):
        with pytest.raises(ConfigError, match=f"encoder: {name}: no sequence classifier"):
            train_text_scorer(splits, replace(CONFIG, encoder=name), "cpu")


@pytest.mark.parametrize(
    "wrong",
    [
        {"num_epochs": 0},
        {"batch_size": 0},
        {"max_length": -1},
        {"per_kind": 0},
        {"max_steps": -1},
        {"learning_rate": 0.0},
        {"held_out_share": 1.0},
        {"seed": -1},
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    (name,) = wrong
    with pytest.raises(ConfigError, match=name):
        ScorerConfig(**wrong)  # type: ignore[arg-type]


def test_the_usual_learning_rate_depends_on_the_encoder() -> None:
    assert ScorerConfig(encoder="tiny").peak_learning_rate > ScorerConfig().peak_learning_rate
    assert ScorerConfig(learning_rate=0.5).peak_learning_rate == 0.5
