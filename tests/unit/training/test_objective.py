"""The objective: values, gradients, what the metrics count, and TRL's loss as an oracle."""

import math
from collections import defaultdict
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from triptych.training.objective import grpo_loss, kl_coefficient

CLIP_LOW, CLIP_HIGH = 0.2, 0.28
clipped_loss = partial(grpo_loss, clip_low=CLIP_LOW, clip_high=CLIP_HIGH)


def random_batch(seed: int, completions: int = 6, tokens: int = 9) -> dict[str, Tensor]:
    """Log-probs far enough apart that both clips act, and completions of ragged length."""
    generator = torch.Generator().manual_seed(seed)

    def noise(scale: float) -> Tensor:
        return scale * torch.randn(completions, tokens, generator=generator, dtype=torch.float64)

    logps = -1.5 + noise(0.5)
    lengths = torch.randint(1, tokens + 1, (completions,), generator=generator)
    lengths[0] = tokens
    return {
        "logps": logps,
        "old_logps": logps + noise(0.3),
        "ref_logps": logps + noise(0.4),
        "advantages": noise(1.0),
        "mask": torch.arange(tokens) < lengths[:, None],
    }


def test_on_policy_gradient_is_minus_advantage_over_the_normaliser() -> None:
    batch = random_batch(0)
    logps = batch["logps"].requires_grad_()
    output = clipped_loss(
        logps, logps.detach(), batch["advantages"], batch["mask"], normalizer=40.0
    )
    (gradient,) = torch.autograd.grad(output.loss, logps)
    torch.testing.assert_close(gradient, -batch["advantages"] * batch["mask"] / 40.0)
    assert output.metrics["clip_low"] == 0
    assert output.metrics["clip_high"] == 0
    torch.testing.assert_close(output.metrics["ratio"], batch["mask"].sum().double() / 40.0)


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "gradient", "clipped"),
    [
        (1.5, 1.0, -1.28, 0.0, "clip_high"),
        (1.5, -1.0, 1.5, 1.5, None),
        (0.5, 1.0, -0.5, -0.5, None),
        (0.5, -1.0, 0.8, 0.0, "clip_low"),
    ],
)
def test_clip_stops_only_moves_away_from_the_old_policy(
    ratio: float, advantage: float, loss: float, gradient: float, clipped: str | None
) -> None:
    logps = torch.tensor([math.log(ratio)], dtype=torch.float64, requires_grad=True)
    mask = torch.tensor([True])
    advantages = torch.tensor([advantage], dtype=torch.float64)
    output = clipped_loss(logps, torch.zeros_like(logps), advantages, mask, normalizer=1)
    assert output.loss.item() == pytest.approx(loss)
    assert torch.autograd.grad(output.loss, logps)[0].item() == pytest.approx(gradient)
    shares = {name: output.metrics[name].item() for name in ("clip_low", "clip_high")}
    assert shares == {name: float(name == clipped) for name in shares}


def test_penalty_is_the_k3_estimate_and_needs_a_reference() -> None:
    batch = random_batch(1)
    mask = batch["mask"]
    arguments = (batch["logps"], batch["logps"], torch.zeros_like(batch["logps"]), mask)
    output = clipped_loss(
        *arguments, normalizer=mask.sum(), ref_logps=batch["ref_logps"], beta=0.04
    )
    drift = (batch["ref_logps"] - batch["logps"])[mask]
    k3 = (drift.exp() - drift - 1).mean()
    torch.testing.assert_close(output.metrics["kl"], k3)
    torch.testing.assert_close(output.loss, 0.04 * k3)
    with pytest.raises(ValueError, match="no reference"):
        clipped_loss(*arguments, normalizer=1, beta=0.04)
    assert "kl" not in clipped_loss(*arguments, normalizer=1).metrics


def test_padding_is_never_read() -> None:
    batch = random_batch(2)
    garbage = {
        name: values.masked_fill(~batch["mask"], torch.nan if name == "advantages" else -torch.inf)
        for name, values in batch.items()
        if name != "mask"
    }
    losses, gradients = [], []
    for values in (batch, garbage):
        logps = values["logps"].clone().requires_grad_()
        output = clipped_loss(
            logps, values["old_logps"], values["advantages"], batch["mask"], normalizer=30.0,
            ref_logps=values["ref_logps"], beta=0.1,
        )  # fmt: skip
        losses.append(output.loss)
        gradients.append(torch.autograd.grad(output.loss, logps)[0])
    assert torch.equal(losses[0], losses[1])
    assert torch.equal(gradients[0], gradients[1])


