"""What the best checkpoint is chosen by."""

from collections.abc import Mapping
from typing import Any

import pytest

from triptych.data.sample import Sample
from triptych.evaluation.metrics import ItemScore
from triptych.rewards import rule_rewards
from triptych.rewards.base import DEFAULT_WEIGHTS, RewardError, Unscored
from triptych.rewards.weights import RewardWeights
from triptych.training.grpo_config import GRPOConfig
from triptych.training.validation import Scoring


def sample(source: str) -> Sample:
    return Sample.model_validate(
        {"id": source, "question": "?", "problem_type": "yes_no", "answer": "yes", "media": [],
         "source": source}
    )  # fmt: skip


def record(scores: Mapping[str, float | None], why: Unscored = Unscored.NO_REFERENCE) -> ItemScore:
    unscored = {name: why for name, value in scores.items() if value is None}
    return ItemScore("a", "a", None, None, scores, unscored=unscored)


def scoring(**settings: Any) -> Scoring:
    config = GRPOConfig(**settings)
    return Scoring.of_run(config, {name: rule_rewards()["format"] for name in config.weights})


def test_means_are_those_of_training() -> None:
    """With the weights of the last step, and of each source, over what was scored."""
    run = scoring(
        max_steps=100,
        weights={"context": {0: 0.0, 100: 1.0}, "answer": 3.0},
        source_weights={"emer": {"context": 0.0}},
        credit_rows={},
    )
    records = [
        record({"context": 1.0, "answer": 0.5}),
        record({"context": None, "answer": 0.25}),
        record({"context": 1.0, "answer": 0.0}),
    ]
    means = run.means([sample("a"), sample("a"), sample("emer")], records)
    assert means == pytest.approx({
        "reward/context": 1.0, "unscored/context": 1 / 3,
        "reward/answer": 0.25, "unscored/answer": 0.0,
        "reward/combined": ((1.0 + 3 * 0.5) / 4 + 0.25 + 0.0) / 3,
    })  # fmt: skip


def test_the_gate_holds_here_too() -> None:
    scores = dict.fromkeys(DEFAULT_WEIGHTS, 1.0) | {"context": 0.1}
    free, gated = (
        scoring(gate=gate).means([sample("a")], [record(scores)]) for gate in (False, True)
    )
    assert free["reward/answer"] == free["reward/reasoning"] == 1.0
    assert gated["reward/answer"] == gated["reward/reasoning"] == 0.0
    assert gated["reward/combined"] == pytest.approx(0.25 * 0.1 + 0.15)


def test_a_judge_that_is_down_chooses_no_checkpoint() -> None:
    scores: dict[str, float | None] = {"context": None, "answer": 1.0}
    run = scoring(weights={"context": 1.0, "answer": 1.0})
    failed = [record(scores, Unscored.UNAVAILABLE)] * 3
    samples = [sample("a")] * 4
    with pytest.raises(RewardError, match=r"validation: reward 'context': 3 of 4 .*unavailable 3"):
        run.means(samples, [*failed, record({"context": 1.0, "answer": 1.0})])
    # Without a reference there is no value at any checkpoint: they compare all the same.
    assert run.means(samples, [record(scores)] * 4)["reward/combined"] == 1.0
    unweighted = scoring(weights={"context": 0.0, "answer": 1.0})
    assert unweighted.means(samples, failed + failed[:1])["reward/combined"] == 1.0
    with pytest.raises(RewardError, match="no completion has a reward with a weight"):
        run.means(samples, [record({"context": None, "answer": None})] * 4)


def test_a_cold_start_is_scored_by_rule() -> None:
    by_rule = Scoring.by_rule()
    assert by_rule.weights == RewardWeights(tuple(rule_rewards()), DEFAULT_WEIGHTS)
    assert by_rule.means([sample("a")], [record(dict.fromkeys(DEFAULT_WEIGHTS, 0.5))])[
        "reward/combined"
    ] == pytest.approx(0.5)
