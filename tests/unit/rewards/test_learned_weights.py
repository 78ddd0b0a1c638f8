"""Weights are found again where they are known, and no difference is claimed where none is."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from triptych.errors import ConfigError, DataError
from triptych.rewards import DEFAULT_WEIGHTS, REWARD_NAMES
from triptych.rewards.labelled import Pairs
from triptych.rewards.learned_weights import (
    FOLDS,
    LearnedWeights,
    _folds,
    _right,
    learn_weights,
    pair_loss,
)
from triptych.statistics import bootstrap_difference

TRUE = (0.5, 0.1, 0.3, 0.1)


def judged(
    weights: Sequence[float] = TRUE,
    samples: int = 120,
    missing: float = 0.0,
    sharpness: float = 10.0,
    seed: int = 0,
) -> Pairs:
    """Four completions of each sample, ordered as the Bradley-Terry model orders them: the noise
    of a logistic difference is Gumbel's."""
    rng = np.random.default_rng(seed)
    rewards = rng.uniform(size=(samples, 4, len(weights)))
    scored = rng.uniform(size=rewards.shape) >= missing
    scored[..., 0] |= ~scored.any(-1)
    weighted = np.asarray(weights) * scored
    utility = (weighted * rewards).sum(-1) / weighted.sum(-1)
    labels = sharpness * utility + rng.gumbel(size=utility.shape)
    rewards[~scored] = np.nan
    pairs = [
        (rewards[s, [first, second]], f"clip {s}")
        for s, of_sample in enumerate(labels)
        for a in range(4)
        for b in range(a)
        for first, second in [(a, b) if of_sample[a] > of_sample[b] else (b, a)]
    ]
    rewards_P2K, clusters = zip(*pairs, strict=True)
    return Pairs(
        names=REWARD_NAMES[: len(weights)],
        rewards_P2K=torch.tensor(np.stack(rewards_P2K)),
        clusters=clusters,
        num_samples=samples,
        num_unlabelled=0,
    )


def gain(learned: LearnedWeights) -> Any:
    return bootstrap_difference(learned.right, learned.default_right, learned.clusters)


@pytest.fixture(scope="module")
def recovered() -> LearnedWeights:
    return learn_weights(judged(samples=300), DEFAULT_WEIGHTS)


def test_known_weights_are_found_again(recovered: LearnedWeights) -> None:
    assert list(recovered.weights) == list(REWARD_NAMES)
    assert list(recovered.weights.values()) == pytest.approx(TRUE, abs=0.05)
    assert sum(recovered.weights.values()) == pytest.approx(1.0)
    assert list(recovered.default.values()) == pytest.approx(list(DEFAULT_WEIGHTS.values()))


def test_where_they_are_better_held_out_pairs_say_so(recovered: LearnedWeights) -> None:
    assert gain(recovered).low > 0
    assert len(recovered.right) == len(recovered.default_right) == 300 * 6


@pytest.mark.slow
def test_known_weights_are_found_again_where_rewards_are_missing() -> None:
    """What is missing is left out, and a pair of which one has no reward at all."""
    pairs = judged(samples=300, missing=0.25)
    pairs.rewards_P2K[5, 1] = torch.nan
    learned = learn_weights(pairs, DEFAULT_WEIGHTS)
    assert list(learned.weights.values()) == pytest.approx(TRUE, abs=0.06)
    assert len(learned.right) == len(pairs) - 1
    assert learned.clusters == pairs.clusters[:5] + pairs.clusters[6:]


def test_labels_that_agree_with_the_default_weights_change_them_little() -> None:
    learned = learn_weights(judged(tuple(DEFAULT_WEIGHTS.values())), DEFAULT_WEIGHTS)
    assert list(learned.weights.values()) == pytest.approx(list(DEFAULT_WEIGHTS.values()), abs=0.05)
    assert gain(learned).low <= 0


def test_labels_by_chance_are_overruled_by_the_default_weights() -> None:
    learned = learn_weights(judged(sharpness=0.0, samples=60), DEFAULT_WEIGHTS)
    assert learned.strength >= 1
    assert list(learned.weights.values()) == pytest.approx(list(DEFAULT_WEIGHTS.values()), abs=0.02)
    assert gain(learned).low <= 0
    assert abs(np.mean(learned.right) - 0.5) < 0.1


def test_a_reward_that_hurts_gets_no_weight_and_perfect_labels_no_infinity() -> None:
    pairs = judged((0.0, 0.0, 1.0, 0.0), sharpness=1e6, samples=40)
    learned = learn_weights(pairs, DEFAULT_WEIGHTS)
    assert learned.weights["answer"] > 0.9
    assert min(learned.weights.values()) >= 0
    assert np.mean(learned.right) > 0.95


