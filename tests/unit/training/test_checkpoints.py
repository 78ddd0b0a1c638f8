"""Checkpoints on disk: whole or not there."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from triptych.errors import ConfigError
from triptych.training.checkpoints import (
    MANIFEST,
    Began,
    CheckpointError,
    CheckpointFolder,
    Manifest,
    damage,
    weights_fingerprint,
)

BEGAN = Began(samples=6, per_step=4, repeats=1, seed=0, weights="abc")


def write(folder: CheckpointFolder, step: int, processes: int = 1) -> Path:
    """A checkpoint as the ranks of a trainer write it."""
    folder.begin()
    written = folder.writing / f"checkpoint-{step}"
    (written / "shards").mkdir(parents=True)
    (written / "model.safetensors").write_bytes(b"w" * 100)
    (written / "shards" / "0.bin").write_bytes(b"s" * 10)
    for rank in range(processes):
        name = "rng_state.pth" if processes == 1 else f"rng_state_{rank}.pth"
        (written / name).write_bytes(b"r")
    return folder.finish(step, processes, BEGAN)


@pytest.fixture
def folder(tmp_path: Path) -> CheckpointFolder:
    return CheckpointFolder(tmp_path / "run" / "checkpoints", keep=2)


def test_the_newest_whole_one_is_found_by_its_number(folder: CheckpointFolder) -> None:
    assert folder.find().line("sft") == "sft: no checkpoint was finished: begins anew"
    for step in (9, 100, 10):
        write(folder, step)
    found = folder.find()
    assert (found.checkpoint, found.passed_over) == (folder.of_step(100), {})
    assert found.line("sft") == f"sft: goes on after step 100, from {folder.of_step(100)}"
    assert Manifest.read(folder.of_step(100)).files == {
        "model.safetensors": 100,
        "rng_state.pth": 1,
        "shards/0.bin": 10,
    }


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("model.safetensors", b"w" * 99, "model.safetensors has 99 bytes, 100 were written"),
        ("shards/0.bin", None, "shards/0.bin is missing"),
        ("rng_state.pth", b"", "rng_state.pth has 0 bytes, 1 were written"),
        (MANIFEST, None, "manifest.json is missing: it was never finished"),
        (MANIFEST, b"{", "manifest.json is damaged: "),
        (MANIFEST, b"{}", "manifest.json is damaged: "),
    ],
)
def test_a_damaged_one_is_passed_over_and_the_file_named(
    folder: CheckpointFolder, name: str, content: bytes | None, why: str
) -> None:
    earlier, later = write(folder, 5), write(folder, 6)
    if content is None:
        (later / name).unlink()
    else:
        (later / name).write_bytes(content)
    found = folder.find()
    assert found.checkpoint == earlier
    assert found.passed_over[later].startswith(why)
    assert f"; checkpoint-6 passed over ({why}" in found.line("grpo")
    (earlier / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"checkpoint-5: model\.safetensors is missing\. "):
        folder.find()
    folder.keep = 1
    write(folder, 6)
    folder.rotate(None)
    assert folder.all() == [folder.of_step(6)], "written anew, and the damaged one has gone"


def test_what_a_killed_process_leaves_is_no_checkpoint_and_goes(folder: CheckpointFolder) -> None:
    whole = write(folder, 3)
    folder.begin()
    (folder.writing / "checkpoint-4").mkdir()
    (folder.path / ".removed-checkpoint-2-99").mkdir()
    assert folder.find().passed_over == {}
    assert folder.find().checkpoint == whole
    write(folder, 4)
    assert sorted(path.name for path in folder.path.iterdir()) == ["checkpoint-3", "checkpoint-4"]


def test_the_newest_and_the_best_stay(folder: CheckpointFolder) -> None:
    for step in (2, 4, 6, 8, 10):
        write(folder, step)
        folder.rotate(best_step=4 if step >= 4 else None)
    assert [path.name for path in folder.all()] == [
        "checkpoint-10", "checkpoint-8", "checkpoint-4",
    ]  # fmt: skip
    folder.rotate(best_step=10)
    assert [path.name for path in folder.all()] == ["checkpoint-10", "checkpoint-8"]
    assert all(damage(path) is None for path in folder.all())


def test_a_checkpoint_without_the_files_of_a_rank_is_not_finished(
    folder: CheckpointFolder,
) -> None:
    folder.begin()
    written = folder.writing / "checkpoint-1"
    written.mkdir()
    (written / "rng_state_0.pth").touch()
    with pytest.raises(CheckpointError, match=r"rng_state_1\.pth is missing: process 1 writes"):
        folder.finish(1, 2, BEGAN)
    assert folder.all() == []
    assert write(folder, 1, processes=2).is_dir()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"samples": 7}, "usable samples = 6, now it is 7: data would be skipped"),
        ({"per_step": 8}, r"samples a step \(prompts_per_step, batch_size\) = 4, now it is 8"),
        ({"repeats": 2}, "num_iterations = 1, now it is 2"),
        ({"seed": 1}, "seed = 0, now it is 1"),
        ({"weights": "xyz"}, "began from other weights; pass the model"),
    ],
)
def test_a_run_that_began_otherwise_does_not_go_on(
    folder: CheckpointFolder, changed: dict[str, int | str], message: str
) -> None:
    checkpoint = write(folder, 1)
    manifest = Manifest.read(checkpoint)
    BEGAN.check(manifest, checkpoint)
    other = Began(**{**json.loads((checkpoint / MANIFEST).read_text())["began"], **changed})
    with pytest.raises(ConfigError, match=message):
        other.check(manifest, checkpoint)


def test_a_fingerprint_tells_weights_apart_whatever_their_type() -> None:
    for dtype in (torch.float32, torch.bfloat16):
        torch.manual_seed(0)
        model = nn.Linear(40, 30).to(dtype)
        before = weights_fingerprint(model)
        assert weights_fingerprint(model) == before
        with torch.no_grad():
            model.weight += 1e-2
        assert weights_fingerprint(model) != before


def test_a_trained_adapter_is_told_from_others_and_a_new_one_is_not() -> None:
    down, up = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
    adapted = nn.ModuleDict({"base": nn.Linear(2, 2), "lora_A": down, "lora_B": up})
    nn.init.zeros_(up.weight)
    prints = []
    for weight in (down.weight, up.weight, up.weight):
        prints.append(weights_fingerprint(adapted))
        nn.init.normal_(weight)
    assert prints[0] == prints[1], "an adapter is drawn anew at every start"
    assert len({*prints, weights_fingerprint(adapted)}) == 3
