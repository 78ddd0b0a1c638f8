"""What tells that a training run has left the numbers that a model can compute with."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from triptych.errors import TriptychError

_LARGEST = math.sqrt(torch.finfo(torch.float32).max)
"""Norm layers square their inputs in float32: a weight beyond this makes them infinite."""


class Diverged(TriptychError):
    """The loss, gradients, weights or logits of a training run are no numbers any more."""


def diverged(where: str, what: str, checkpoint: Path | None) -> Diverged:
    """An error that says what is no number any more, and how to go on.

    Args:
        where: the phase of the run, and its step.
        what: is no number, and what it is instead.
        checkpoint: the last whole one.
    """
    last = (
        f"the last checkpoint with finite weights, to begin from, is {checkpoint}"
        if checkpoint
        else "there is no checkpoint yet"
    )
    return Diverged(
        f"{where}: {what}; lower the learning rate or load the model in float32, in a new run: "
        f"{last}"
    )


def not_finite(metrics: Mapping[str, float]) -> str | None:
    """What of a step's metrics is no number, if the weights are not to be trusted for it."""
    for name, said in (("loss", "the loss"), ("grad_norm", "the norm of the gradient")):
        if not math.isfinite(metrics.get(name, 0.0)):
            return f"{said} is {metrics[name]}"
    return None


@torch.no_grad()
def broken_weight(model: nn.Module) -> str | None:
    """The first trained weight with NaN, infinity or what a norm layer makes infinite.

    Of a sharded model each process looks at its own share.
    """
    shares = {name: _share(w) for name, w in model.named_parameters() if w.requires_grad}
    shares = {name: share for name, share in shares.items() if share.numel()}
    if not shares:
        return None
    # Both are NaN where any value is. One pass without a copy, and one wait for the device.
    ends = [torch.stack(torch.aminmax(share)).float() for share in shares.values()]
    for name, (low, high) in zip(shares, torch.stack(ends).tolist(), strict=True):
        for value in (low, high):
            if not abs(value) <= _LARGEST:
                return f"the weight {name} holds {value:g}"
    return None


def _share(weight: Any) -> Tensor:
    """What this process holds of a weight: of FSDP2's, of ZeRO-3's, or all of it."""
    if isinstance(weight, DTensor):
        return weight.to_local()
    if not hasattr(weight, "ds_tensor"):
        return cast(Tensor, weight)
    share: Tensor = weight.ds_tensor
    before = torch.distributed.get_rank(weight.ds_process_group) * share.numel()
    return share[: max(0, weight.ds_numel - before)]  # what fills up the last one may be anything
