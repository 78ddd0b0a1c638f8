"""Whether an optimizer's steps survive in the number format of the weights."""

import logging

import torch
from torch import nn

from triptych.errors import ConfigError

_log = logging.getLogger(__name__)


def check_precision(model: nn.Module) -> None:
    """Warn of weights in bfloat16 that are trained.

    Raises:
        ConfigError: some are in float16, in which gradients vanish.
    """
    formats = {weight.dtype for weight in model.parameters() if weight.requires_grad}
    way_out = "load the model with dtype float32 and set bf16: true, or train an adapter: lora.rank"
    if torch.float16 in formats:
        raise ConfigError(f"dtype is float16, in which weights cannot be trained; {way_out}")
    if torch.bfloat16 in formats:
        _log.warning(
            "weights in bfloat16 are trained: what a step changes by less than a 500th of a weight "
            "is rounded away; %s", way_out,
        )  # fmt: skip
