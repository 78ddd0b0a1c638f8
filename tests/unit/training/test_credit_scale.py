"""What advantages are divided by, where they are clipped, and weights that differ by group."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from triptych.errors import ConfigError
from triptych.rewards.base import REWARD_NAMES
from triptych.training.credit import (
    Scale,
    Scheme,
    counted,
    credit_matrix,
    reward_advantages,
    token_advantages,
)

NAN = math.nan
WEIGHTS = torch.tensor([0.25, 0.25, 0.35, 0.15])
EPSILON = 1e-4


def rewards_of(groups: int = 3, completions: int = 6, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(groups, completions, 4, generator=generator)


def all_valid(rewards_NGK: Tensor) -> Tensor:
    return torch.ones(rewards_NGK.shape[:2], dtype=torch.bool)


def one_token_a_region(
    rewards_NGK: Tensor, valid_NG: Tensor | None = None, **settings: Any
) -> Tensor:
    """Advantages (N, G, 4) of a token in the tags, the context, think and the answer."""
    stages = torch.arange(4).expand(*rewards_NGK.shape[:2], 4)
    settings = {"weights_K": WEIGHTS, "matrix_K4": credit_matrix(Scheme.STRICT), **settings}
    return token_advantages(
        rewards_NGK,
        all_valid(rewards_NGK) if valid_NG is None else valid_NG,
        stages,
        torch.ones_like(stages, dtype=torch.bool),
        **settings,
    )


def sum_then_normalise(rewards_NGK: Tensor, scale: str, weights_K: Tensor = WEIGHTS) -> Tensor:
    """The textbook (DeepSeekMath, arXiv 2402.03300, 4.1.2), with the usual epsilon: (N, G)."""
    sums_NG = (rewards_NGK * weights_K).sum(-1)
    differences_NG = sums_NG - sums_NG.mean(1, keepdim=True)
    deviation = sums_NG.std(1, keepdim=True) if scale == "group" else sums_NG.std()
    return differences_NG / (deviation + EPSILON)


@pytest.mark.parametrize("scale", ["group", "batch"])
def test_uniform_scaled_by_the_sum_is_plain_grpo(scale: str) -> None:
    rewards = rewards_of()
    advantages = one_token_a_region(
        rewards, matrix_K4=credit_matrix("uniform"), scale=scale, scale_by="sum"
    )
    expected = sum_then_normalise(rewards, scale)[..., None].expand_as(advantages)
    torch.testing.assert_close(advantages, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("scale", ["group", "batch"])
def test_stages_keep_their_own_rewards_on_the_scale_of_the_sum(scale: str) -> None:
    rewards = rewards_of()
    advantages = one_token_a_region(rewards, scale=scale, scale_by="sum")
    sums = (rewards * WEIGHTS).sum(-1)
    deviation = sums.std(1)[:, None, None] if scale == "group" else sums.std()
    shares = WEIGHTS * (rewards - rewards.mean(1, keepdim=True)) / (deviation + EPSILON)
    torch.testing.assert_close(advantages, shares[..., [3, 0, 1, 2]], rtol=0, atol=1e-6)
    torch.testing.assert_close(
        advantages.sum(-1), sum_then_normalise(rewards, scale), rtol=0, atol=1e-5
    )


def test_a_small_reward_stays_small_by_the_sum_and_grows_by_itself() -> None:
    rewards = rewards_of()
    rewards[..., 0] = 0.5 + rewards[..., 0] / 1000
    of_context = {
        scale_by: one_token_a_region(rewards, scale="group", scale_by=scale_by)[..., 1].abs().max()
        for scale_by in ("reward", "sum")
    }
    assert of_context["sum"] < 0.01
    assert of_context["reward"] > 0.1


def test_the_sum_holds_what_counts_and_the_mean_in_place_of_the_rest() -> None:
    """Two groups: one lacks a context reward once, in the other a completion is invalid."""
    rewards, valid = rewards_of(2, 4), torch.ones(2, 4, dtype=torch.bool)
    rewards[0, 1, 0] = NAN
    valid[1, 2] = False
    for scale in ("group", "batch"):
        advantages = reward_advantages(
            rewards, valid, weights_K=WEIGHTS, scale=scale, scale_by="sum"
        )
        filled = rewards.clone()
        filled[0, 1, 0] = rewards[0, [0, 2, 3], 0].mean()
        filled[1, 2, :3] = rewards[1, [0, 1, 3], :3].mean(0)
        sums = (filled * WEIGHTS).sum(-1)
        deviation = sums.std(1)[:, None, None] if scale == "group" else sums.std()
        expected = reward_advantages(rewards, valid) / (deviation + EPSILON)
        torch.testing.assert_close(advantages, expected, rtol=0, atol=1e-6)
        assert advantages[0, 1, 0] == 0
        assert advantages[1, 2, :3].abs().max() == 0
        assert advantages[1, 2, 3] != 0


def test_a_group_without_a_reward_is_no_outlier_of_the_step() -> None:
    """Data without references: their sums lack the context reward, which is no difference."""
    rewards = rewards_of(2, 4)
    rewards[1] = rewards[0]
    rewards[1, :, 0] = NAN
    advantages = reward_advantages(
        rewards, all_valid(rewards), weights_K=WEIGHTS, scale="batch", scale_by="sum"
    )
    filled = rewards.clone()
    filled[1, :, 0] = rewards[0, :, 0].mean()
    deviation = (filled * WEIGHTS).sum(-1).std()
    unscaled = reward_advantages(rewards, all_valid(rewards))
    torch.testing.assert_close(advantages, unscaled / (deviation + EPSILON), rtol=0, atol=1e-6)


def test_completions_of_which_nothing_is_known_are_no_part_of_the_deviation() -> None:
    rewards = rewards_of(1, 5)
    rewards[0, 4] = NAN
    known = rewards[:, :4]
    with_it, without = (
        reward_advantages(part, all_valid(part), weights_K=WEIGHTS, scale="group", scale_by="sum")[
            :, :4
        ]
        for part in (rewards, known)
    )
    torch.testing.assert_close(with_it, without)


def test_rewards_that_cancel_out_in_the_sum_are_no_signal_but_none_to_blow_up() -> None:
    weights = torch.tensor([0.3, 0.0, 0.3, 0.1])
    rewards = torch.tensor([[[0.1, 0.0, 0.7, 1.0], [0.7, 0.0, 0.1, 1.0], [0.4, 0.0, 0.4, 1.0]]])
    scaled = reward_advantages(
        rewards, all_valid(rewards), weights_K=weights, scale="group", scale_by="sum"
    )
    assert scaled.abs().max() == 0
    # Over the step there is a scale, and each stage keeps its signal.
    both = torch.cat([rewards, rewards_of(1, 3)])
    scaled = reward_advantages(
        both, all_valid(both), weights_K=weights, scale="batch", scale_by="sum"
    )
    assert 0.1 < scaled[0, :, 0].abs().max() < 10


def test_clipping_bounds_each_reward_before_its_weight() -> None:
    rewards = rewards_of()
    free = reward_advantages(rewards, all_valid(rewards), scale="group")
    clipped = reward_advantages(rewards, all_valid(rewards), scale="group", clip=0.8)
    assert free.abs().max() > 1
    assert torch.equal(clipped, free.clamp(-0.8, 0.8))
    tokens = one_token_a_region(rewards, scale="group", clip=0.8)
    torch.testing.assert_close(tokens, (clipped * WEIGHTS)[..., [3, 0, 1, 2]])
    # A weight changes how much the clipped advantage counts, not what is clipped.
    heavy = one_token_a_region(rewards, weights_K=10 * WEIGHTS, scale="group", clip=0.8)
    torch.testing.assert_close(heavy, 10 * tokens)


def test_no_bound_is_the_default() -> None:
    rewards = rewards_of()
    for scale in Scale:
        free = reward_advantages(rewards, all_valid(rewards), scale=scale)
        assert torch.equal(
            free, reward_advantages(rewards, all_valid(rewards), scale=scale, clip=0)
        )


@pytest.mark.parametrize("scheme", list(Scheme))
def test_weights_of_groups_equal_groups_by_themselves(scheme: Scheme) -> None:
    rewards, matrix = rewards_of(3), credit_matrix(scheme)
    weights_N1K = torch.stack([WEIGHTS, WEIGHTS.flip(0), torch.tensor([1.0, 0, 0, 0])])[:, None]
    for scale_by in ("reward", "sum"):
        together = one_token_a_region(
            rewards, weights_K=weights_N1K, matrix_K4=matrix, scale="group", scale_by=scale_by
        )
        for n in range(3):
            alone = one_token_a_region(
                rewards[n : n + 1], weights_K=weights_N1K[n, 0], matrix_K4=matrix,
                scale="group", scale_by=scale_by,
            )  # fmt: skip
            torch.testing.assert_close(together[n : n + 1], alone)


@pytest.mark.parametrize("scheme", list(Scheme))
def test_equal_weights_of_all_groups_change_no_bit(scheme: Scheme) -> None:
    rewards, matrix = rewards_of(), credit_matrix(scheme)
    by_group = one_token_a_region(rewards, weights_K=WEIGHTS.expand(3, 1, 4), matrix_K4=matrix)
    assert torch.equal(by_group, one_token_a_region(rewards, matrix_K4=matrix))


def test_what_counts() -> None:
    rewards = torch.tensor([[[NAN, 1.0, 0.0, 1.0], [1.0, 1.0, 1.0, 0.0]]])
    valid = torch.tensor([[True, False]])
    expected = [[[False, True, True, True], [False, False, False, True]]]
    assert counted(rewards, valid).tolist() == expected


def test_settings_that_say_nothing_are_refused() -> None:
    rewards = rewards_of()
    with pytest.raises(ConfigError, match="unknown scale_by 'all'; choose one of: reward, sum"):
        reward_advantages(rewards, all_valid(rewards), scale="group", scale_by="all")
    with pytest.raises(ConfigError, match="needs the weights of the sum"):
        reward_advantages(rewards, all_valid(rewards), scale="group", scale_by="sum")


@given(st.integers(0, 2**32), st.sampled_from(["group", "batch"]), st.sampled_from(Scheme))
@settings(deadline=None, max_examples=60)
def test_by_the_sum_all_is_finite_and_groups_still_sum_to_zero(
    seed: int, scale: str, scheme: Scheme
) -> None:
    generator = torch.Generator().manual_seed(seed)
    rewards = torch.rand(2, 4, len(REWARD_NAMES), generator=generator)
    rewards = rewards.masked_fill(torch.rand(rewards.shape, generator=generator) < 0.4, NAN)
    valid = torch.rand(2, 4, generator=generator) < 0.6
    weights = torch.rand(2, 1, 4, generator=generator)
    weights = weights.masked_fill(torch.rand(weights.shape, generator=generator) < 0.3, 0)
    advantages = reward_advantages(rewards, valid, weights_K=weights, scale=scale, scale_by="sum")
    assert advantages.isfinite().all()
    assert advantages[~counted(rewards, valid)].abs().sum() == 0
    sums = advantages.sum(1)
    torch.testing.assert_close(sums, torch.zeros_like(sums), rtol=0, atol=1e-3)
