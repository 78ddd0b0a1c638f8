"""Credit: which reward reaches which token, and at which size."""

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
    MATRIX_COLUMNS,
    Scheme,
    credit_matrix,
    reward_advantages,
    spread,
    stage_balance,
    token_advantages,
)
from triptych.training.objective import grpo_loss

NAN = math.nan
TAGS, CONTEXT, THINK, ANSWER = 0, 1, 2, 3
WEIGHTS = torch.tensor([0.25, 0.25, 0.35, 0.15])

# One group of three completions, each <tag> context context think <tag> answer <tag>, the last
# one a token shorter.
STAGES = torch.tensor([[TAGS, CONTEXT, CONTEXT, THINK, TAGS, ANSWER, TAGS]] * 3)[None]
MASK = torch.ones_like(STAGES, dtype=torch.bool)
MASK[0, 2, -1] = False
ALL_VALID = torch.ones(1, 3, dtype=torch.bool)
REWARDS = torch.tensor([[[0.9, 0.5, 1.0, 1.0], [0.3, 0.5, 0.0, 1.0], [0.6, 0.2, 1.0, 0.4]]])


def advantages_of(
    rewards: Tensor = REWARDS,
    valid: Tensor = ALL_VALID,
    mask: Tensor = MASK,
    scheme: str = Scheme.STRICT,
    scale: str = "none",
    balance: str = "tokens",
) -> Tensor:
    return token_advantages(
        rewards, valid, STAGES, mask,
        weights_K=WEIGHTS, matrix_K4=credit_matrix(scheme), scale=scale, balance=balance,
    )  # fmt: skip


def weighted_differences(rewards: Tensor = REWARDS) -> Tensor:
    """(G, K): weight times the difference to the group's mean, by the definition."""
    return WEIGHTS * (rewards[0] - rewards[0].mean(0))


# --- matrices --------------------------------------------------------------------------------


def test_matrices_say_what_the_schemes_mean() -> None:
    assert MATRIX_COLUMNS == ("context", "think", "answer", "tags")
    assert REWARD_NAMES == ("context", "reasoning", "answer", "format")
    assert torch.equal(credit_matrix("strict"), torch.eye(4))
    assert torch.equal(credit_matrix("uniform"), torch.ones(4, 4))
    causal = [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 1], [1, 1, 1, 1]]
    assert credit_matrix("causal").tolist() == causal
    released = [[0, 0, 0, 0], [0, 0, 0, 0], [3, 2, 1, 1], [3, 2, 1, 1]]
    assert credit_matrix("released").tolist() == released


