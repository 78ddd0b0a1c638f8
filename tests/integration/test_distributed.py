"""Several processes make the steps of one, whole (DDP) or sharded (FSDP2).

Every step sees samples without media, with sound alone, with pictures alone and with both: the
processes have different ones of them.
"""

from pathlib import Path

import distributed_runs
import pytest
import torch
from distributed_runs import launch
from equal_runs import Work, alone, check_equal, weights
from sharded_on_cpu import environment_of

from triptych.runs import RunFolder


@pytest.fixture
def data(clips_folder: Path) -> Path:
    return clips_folder / "cold-start.jsonl"


@pytest.mark.slow
def test_sharded_processes_equal_one(tiny_folder: Path, data: Path, tmp_path: Path) -> None:
    """The short one of these tests: one step, from a checkpoint that they write to its model."""
    one = alone(distributed_runs.begin, tiny_folder, data, tmp_path / "one")
    (tmp_path / "two").mkdir()
    launch(2, "fsdp2", "begin", tiny_folder, data, tmp_path / "two")
    check_equal(one, tmp_path / "two", "sft")
    gradients = torch.load(one / "sft-gradients.pt")
    for tower in ("visual", "audio_tower"):  # had media on one of the processes
        assert any(tower in name and gradients[name].abs().max() > 0 for name in gradients)


@pytest.mark.slow
@pytest.mark.parametrize("kind", distributed_runs.KINDS)
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
    work: Work, phases: tuple[str, ...], kind: str, tiny_folder: Path, data: Path, tmp_path: Path
) -> None:
    one = alone(work, tiny_folder, data, tmp_path / "one")
    (tmp_path / "two").mkdir()
    launch(2, kind, work.__name__, tiny_folder, data, tmp_path / "two")
    for phase in phases:
        check_equal(one, tmp_path / "two", phase)


@pytest.mark.slow
@pytest.mark.parametrize(("first", "then"), [("one", "fsdp2"), ("fsdp2", "one"), ("fsdp2", "ddp")])
def test_a_run_goes_on_sharded_otherwise(
    first: str, then: str, tiny_folder: Path, data: Path, tmp_path: Path
) -> None:
    """Its second step needs the optimizer's state of the first."""
    paths = (tiny_folder, data, tmp_path / "run")
    whole = (tiny_folder, data, tmp_path / "whole")
    for folder in (paths[-1], whole[-1]):
        folder.mkdir()
    distributed_runs.go_on(*whole)
    for kind, work in ((first, distributed_runs.begin), (then, distributed_runs.go_on)):
        if kind == "one":
            work(*paths)
        else:
            launch(2, kind, work.__name__, *paths)
    expected, found = (weights(run[-1] / "models" / "sft") for run in (whole, paths))
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=1e-9)


@pytest.mark.slow
def test_half_precision_stops_before_the_loss(
    tiny_folder: Path, data: Path, tmp_path: Path
) -> None:
    launch(2, "fsdp2", "half", tiny_folder, data, tmp_path)
    assert (tmp_path / "formats").read_text() == "torch.float32"
    assert {value.dtype for value in weights(tmp_path / "models" / "sft").values()} == {
        torch.float32
    }
    (line,) = RunFolder(tmp_path).metrics("sft")
    assert 0 < line["loss"] < 20


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ("ddp.yaml", {}),
        ("fsdp2.yaml", {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}),
        ("multi_node.yaml", {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}),
        (
            "zero3.yaml",
            {"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "3"},
        ),
    ],
)
def test_accelerate_understands_our_files(config: str, expected: dict[str, str]) -> None:
    told = environment_of(config)
    assert expected.items() <= told.items()
    assert ("ACCELERATE_USE_FSDP" in expected) == ("FSDP_VERSION" in told)
