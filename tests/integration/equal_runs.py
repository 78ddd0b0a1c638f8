"""Runs of one and of several processes, compared."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from triptych.runs import RunFolder

Work = Callable[[Path, Path, Path], None]


def alone(work: Work, *paths: Path) -> Path:
    """The folder of the run that this process makes."""
    *_, folder = paths
    folder.mkdir()
    work(*paths)
    return folder


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """What a model folder holds."""
    (file,) = [f for f in folder.glob("*.safetensors")]
    loaded: dict[str, torch.Tensor] = load_file(file)
    return loaded


def check_equal(one: Path, several: Path, phase: str, *, off: float = 1e-6) -> None:
    """The same gradients (to 1e-6), weights (to `off`) and metrics (to 1e-5).

    DeepSpeed has zeros for a weight that got no gradient.
    """
    for name, most in ((f"{phase}-gradients.pt", 1e-6), (f"models/{phase}", off)):
        read: Any = torch.load if name.endswith(".pt") else weights
        expected, found = read(one / name), read(several / name)
        assert not any(found.pop(key).any() for key in found.keys() - expected.keys())
        assert expected.keys() == found.keys()
        for key, value in expected.items():
            torch.testing.assert_close(found[key], value, rtol=0, atol=most, msg=f"{name}: {key}")
    lines = [RunFolder(run).metrics(phase) for run in (one, several)]
    assert lines[0]
    for first, second in zip(*lines, strict=True):
        assert first.keys() == second.keys()
        for name in first:
            if not name.startswith("seconds") and name != "phase":
                assert second[name] == pytest.approx(first[name], abs=1e-5), name