def test_rows_follow_the_order_of_the_names_and_can_be_given() -> None:
    names = ("answer", "necessity", "context")
    matrix = credit_matrix("strict", names, {"necessity": [0.5, 0, 1, 0]})
    assert matrix.tolist() == [[0, 0, 1, 0], [0.5, 0, 1, 0], [1, 0, 0, 0]]
    assert torch.equal(credit_matrix("uniform", names), torch.ones(3, 4))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("strcit",), "unknown scheme 'strcit'; choose one of: strict, causal"),
        (("strict", ("answer", "necessity")), "which tokens earn 'necessity'; give a credit row"),
        (("strict", ("answer",), {"answers": [1, 1, 1, 1]}), "credit row for 'answers'"),
        (
            ("strict", ("answer",), {"answer": [1, 1]}),
            "has 2 entries; give one for each",
        ),
    ],
)
def test_a_matrix_that_cannot_be_made_is_refused(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        credit_matrix(*arguments)


@pytest.mark.parametrize("setting", ["scale", "balance"])
def test_unknown_settings_are_refused(setting: str) -> None:
    choices = {"scale": "none", "balance": "tokens", setting: "tokns"}
    with pytest.raises(ConfigError, match=f"unknown {setting} 'tokns'; choose one of:"):
        advantages_of(scale=choices["scale"], balance=choices["balance"])


# --- who gets what ---------------------------------------------------------------------------


def test_strict_gives_each_stage_its_own_reward() -> None:
    advantages = advantages_of()[0]
    differences = weighted_differences()
    for token, reward in enumerate((3, 0, 0, 1, 3, 2, 3)):
        expected = differences[:, reward] * MASK[0, :, token]
        torch.testing.assert_close(advantages[:, token], expected)


def test_causal_adds_what_later_stages_earn() -> None:
    context, reasoning, answer, fmt = weighted_differences().unbind(-1)
    advantages = advantages_of(scheme=Scheme.CAUSAL)[0]
    torch.testing.assert_close(advantages[:, 1], context + reasoning + answer + fmt)
    torch.testing.assert_close(advantages[:, 3], reasoning + answer + fmt)
    torch.testing.assert_close(advantages[:, 5], answer + fmt)
    torch.testing.assert_close(advantages[:, 4], answer + fmt)


def test_uniform_gives_every_token_the_weighted_sum() -> None:
    expected = weighted_differences().sum(-1)[:, None] * MASK[0]
    torch.testing.assert_close(advantages_of(scheme=Scheme.UNIFORM)[0], expected)


def test_released_multiplies_answer_and_format_by_the_prefix_masks() -> None:
    _, _, answer, fmt = weighted_differences().unbind(-1)
    factors = torch.tensor([1, 3, 3, 2, 1, 1, 1])
    expected = (answer + fmt)[:, None] * factors * MASK[0]
    torch.testing.assert_close(advantages_of(scheme=Scheme.RELEASED)[0], expected)


@pytest.mark.parametrize("scheme", list(Scheme))
def test_gradient_of_the_context_tokens_feels_the_answer_reward_only_where_it_should(
    scheme: Scheme,
) -> None:
    other = REWARDS.clone()
    other[0, :, 2] = torch.tensor([0.0, 1.0, 0.0])
    gradients = []
    for rewards in (REWARDS, other):
        logps = torch.full(STAGES.shape, -1.0, requires_grad=True)
        advantages = advantages_of(rewards, scheme=scheme)
        loss = grpo_loss(
            logps, logps.detach(), advantages, MASK,
            normalizer=MASK.sum(), clip_low=0.2, clip_high=0.2,
        ).loss  # fmt: skip
        gradients.append(torch.autograd.grad(loss, logps)[0])
    on_context = STAGES == CONTEXT
    changed = (gradients[0] - gradients[1])[on_context].abs().max()
    assert changed == 0 if scheme is Scheme.STRICT else changed > 1e-3
    assert (gradients[0] - gradients[1])[STAGES == ANSWER].abs().max() > 1e-3


# --- unscored, invalid, masked ---------------------------------------------------------------


def test_unscored_leaves_the_baseline_and_carries_nothing() -> None:
    rewards = REWARDS.clone()
    rewards[0, 1, 0] = NAN
    advantages = advantages_of(rewards)[0]
    torch.testing.assert_close(advantages[:, 1], 0.25 * torch.tensor([0.15, 0.0, -0.15]))
    # The other rewards of that completion are untouched.
    torch.testing.assert_close(advantages[:, 5], advantages_of()[0, :, 5])


def test_a_reward_scored_once_or_never_has_nothing_to_compare_with() -> None:
    rewards = REWARDS.clone()
    rewards[0, 1:, 0] = NAN
    rewards[0, :, 1] = NAN
    advantages = reward_advantages(rewards, ALL_VALID)
    assert torch.equal(advantages[..., :2], torch.zeros(1, 3, 2))
    assert advantages[..., 2].abs().max() > 0


@pytest.mark.parametrize("scheme", list(Scheme))
def test_invalid_gets_the_format_signal_alone_on_all_of_its_tokens(scheme: Scheme) -> None:
    valid = torch.tensor([[True, True, False]])
    advantages = advantages_of(valid=valid, scheme=scheme)[0]
    fmt = weighted_differences()[:, 3]
    torch.testing.assert_close(advantages[2], fmt[2] * MASK[0, 2])
    # Its answer is no part of the others' baseline: 1.0 and 0.0 lie 0.5 around their mean.
    if scheme is Scheme.STRICT:
        expected = 0.35 * torch.tensor([0.5, -0.5])
        torch.testing.assert_close(advantages[:2, 5], expected)
        torch.testing.assert_close(advantages[:2, 0], fmt[:2])


def test_invalid_without_a_format_reward_gets_nothing() -> None:
    valid = torch.tensor([[True, True, False]])
    names = REWARD_NAMES[:3]
    advantages = token_advantages(
        REWARDS[..., :3], valid, STAGES, MASK,
        weights_K=WEIGHTS[:3], matrix_K4=credit_matrix("strict", names), names=names,
    )  # fmt: skip
    assert advantages[0, 2].abs().max() == 0
    assert advantages[0, 0].abs().max() > 0


def test_forced_tokens_and_padding_carry_nothing() -> None:
    mask = MASK.clone()
    mask[0, 0, :3] = False
    advantages = advantages_of(mask=mask, scheme=Scheme.UNIFORM)
    assert advantages[~mask].abs().max() == 0
    assert advantages[mask].abs().min() > 0


# --- scale -----------------------------------------------------------------------------------


def test_scale_by_group_divides_each_reward_by_its_deviation() -> None:
    scaled = reward_advantages(REWARDS, ALL_VALID, scale="group")
    deviation = REWARDS.std(1, keepdim=True)
    torch.testing.assert_close(scaled, (REWARDS - REWARDS.mean(1)) / (deviation + 1e-4))


def test_scale_by_batch_uses_all_groups_but_the_group_keeps_its_own_mean() -> None:
    rewards = torch.cat([REWARDS, REWARDS.flip(1) * 0.5 + 0.1])
    valid = torch.ones(2, 3, dtype=torch.bool)
    scaled = reward_advantages(rewards, valid, scale="batch")
    deviation = rewards.flatten(0, 1).std(0)
    expected = (rewards - rewards.mean(1, keepdim=True)) / (deviation + 1e-4)
    torch.testing.assert_close(scaled, expected)


def test_scale_counts_scored_completions_only() -> None:
    rewards = REWARDS.clone()
    rewards[0, 1, 2] = NAN
    rewards[0, 0, 2], rewards[0, 2, 2] = 0.25, 0.75
    scaled = reward_advantages(rewards, ALL_VALID, scale="group")[0, :, 2]
    deviation = torch.tensor([0.25, 0.75]).std()
    torch.testing.assert_close(scaled, torch.tensor([-0.25, 0.0, 0.25]) / (deviation + 1e-4))


@pytest.mark.parametrize("scale", ["none", "group", "batch"])
def test_a_group_that_agrees_has_exactly_no_signal(scale: str) -> None:
    # 0.1 is no float: the mean of seven of them is not quite one of them.
    rewards = torch.full((1, 7, 4), 0.1)
    valid = torch.ones(1, 7, dtype=torch.bool)
    assert torch.equal(reward_advantages(rewards, valid, scale=scale), torch.zeros(1, 7, 4))


# --- balance ---------------------------------------------------------------------------------


def test_stage_balance_gives_regions_equal_shares() -> None:
    weights = stage_balance(STAGES, MASK)
    mass = {region: weights[region == STAGES].sum().item() for region in range(4)}
    assert mass == pytest.approx(dict.fromkeys(range(4), MASK.sum().item() / 4))
    # The answer has 3 of 20 tokens and a quarter of the mass.
    assert weights[0, 0, 5].item() == pytest.approx(20 / (4 * 3))


def test_balance_multiplies_the_advantages() -> None:
    torch.testing.assert_close(
        advantages_of(balance="stages"), advantages_of() * stage_balance(STAGES, MASK)
    )


# --- properties ------------------------------------------------------------------------------


@st.composite
def batches(draw: st.DrawFn) -> dict[str, Tensor]:
    groups, completions, tokens = (draw(st.integers(1, high)) for high in (3, 4, 6))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    shape = (groups, completions)
    rewards = torch.rand(*shape, 4, generator=generator)
    unscored = torch.rand(*shape, 4, generator=generator) < 0.3
    return {
        "rewards_NGK": rewards.masked_fill(unscored, NAN),
        "valid_NG": torch.rand(shape, generator=generator) < 0.7,
        "stage_ids_NGT": torch.randint(0, 4, (*shape, tokens), generator=generator),
        "mask_NGT": torch.rand(*shape, tokens, generator=generator) < 0.8,
    }


@given(batches(), st.sampled_from(Scheme))
@settings(deadline=None, max_examples=60)
def test_advantages_are_finite_and_zero_off_the_mask(
    batch: dict[str, Tensor], scheme: Scheme
) -> None:
    for scale in ("none", "group", "batch"):
        for balance in ("tokens", "stages"):
            advantages = token_advantages(
                batch["rewards_NGK"], batch["valid_NG"], batch["stage_ids_NGT"], batch["mask_NGT"],
                weights_K=WEIGHTS, matrix_K4=credit_matrix(scheme), scale=scale, balance=balance,
            )  # fmt: skip
            assert advantages.isfinite().all()
            assert advantages[~batch["mask_NGT"]].abs().sum() == 0


@given(batches())
@settings(deadline=None, max_examples=60)
def test_balance_weights_sum_to_the_trained_tokens_of_each_group(batch: dict[str, Tensor]) -> None:
    weights = stage_balance(batch["stage_ids_NGT"], batch["mask_NGT"])
    torch.testing.assert_close(weights.sum((1, 2)), batch["mask_NGT"].sum((1, 2)).float())


@given(batches())
@settings(deadline=None, max_examples=60)
def test_counted_advantages_of_a_group_sum_to_zero(batch: dict[str, Tensor]) -> None:
    advantages = reward_advantages(batch["rewards_NGK"], batch["valid_NG"])
    torch.testing.assert_close(
        advantages.sum(1), torch.zeros_like(advantages[:, 0]), rtol=0, atol=1e-6
    )


@given(batches(), st.sampled_from([0, 1, 2]))
@settings(deadline=None, max_examples=60)
def test_strict_keeps_a_reward_in_its_stage_whatever_the_others(
    batch: dict[str, Tensor], reward: int
) -> None:
    """Changing one reward at will moves no token of a valid completion outside its stage."""
    changed = batch["rewards_NGK"].clone()
    changed[..., reward] = changed[..., reward].flip(1)
    matrix = credit_matrix("strict")
    before, after = (
        spread(
            reward_advantages(rewards, batch["valid_NG"]), batch["valid_NG"],
            batch["stage_ids_NGT"], batch["mask_NGT"], weights_K=WEIGHTS, matrix_K4=matrix,
        )
        for rewards in (batch["rewards_NGK"], changed)
    )  # fmt: skip
    elsewhere = batch["stage_ids_NGT"] != reward + 1
    assert torch.equal(before[elsewhere], after[elsewhere])