@pytest.mark.slow
def test_pairs_are_judged_by_weights_that_never_saw_their_labels() -> None:
    """Turned round, the labels of a fold turn the verdicts on its pairs round, and do no more."""
    pairs = judged((0.0, 0.9, 0.0, 0.1), samples=15)
    held_out = (_folds(pairs.clusters, seed=0) == 0).nonzero()[:, 0]
    before = torch.tensor(learn_weights(pairs, DEFAULT_WEIGHTS).right)
    pairs.rewards_P2K[held_out] = pairs.rewards_P2K[held_out].flip(1)
    after = torch.tensor(learn_weights(pairs, DEFAULT_WEIGHTS).right)
    assert 0 < before[held_out].mean() < 1
    assert torch.equal(after[held_out], 1 - before[held_out])


def test_a_tie_and_a_pair_of_which_nothing_counts_are_half_right() -> None:
    pairs = judged((1.0, 0.0), samples=2)
    pairs.rewards_P2K[0, :, 0] = 0.5
    pairs.rewards_P2K[1, 0, 0] = torch.nan
    right = _right(pairs, torch.tensor([1.0, 0.0], dtype=torch.float64)).tolist()
    assert right[:2] == [0.5, 0.5]
    assert set(right[2:]) <= {0.0, 1.0}


def test_a_clip_lies_in_one_fold_and_no_fold_is_empty() -> None:
    clusters = [f"clip {number % 11}" for number in range(50)]
    folds = _folds(clusters, seed=3).tolist()
    assert len(set(zip(clusters, folds, strict=True))) == 11
    assert set(folds) == set(range(FOLDS))
    assert folds != _folds(clusters, seed=4).tolist()


def test_the_loss_is_that_of_the_model() -> None:
    pairs = judged(samples=3)
    weights = torch.tensor(TRUE, dtype=torch.float64)
    margins = (pairs.rewards_P2K[:, 0] - pairs.rewards_P2K[:, 1]) @ weights
    expected = -torch.log(1 / (1 + torch.exp(-7.0 * margins))).mean()
    torch.testing.assert_close(pair_loss(pairs, weights, torch.tensor(7.0)), expected)


def test_a_reward_that_never_differs_is_refused_unless_it_keeps_its_share() -> None:
    pairs = judged(samples=30)
    pairs.rewards_P2K[..., 3] = 1.0
    default = {**DEFAULT_WEIGHTS, "format": 1.0}
    with pytest.raises(DataError, match=r"reward 'format' is the same for both .* keep its weight"):
        learn_weights(pairs, default)
    learned = learn_weights(pairs, default, keep=["format"])
    assert learned.weights["format"] == pytest.approx(1.0 / 1.85)
    assert sum(learned.weights.values()) == pytest.approx(1.0)
    assert learned.weights["context"] > learned.weights["reasoning"]


def test_a_reward_that_was_never_scored_for_both_is_refused() -> None:
    pairs = judged(samples=12)
    pairs.rewards_P2K[:, 0, 0] = torch.nan
    with pytest.raises(DataError, match="reward 'context' is the same for both"):
        learn_weights(pairs, DEFAULT_WEIGHTS)


def test_rewards_that_cannot_be_told_apart_are_refused() -> None:
    pairs = judged(samples=12)
    pairs.rewards_P2K[..., 2] = 0.2 + 0.5 * pairs.rewards_P2K[..., 0]
    with pytest.raises(DataError, match="rewards 'context', 'answer' cannot be told apart"):
        learn_weights(pairs, DEFAULT_WEIGHTS)


def test_rewards_of_which_one_is_the_mean_of_two_are_refused() -> None:
    pairs = judged(samples=12)
    pairs.rewards_P2K[..., 3] = pairs.rewards_P2K[..., :2].mean(-1)
    with pytest.raises(DataError, match="'context', 'reasoning', 'format' cannot be told apart"):
        learn_weights(pairs, DEFAULT_WEIGHTS)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"samples": 9}, DataError, "pairs of 9 clips .* are too few .* at least 10"),
        ({"keep": ["formt"]}, ConfigError, "keep: 'formt' is no reward here"),
        ({"keep": REWARD_NAMES[1:]}, ConfigError, "fewer than two rewards are left"),
        ({"default": {"context": 1.0}}, ConfigError, "none given for reward 'reasoning'"),
        (
            {"default": {**dict.fromkeys(REWARD_NAMES, 0.0), "format": 1.0}, "keep": ["format"]},
            ConfigError,
            "have none to share",
        ),
    ],
)
def test_what_cannot_be_learned_is_refused(
    settings: dict[str, Any], error: type[Exception], message: str
) -> None:
    pairs = judged(samples=settings.pop("samples", 12))
    with pytest.raises(error, match=message):
        learn_weights(pairs, **{"default": DEFAULT_WEIGHTS, **settings})
