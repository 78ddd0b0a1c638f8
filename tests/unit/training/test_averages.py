"""Means between log lines."""

import math

import pytest
import torch

from triptych.training.averages import Averages


def test_means_weigh_by_count_and_begin_anew() -> None:
    averages = Averages()
    averages.add("loss", 6.0, 3)
    averages.add("loss", torch.tensor(2.0), torch.tensor(1))
    averages.add("valid", 1.0)
    averages.add("valid", 0.0)
    averages.add("entropy/think", 0.0, 0)
    assert averages.drain() == {"loss": 2.0, "valid": 0.5}
    assert averages.drain() == {}
    averages.add("loss", 1.0)
    assert averages.drain() == {"loss": 1.0}


def test_correlations_add_up_and_begin_anew() -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 30, generator=generator, dtype=torch.float64)
    y = y + x
    averages = Averages()
    for part in (slice(0, 7), slice(7, 30)):
        here_x, here_y = x[part] - x.mean(), y[part] - y.mean()
        averages.add_products(
            "r", (here_x * here_y).sum(), here_x.square().sum(), float(here_y.square().sum())
        )
    averages.add("loss", 1.0)
    expected = float(torch.corrcoef(torch.stack([x, y]))[0, 1])
    assert 0.5 < expected < 0.9
    assert averages.drain() == {"loss": 1.0, "r": pytest.approx(expected)}
    assert averages.drain() == {}


def test_what_does_not_vary_correlates_with_nothing() -> None:
    averages = Averages()
    averages.add_products("constant", 0.0, 0.0, 5.0)
    averages.add_products("nothing", 0.0, 0.0, 0.0)
    averages.add_products("tiny", 1e-200, 1e-200, 1e-200)
    drained = averages.drain()
    assert drained.keys() == {"tiny"}
    assert math.isclose(drained["tiny"], 1.0)
