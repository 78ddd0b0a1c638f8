"""Weights whose number format would round the optimizer's steps away."""

import pytest
import torch
from torch import nn

from triptych.errors import ConfigError
from triptych.training.precision import check_precision


def model(dtype: torch.dtype, *, frozen: torch.dtype = torch.float32) -> nn.Module:
    part = nn.Linear(2, 2).to(frozen).requires_grad_(False)
    return nn.Sequential(part, nn.Linear(2, 2).to(dtype))


def test_frozen_weights_may_be_of_any_format(caplog: pytest.LogCaptureFixture) -> None:
    check_precision(model(torch.float32, frozen=torch.float16))
    check_precision(model(torch.float64, frozen=torch.bfloat16))
    assert not caplog.records


def test_trained_weights_in_bfloat16_are_told(caplog: pytest.LogCaptureFixture) -> None:
    check_precision(model(torch.bfloat16))
    assert "weights in bfloat16 are trained" in caplog.text
    assert "set bf16: true" in caplog.text


def test_trained_weights_in_float16_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"dtype is float16.*lora\.rank"):
        check_precision(model(torch.float16))
