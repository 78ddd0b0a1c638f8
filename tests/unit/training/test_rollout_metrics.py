"""Which rewards follow the length: pooled within groups, over what counts, and never NaN."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from tests.unit.training.scored_rollouts import scored
from triptych.data.sample import Sample
from triptych.generation import Completion, StopReason
from triptych.models import OmniModel
from triptych.rewards import rule_rewards
from triptych.training.averages import Averages
from triptych.training.rollout import Rollout
from triptych.training.rollout_metrics import (
    observe_lengths,
    observe_weights,
    products_within_groups,
)

NAN = math.nan


def correlation(
    x: Sequence[Sequence[float]],
    y: Sequence[Sequence[float]],
    counts: Sequence[Sequence[bool]] | None = None,
) -> float | None:
    averages, x_NG = Averages(), torch.tensor(x, dtype=torch.float64)
    counted_NG = torch.ones_like(x_NG, dtype=torch.bool) if counts is None else torch.tensor(counts)
    averages.add_products("r", *products_within_groups(x_NG, torch.tensor(y), counted_NG))
    return averages.drain().get("r")


def test_it_is_the_correlation_of_the_differences_to_the_group() -> None:
    x, y = np.random.default_rng(0).normal(size=(2, 5, 4)) + np.arange(5)[:, None]
    centred = [values - values.mean(1, keepdims=True) for values in (x, y)]
    expected = np.corrcoef(centred[0].ravel(), centred[1].ravel())[0, 1]
    assert correlation(x.tolist(), y.tolist()) == pytest.approx(expected)


def test_long_answers_to_hard_questions_are_no_pay_for_length() -> None:
    """Across groups the reward falls with the length, within each it rises."""
    rewards = [[0.8, 0.9], [0.1, 0.2]]
    lengths = [[10, 20], [110, 120]]
    assert np.corrcoef(np.ravel(rewards), np.ravel(lengths))[0, 1] < -0.9
    assert correlation(rewards, lengths) == pytest.approx(1.0)


def test_what_does_not_count_is_left_out() -> None:
    rewards = [[0.1, 0.2, 9.0], [NAN, 0.5, 0.4]]
    lengths = [[10, 20, 1], [500, 20, 10]]
    counts = [[True, True, False], [False, True, True]]
    assert correlation(rewards, lengths, counts) == pytest.approx(1.0)


@pytest.mark.parametrize(
    "rewards", [[[0.1] * 7, [0.3] * 7], [[NAN] * 7, [NAN] * 7], [[0.5] + [NAN] * 6, [NAN] * 7]]
)
def test_without_a_difference_there_is_no_figure(rewards: list[list[float]]) -> None:
    # 0.1 is no float: the mean of seven of them is not quite one of them.
    scored = [[not math.isnan(value) for value in row] for row in rewards]
    assert correlation(rewards, [[1, 2, 3, 4, 5, 6, 7]] * 2, scored) is None


def completion(model: OmniModel, context: str, answer: str, end: str = "") -> Completion:
    text = f"<context>{context}</context><think>so</think><answer>{answer}</answer>{end}"
    ids = model.tokenizer(text)["input_ids"]
    return Completion(tuple(ids), text, StopReason.END, (False,) * len(ids))


@pytest.fixture
def rollout(tiny: OmniModel, samples: list[Sample]) -> Rollout:
    """The longer its context the better, by a reward of our own; the last completion is invalid."""

    def words(prompts: object, completions: Sequence[str], **columns: object) -> list[float | None]:
        return [min(1.0, text.count("smiling") / 10) for text in completions]

    contexts = ["smiling", "smiling smiling", "smiling smiling smiling"]
    group = [
        completion(tiny, contexts[0], "B B B B B B B B B"),
        completion(tiny, contexts[1], "B B B"),
        completion(tiny, contexts[2], "B"),
        completion(tiny, "smiling " * 9, "B", end=" and more"),
    ]
    rewards = {**rule_rewards(), "context": words}
    return scored(tiny, samples[:1], [group], rewards)


def test_of_a_rollout(tiny: OmniModel, rollout: Rollout) -> None:
    averages = Averages()
    observe_lengths(averages, rollout, tiny.format.names)
    metrics = averages.drain()
    assert rollout.valid_NG.tolist() == [[True, True, True, False]]
    assert metrics["stage_length_correlation/context"] == pytest.approx(1.0)
    # Whole completions get shorter, since the answer does.
    lengths = rollout.lengths_NG[0, :3].tolist()
    expected = np.corrcoef([0.1, 0.2, 0.3], lengths)[0, 1]
    assert expected < 0
    assert metrics["length_correlation/context"] == pytest.approx(expected)
    assert "stage_length_correlation/format" not in metrics
    # Of an invalid completion the format reward counts, and no other.
    expected = np.corrcoef([1, 1, 1, 0], rollout.lengths_NG[0].tolist())[0, 1]
    assert metrics["length_correlation/format"] == pytest.approx(expected)
    assert all(-1.0 - 1e-9 <= value <= 1.0 + 1e-9 for value in metrics.values())


def test_a_stage_reward_is_compared_with_its_own_stage(tiny: OmniModel, rollout: Rollout) -> None:
    averages = Averages()
    observe_lengths(averages, rollout, ("context", "think"))
    assert "stage_length_correlation/answer" not in averages.drain()


def test_weights_that_vary_are_shown_as_means_over_the_prompts() -> None:
    averages = Averages()
    weights_N1K = torch.tensor([[[0.2, 0.5]], [[0.4, 0.5]]])
    observe_weights(averages, ("context", "answer"), ("context",), weights_N1K)
    assert averages.drain() == {"weight/context": pytest.approx(0.3)}
