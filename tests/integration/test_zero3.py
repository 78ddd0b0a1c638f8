"""Two processes that share a model by DeepSpeed make the steps of one.

In float32, for DeepSpeed knows no double precision. Where a gradient is nearly zero, Adam's first
steps tell its noise: weights are compared to a tenth of a step.
"""

from pathlib import Path
from typing import Any

import distributed_runs
import pytest
import torch
from distributed_runs import launch
from equal_runs import Work, alone, check_equal, weights

from triptych.runs import RunFolder

pytest.importorskip("deepspeed")
pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def single(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed_runs, "precision", torch.float32)


@pytest.fixture
def data(clips_folder: Path) -> Path:
    return clips_folder / "cold-start.jsonl"


@pytest.mark.parametrize(
    ("work", "phases"),
    [
        (distributed_runs.both, ("sft", "grpo")),
        (distributed_runs.rollouts, ("grpo",)),
        (distributed_runs.adapter, ("sft", "grpo")),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_processes_equal_one(
    work: Work, phases: tuple[str, ...], tiny_folder: Path, data: Path, tmp_path: Path
) -> None:
    one = alone(work, tiny_folder, data, tmp_path / "one")
    (tmp_path / "two").mkdir()
    launch(2, "zero3", work.__name__, tiny_folder, data, tmp_path / "two")
    for phase in phases:
        check_equal(one, tmp_path / "two", phase, off=1e-4)


@pytest.mark.parametrize(
    ("first", "then"), [("one", "zero3"), ("zero3", "one"), ("zero3", "zero3")]
)
def test_a_run_goes_on_shared_otherwise(
    first: str, then: str, tiny_folder: Path, data: Path, tmp_path: Path
) -> None:
    """Its second step needs the optimizer's state of the first."""
    paths = (tiny_folder, data, tmp_path / "run")
    whole = alone(distributed_runs.go_on, tiny_folder, data, tmp_path / "whole")
    paths[-1].mkdir()
    for kind, work in ((first, distributed_runs.begin), (then, distributed_runs.go_on)):
        if kind == "one":
            work(*paths)
        else:
            launch(2, kind, work.__name__, *paths)
    expected, found = (weights(run / "models" / "sft") for run in (whole, paths[-1]))
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=1e-6)


def test_half_precision_begins_with_the_exact_weights_and_stops_before_the_loss(
    tiny_folder: Path, data: Path, tmp_path: Path
) -> None:
    launch(2, "zero3", "half", tiny_folder, data, tmp_path)
    assert (tmp_path / "formats").read_text() == "torch.float32"
    (line,) = RunFolder(tmp_path).metrics("sft")
    assert 0 < line["loss"] < 20
    assert line["learning_rate"] == 0
    before, after = weights(tiny_folder), weights(tmp_path / "models" / "sft")
    assert all(torch.equal(after[name], weight) for name, weight in before.items())


def test_rollouts_in_half_precision_are_scored_as_they_were_written(
    tiny_folder: Path, data: Path, tmp_path: Path
) -> None:
    one = alone(distributed_runs.half_rollouts, tiny_folder, data, tmp_path / "one")
    (tmp_path / "two").mkdir()
    launch(2, "zero3", "half_rollouts", tiny_folder, data, tmp_path / "two")
    first, second = updates(tmp_path / "two")
    assert first["ratio"] == pytest.approx(1, abs=1e-5)
    assert first["kl"] == pytest.approx(0, abs=1e-5)
    for name in ("kl", "ratio", "grad_norm"):
        assert second[name] == pytest.approx(updates(one)[1][name], rel=0.2), name
    saved = weights(tmp_path / "two" / "models" / "grpo")
    assert {weight.dtype for weight in saved.values()} == {torch.float32}


def updates(run: Path) -> list[dict[str, Any]]:
    return [line for line in RunFolder(run).metrics("grpo") if "ratio" in line]
