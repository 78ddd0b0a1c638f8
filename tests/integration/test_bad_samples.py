"""Samples that cannot be used: a run that leaves them out is the run that never had them."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from triptych.cli.main import main
from triptych.data.policy import OnBadSample
from triptych.data.sample import Media, MediaKind, Sample, read_samples, write_samples
from triptych.errors import MediaError
from triptych.models import OmniModel
from triptych.runs import RunFolder
from triptych.training.grpo import GRPOTrainer
from triptych.training.sft import SFTConfig, train_sft

SETTINGS: dict[str, Any] = {
    "batch_size": 4, "micro_batch_size": 1, "num_epochs": 2.0, "learning_rate": 1e-3,
    "save_steps": 1, "keep_checkpoints": 9,
}  # fmt: skip


@pytest.fixture
def damaged(samples: list[Sample], tmp_path: Path) -> list[Sample]:
    """Twelve samples; the clips of the third and the eighth are not whole."""
    chosen = samples[:12]
    for number in (2, 7):
        source = chosen[number].media[0].path
        path = tmp_path / f"torn-{number}.mp4"
        path.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
        video = Media(kind=MediaKind.VIDEO, path=path)
        chosen[number] = chosen[number].model_copy(update={"media": (video,)})
    return chosen


def without_damaged(samples: list[Sample]) -> list[Sample]:
    return [sample for number, sample in enumerate(samples) if number not in (2, 7)]


def assert_same_weights(one: Path, two: Path) -> None:
    assert (one / "model.safetensors").read_bytes() == (two / "model.safetensors").read_bytes()


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_by_default_a_bad_sample_stops_the_run_by_name(
    tiny: OmniModel, damaged: list[Sample], run: RunFolder
) -> None:
    with pytest.raises(MediaError, match=rf"^sample {damaged[2].id}: .*torn-2\.mp4: "):
        train_sft(tiny, damaged[2:3], SFTConfig(**SETTINGS), run)
    assert not run.skipped_path.exists()


def test_a_cold_start_that_skips_is_one_without_the_bad_samples(
    tiny_folder: Path, damaged: list[Sample], run: RunFolder
) -> None:
    skip = SFTConfig(**SETTINGS, on_bad_sample=OnBadSample.SKIP, max_bad_share=0.2)
    results = [
        train_sft(OmniModel.from_pretrained(tiny_folder), data, config, run, phase=phase)
        for phase, data, config in (
            ("skipped", damaged, skip),
            ("never_had", without_damaged(damaged), SFTConfig(**SETTINGS)),
        )
    ]
    assert [result.steps for result in results] == [5, 5]  # of 10 samples; 12 would make it 6
    assert_same_weights(results[0].model_path, results[1].model_path)
    skipped = lines(run.skipped_path)
    assert [line["sample_id"] for line in skipped] == [damaged[2].id, damaged[7].id]
    assert all("torn-" in line["cause"] and line["phase"] == "skipped" for line in skipped)


@pytest.mark.slow
def test_a_resumed_run_leaves_out_what_it_left_out_although_it_was_mended(
    tiny_folder: Path, damaged: list[Sample], run: RunFolder, tmp_path: Path
) -> None:
    run.write_environment(seed=0)
    config = SFTConfig(**SETTINGS, on_bad_sample=OnBadSample.SKIP, max_bad_share=0.2)

    def train(resume: bool) -> Path:
        model = OmniModel.from_pretrained(tiny_folder)
        return train_sft(model, damaged, config, run, resume=resume).model_path

    whole = train(resume=False).rename(tmp_path / "whole")
    (run.path / "checkpoints" / "sft" / "checkpoint-5" / "trainer_state.json").unlink()
    damaged[2].media[0].path.write_bytes(damaged[3].media[0].path.read_bytes())
    assert_same_weights(train(resume=True), whole)


def test_reinforcement_that_skips_is_one_without_the_bad_samples(
    tiny_folder: Path,
    damaged: list[Sample],
    run: RunFolder,
    tmp_path: Path,
    replay_trainer: Callable[..., GRPOTrainer],
) -> None:
    skip = {"on_bad_sample": OnBadSample.SKIP, "max_bad_share": 0.2}
    models = []
    for name, data, policy in (
        ("skipped", damaged, skip),
        ("never_had", without_damaged(damaged), {}),
    ):
        folder = RunFolder.create(tmp_path / name)
        model = OmniModel.from_pretrained(tiny_folder)
        trainer = replay_trainer(model, data, folder=folder, max_steps=2, **policy)
        models.append(trainer.fit().model_path)
        assert len(list(folder.rollouts())) == 2 * 4 * 4  # every step is full
    assert_same_weights(*models)


@pytest.fixture
def data(damaged: list[Sample], tmp_path: Path) -> Path:
    path = tmp_path / "data.jsonl"
    write_samples(path, damaged)
    return path


SKIP = ["--on-bad-sample", "skip", "--max-bad-share", "0.2"]


def test_an_evaluation_that_skips_says_what_it_was_made_on(
    tiny_folder: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "eval"
    common = [
        "--model", str(tiny_folder), "--data", str(data), "--max-new-tokens", "4",
        "--enforce", "off",
    ]  # fmt: skip
    assert main(["eval", str(tmp_path / "stops"), *common, "--decode.workers", "0"]) == 1
    assert "torn-2.mp4" in capsys.readouterr().err
    assert main(["eval", str(out), *common, *SKIP]) == 0
    assert len(lines(out / "predictions" / "model.jsonl")) == 10
    assert len(lines(out / "skipped.jsonl")) == 2
    environment = json.loads((out / "environment.json").read_text())
    assert environment["skipped"]["evaluation"]["skipped"] == 2


def test_completions_that_skip_go_on_with_the_samples_that_they_began_with(
    tiny_folder: Path, data: Path, tmp_path: Path, damaged: list[Sample]
) -> None:
    out = tmp_path / "out.jsonl"
    command = [
        "generate", str(out), "--model", str(tiny_folder), "--data", str(data),
        "--max-new-tokens", "4", "--enforce", "off",
    ]  # fmt: skip
    assert main([*command, "--decode.workers", "0"]) == 1
    assert main([*command, *SKIP]) == 0
    whole = out.read_bytes()
    assert [line["sample_id"] for line in lines(out)] == [s.id for s in without_damaged(damaged)]
    skipped = lines(tmp_path / "out.jsonl.skipped.jsonl")
    assert [line["sample_id"] for line in skipped] == [damaged[2].id, damaged[7].id]
    out.write_bytes(whole[: len(whole) // 2])
    damaged[2].media[0].path.write_bytes(damaged[3].media[0].path.read_bytes())
    assert main([*command, *SKIP, "--decode.workers", "0"]) == 0
    assert out.read_bytes() == whole


@pytest.mark.slow
@pytest.mark.parametrize("command", ["sft", "grpo"])
def test_validation_data_are_skipped_as_training_data_are(
    command: str, tiny_folder: Path, clips_folder: Path, data: Path, tmp_path: Path
) -> None:
    sizes = {
        "sft": ["--batch-size", "6", "--num-epochs", "1"],
        "grpo": ["--max-steps", "1", "--prompts-per-step", "1", "--num-generations", "2"],
    }  # fmt: skip
    words = ["--model", str(tiny_folder), "--train", str(clips_folder / "validation.jsonl"),
             "--max-new-tokens", "4",
             "--validation", str(data), "--eval-steps", "1", *sizes[command]]  # fmt: skip
    assert main([command, str(tmp_path / "stops"), *words]) == 1
    run = RunFolder(tmp_path / "skips")
    assert main([command, str(run.path), *words, *SKIP]) == 0
    skipped = lines(run.skipped_path)
    assert [line["phase"] for line in skipped] == ["validation", "validation"]
    assert all("torn-" in line["cause"] for line in skipped)
    notes = run.environment()["skipped"]
    assert {phase: (n["checked"], n["skipped"]) for phase, n in notes.items()} == {
        command: (len(read_samples(clips_folder / "validation.jsonl")), 0),
        "validation": (12, 2),
    }
    assert main([command, str(tmp_path / "few"), *words, *SKIP[:2], "--max-bad-share", "0.1"]) == 1


@pytest.mark.slow
def test_a_resumed_run_measures_on_what_it_measured_on(
    tiny_folder: Path, clips_folder: Path, data: Path, damaged: list[Sample], tmp_path: Path
) -> None:
    words = ["sft", str(tmp_path / "run"), "--model", str(tiny_folder), *SKIP,
             "--train", str(clips_folder / "validation.jsonl"), "--batch-size", "6",
             "--validation", str(data), "--eval-steps", "1", "--save-steps", "1",
             "--max-new-tokens", "4"]  # fmt: skip
    assert main([*words, "--num-epochs", "1"]) == 0
    damaged[2].media[0].path.write_bytes(damaged[3].media[0].path.read_bytes())
    run = RunFolder(tmp_path / "run")
    before = run.skipped_path.read_bytes()
    assert main([*words, "--num-epochs", "2", "--resume"]) == 0
    assert run.skipped_path.read_bytes() == before


def train(model_folder: Path, data: Path, folder: Path) -> None:
    """A cold start that skips, in however many processes there are."""
    model = OmniModel.from_pretrained(model_folder).double()
    config = SFTConfig(**SETTINGS, on_bad_sample=OnBadSample.SKIP, max_bad_share=0.2)
    train_sft(model, read_samples(data), config, RunFolder(folder))


@pytest.mark.slow
def test_two_processes_leave_out_the_same(tiny_folder: Path, data: Path, tmp_path: Path) -> None:
    runs = {1: RunFolder.create(tmp_path / "one"), 2: RunFolder.create(tmp_path / "two")}
    train(tiny_folder, data, runs[1].path)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2",
        "--master-port", str(port), __file__, str(tiny_folder), str(data), str(runs[2].path),
    ]  # fmt: skip
    paths = [str(Path(__file__).parents[2] / "src"), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert lines(runs[2].skipped_path) == lines(runs[1].skipped_path)
    losses = [[line["loss"] for line in run.metrics("sft")] for run in runs.values()]
    assert losses[1] == pytest.approx(losses[0], abs=1e-6)


if __name__ == "__main__":
    model_folder, data_path, folder = map(Path, sys.argv[1:])
    train(model_folder, data_path, folder)
