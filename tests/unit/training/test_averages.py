"""Means between log lines."""

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
