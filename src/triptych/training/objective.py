"""The GRPO objective on tokens. It knows nothing of rewards or stages.

All functions take tensors of one shape of any rank, for instance (R, T): completions x tokens.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class ObjectiveOutput(NamedTuple):
    """A loss to minimise, and what it was made of.

    `metrics` (clip_low, clip_high, kl, ratio) are sums over the tokens of this call divided by
    the same normaliser as the loss: added up over micro-batches and ranks, they are token means.
    """

    loss: Tensor
    metrics: dict[str, Tensor]


def grpo_loss(
    logps: Tensor,
    old_logps: Tensor,
    advantages: Tensor,
    mask: Tensor,
    *,
    normalizer: float | Tensor,
    clip_low: float,
    clip_high: float,
    ref_logps: Tensor | None = None,
    beta: float = 0.0,
) -> ObjectiveOutput:
    """Clipped policy gradient on tokens plus a penalty for leaving the reference model.

    With the ratio r = exp(logp - old_logp) and advantage A, a token costs

        -min(r * A, clip(r, 1 - clip_low, 1 + clip_high) * A)
        + beta * (exp(ref - logp) - (ref - logp) - 1)

    (DeepSeekMath, arXiv 2402.03300, equations 3 and 4; the sum over tokens is normalised as in
    DAPO, arXiv 2503.14476). The loss is the sum over the mask divided by `normalizer`.

    Args:
        logps: log-probs under the model that learns; gradients flow through them alone.
        old_logps: log-probs under the model that wrote the completions.
        advantages: from `credit.token_advantages`.
        mask: bool, True on trained tokens. What stands elsewhere is never read.
        normalizer: trained tokens of the whole global batch: all ranks, all accumulation steps.
        clip_low: how far the ratio may fall below 1 before the gradient stops.
        clip_high: how far it may rise above 1.
        ref_logps: log-probs under the reference model; needed when beta is not 0.
        beta: weight of the penalty.
    """
    # Zero before exp: garbage in the padding would reach the gradient as 0 * inf = NaN.
    log_ratio = (logps - old_logps).masked_fill(~mask, 0)
    advantages = advantages.masked_fill(~mask, 0)
    ratio = log_ratio.exp()
    clipped = ratio.clamp(1 - clip_low, 1 + clip_high)
    losses = -torch.minimum(ratio * advantages, clipped * advantages)
    metrics = {
        "clip_low": ((ratio < 1 - clip_low) & (advantages < 0)).sum() / normalizer,
        "clip_high": ((ratio > 1 + clip_high) & (advantages > 0)).sum() / normalizer,
        "ratio": ratio.detach().masked_fill(~mask, 0).sum() / normalizer,
    }
    if beta != 0.0:
        if ref_logps is None:
            raise ValueError(f"beta is {beta}, but there are no reference log-probs")
        drift = (ref_logps - logps).masked_fill(~mask, 0)
        kl = drift.exp() - drift - 1
        losses = losses + beta * kl
        metrics["kl"] = kl.detach().sum() / normalizer
    return ObjectiveOutput(losses.sum() / normalizer, metrics)


def kl_coefficient(step: int, total_steps: int, beta0: float) -> float:
    """beta(t) = beta0 * (1 - 0.75 t / (T/2)) until half of the steps, then 0.25 beta0.

    The tie to the reference is tight while the policy is young and loosens as it proves itself.
    """
    progress = min(1.0, 2 * step / total_steps) if total_steps > 0 else 1.0
    return beta0 * (1 - 0.75 * progress)
