"""From several rewards of a completion to one: weights, their mean, and the optional gate.

Shapes: K rewards; a leading ``...`` stands for any further dimensions, such as (N, G, K).
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from triptych.errors import ConfigError
from triptych.rewards.base import DEFAULT_WEIGHTS, REWARD_NAMES

if TYPE_CHECKING:
    from torch import Tensor

GATE_THRESHOLD = 0.4


def weight_vector(
    names: Sequence[str],
    weights: Mapping[str, float] = DEFAULT_WEIGHTS,
    setting: str = "weights",
) -> "Tensor":
    """(K,) float32: the weight of each reward in the order of `names`.

    Args:
        names: the rewards.
        weights: the weight of each.
        setting: what an error message says is wrong.

    Raises:
        ConfigError: a reward has no weight, a weight belongs to no reward, is negative or not
            finite, or all are zero.
    """
    import torch

    if unknown := [name for name in weights if name not in names]:
        raise ConfigError(f"{setting}: {unknown[0]!r} is no reward here; known: {', '.join(names)}")
    if missing := [name for name in names if name not in weights]:
        raise ConfigError(f"{setting}: none given for reward {missing[0]!r}; set it, 0 to ignore")
    for name, weight in weights.items():
        if not (math.isfinite(weight) and weight >= 0):
            raise ConfigError(f"{setting}: {name}: {weight} is not a number from 0 upwards")
    if not sum(weights.values()):
        raise ConfigError(f"{setting}: all are zero; give at least one reward a weight")
    return torch.tensor([weights[name] for name in names], dtype=torch.float32)


def combine(rewards_K: "Tensor", weights_K: "Tensor") -> "Tensor":
    """The weighted mean over the rewards that were scored.

    An unscored reward (NaN) leaves the mean: the weights of the others are renormalised to sum
    to one. So two completions with different rewards missing are on one scale, and a missing
    reward counts neither as a failure nor as a success.

    Args:
        rewards_K: (..., K), NaN where unscored.
        weights_K: (K,), or (..., K) where completions differ in their weights; not negative.

    Returns:
        (...), NaN where no reward with a weight was scored.
    """
    scored_K = ~rewards_K.isnan()
    weight_K = weights_K.to(rewards_K) * scored_K
    return (rewards_K.nan_to_num() * weight_K).sum(-1) / weight_K.sum(-1)


def apply_gate(
    rewards_K: "Tensor",
    names: Sequence[str] = REWARD_NAMES,
    threshold: float = GATE_THRESHOLD,
) -> "Tensor":
    """No credit for what builds on nothing: the optional gate of HumanOmniV2 (arXiv 2506.21277).

    A context reward at or below the threshold zeroes reasoning and answer; a reasoning reward at
    or below it zeroes the answer. An unscored reward closes no gate and stays unscored.

    Args:
        rewards_K: (..., K), NaN where unscored; not changed.
        names: The reward of each column; must hold context, reasoning and answer.
        threshold: The highest reward that still closes the gate.

    Raises:
        ConfigError: one of the three rewards is not there.
    """
    if missing := [name for name in ("context", "reasoning", "answer") if name not in names]:
        raise ConfigError(f"gate: there is no reward {missing[0]!r}; add it or turn the gate off")
    gated_K = rewards_K.clone()
    context, reasoning, answer = (
        gated_K[..., list(names).index(name)] for name in ("context", "reasoning", "answer")
    )
    for condition, outcome in ((context, reasoning), (context, answer), (reasoning, answer)):
        outcome.masked_fill_((condition <= threshold) & ~outcome.isnan(), 0.0)
    return gated_K
