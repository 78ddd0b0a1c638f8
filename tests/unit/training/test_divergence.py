"""What counts as no number any more, of metrics and of weights."""

from math import inf, nan
from pathlib import Path

import pytest
import torch
from torch import nn

from triptych.training.divergence import broken_weight, diverged, not_finite


@pytest.mark.parametrize(
    ("metrics", "said"),
    [
        ({}, None),
        ({"loss": 2.0, "grad_norm": 3.0, "reward/context": nan}, None),
        ({"loss": nan, "grad_norm": nan}, "the loss is nan"),
        ({"loss": 2.0, "grad_norm": inf}, "the norm of the gradient is inf"),
    ],
)
def test_loss_and_gradient_must_be_numbers(metrics: dict[str, float], said: str | None) -> None:
    assert not_finite(metrics) == said


@pytest.mark.parametrize("value", [nan, inf, -inf, 1e20])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_weights_that_a_norm_layer_makes_infinite_are_named(
    value: float, dtype: torch.dtype
) -> None:
    layer = nn.Linear(3, 2)
    model = nn.ModuleDict({"a": nn.Linear(0, 3, bias=False), "b": layer}).to(dtype)
    assert broken_weight(model) is None
    layer.weight.data[1, 2] = value
    assert (
        broken_weight(model) == f"the weight b.weight holds {layer.weight.flatten()[-1].item():g}"
    )
    model.requires_grad_(False)
    assert broken_weight(model) is None, "is not trained"


def test_the_error_names_the_last_checkpoint() -> None:
    where = ("sft: step 3", "the loss is nan")
    kept = diverged(*where, Path("run/checkpoint-2"))
    assert str(kept) == (
        "sft: step 3: the loss is nan; lower the learning rate or load the model in float32, in a "
        "new run: the last checkpoint with finite weights, to begin from, is run/checkpoint-2"
    )
    assert str(diverged(*where, None)).endswith(": there is no checkpoint yet")