def test_one_batch_of_eight_equals_four_accumulated_batches_of_two() -> None:
    batch = random_batch(3, completions=8)
    normalizer = batch["mask"].sum()
    logps = batch["logps"].requires_grad_()

    def gradient_of(rows: slice) -> Tensor:
        output = clipped_loss(
            logps[rows], batch["old_logps"][rows], batch["advantages"][rows], batch["mask"][rows],
            normalizer=normalizer, ref_logps=batch["ref_logps"][rows], beta=0.04,
        )  # fmt: skip
        return torch.autograd.grad(output.loss, logps)[0]

    parts = sum((gradient_of(slice(i, i + 2)) for i in range(0, 8, 2)), torch.zeros_like(logps))
    torch.testing.assert_close(parts, gradient_of(slice(None)), rtol=0, atol=1e-12)


def test_kl_coefficient_falls_to_a_quarter_at_half_time() -> None:
    betas = [kl_coefficient(step, 100, 0.04) for step in (0, 25, 50, 75, 100)]
    assert betas == pytest.approx([0.04, 0.025, 0.01, 0.01, 0.01])
    assert kl_coefficient(0, 0, 0.04) == pytest.approx(0.01)


# --- TRL as an oracle ------------------------------------------------------------------------


class TrlLoss:
    """TRL's real `GRPOTrainer._compute_loss` on given log-probs: all it needs and no more."""

    def __init__(self, batch: dict[str, Tensor], *, beta: float) -> None:
        grpo: Any = pytest.importorskip("trl.trainer.grpo_trainer")
        self.logps = batch["logps"].clone().requires_grad_()
        trainer: Any = object.__new__(grpo.GRPOTrainer)
        trainer.__dict__ |= {
            "model": SimpleNamespace(training=True),
            "args": SimpleNamespace(
                delta=None, use_bias_correction_kl=False, steps_per_generation=1
            ),
            "accelerator": SimpleNamespace(
                num_processes=1, gather=lambda x: x, reduce=lambda x, reduction: x
            ),
            "loss_type": "dapo",
            "importance_sampling_level": "token",
            "epsilon_low": CLIP_LOW,
            "epsilon_high": CLIP_HIGH,
            "beta": beta,
            "top_entropy_quantile": 1.0,
            "off_policy_mask_threshold": None,
            "use_vllm": False,
            "aux_loss_enabled": False,
            "_entropy_bonus_enabled": False,
            "current_gradient_accumulation_steps": 1,
            "_metrics": {"train": defaultdict(list)},
            "_get_per_token_logps_and_entropies": lambda *_, **__: (
                self.logps,
                torch.zeros_like(self.logps),
                None,
            ),
        }
        mask = batch["mask"].long()
        inputs = {
            "prompt_ids": mask[:, :1],
            "prompt_mask": mask[:, :1],
            "completion_ids": mask,
            "completion_mask": mask,
            "num_items_in_batch": mask.sum(),
            **{f"{who}_per_token_logps": batch[f"{who}_logps"] for who in ("old", "ref")},
        }
        self._trainer = trainer
        self._inputs = inputs
        self.metrics = trainer._metrics["train"]

    def __call__(self, advantages: Tensor) -> Tensor:
        loss: Tensor = self._trainer._compute_loss(None, {**self._inputs, "advantages": advantages})
        return loss


@pytest.mark.parametrize("beta", [0.0, 0.04])
@pytest.mark.parametrize("constant", [True, False])
def test_loss_and_gradient_equal_trl(beta: float, constant: bool) -> None:
    batch = random_batch(4, completions=16)
    # TRL's own advantages are one number a completion; (B, T) is its extension point.
    given = batch["advantages"][:, 0] if constant else batch["advantages"]
    advantages = given[:, None].expand_as(batch["logps"]) if constant else given
    theirs = TrlLoss(batch, beta=beta)
    their_loss = theirs(given)
    ours = batch["logps"].clone().requires_grad_()
    output = clipped_loss(
        ours, batch["old_logps"], advantages, batch["mask"], normalizer=batch["mask"].sum(),
        ref_logps=batch["ref_logps"], beta=beta,
    )  # fmt: skip
    torch.testing.assert_close(output.loss, their_loss, rtol=1e-12, atol=0)
    (their_gradient,) = torch.autograd.grad(their_loss, theirs.logps)
    (our_gradient,) = torch.autograd.grad(output.loss, ours)
    torch.testing.assert_close(our_gradient, their_gradient, rtol=1e-12, atol=1e-15)
    for ours_name, theirs_name in (
        ("clip_low", "clip_ratio/low_mean"),
        ("clip_high", "clip_ratio/high_mean"),
    ):
        share = output.metrics[ours_name].item()
        assert share > 0
        assert share == pytest.approx(theirs.metrics[theirs_name][0], rel=1e-6)
    if beta:
        assert output.metrics["kl"].item() == pytest.approx(theirs.metrics["kl"][0])
