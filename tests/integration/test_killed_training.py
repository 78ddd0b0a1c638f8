"""A run of GRPO that is killed, at whatever moment, goes on to what it would have been."""

import json
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from forked import Run

from triptych.runs import RunFolder
from triptych.training.checkpoints import CheckpointFolder

STEPS = 4


def command(tiny_folder: Path, clips_folder: Path, out: Path, *more: str) -> list[str]:
    return [
        "grpo", str(out), "--model", str(tiny_folder), "--decode.workers", "0",
        "--train", str(clips_folder / "rl-balanced.jsonl"), "--max-steps", str(STEPS),
        "--prompts-per-step", "2", "--num-generations", "2", "--max-new-tokens", "8",
        "--num-iterations", "2", "--save-steps", "1", "--learning-rate", "1e-3",
        "--rewards.format", "forked:letters", "--max-unscored-share", "1",
        "--validation", str(clips_folder / "validation.jsonl"), "--eval-steps", "2",
        "--best-metric", "reward/combined", *more,
    ]  # fmt: skip


def lines(path: Path) -> list[dict[str, Any]]:
    return [
        {key: value for key, value in json.loads(line).items() if not key.startswith("seconds")}
        for line in path.read_text().splitlines()
    ]


class Whole:
    """The run that nobody interrupts, and how others are compared with it."""

    def __init__(self, tiny_folder: Path, clips_folder: Path, folder: Path) -> None:
        self.words = partial(command, tiny_folder, clips_folder)
        self.run = RunFolder(folder)
        process = Run(self.words(folder), folder.with_suffix(".log"))
        self.cpu_seconds = 0.0

        def watched() -> bool:
            self.cpu_seconds = max(self.cpu_seconds, process.cpu_seconds())
            return False

        process.until(watched)
        assert process.wait() == 0, process.printed
        rollouts = lines(self.run.rollouts_path)
        assert len(rollouts) == STEPS // 2 * 2 * 2
        assert {line["step"] for line in self.run.metrics()} == set(range(STEPS + 1))
        assert any(line.get("eval_reward/combined") is not None for line in self.run.metrics())

    def kill_and_resume(self, out: Path, *moments: Callable[[Run], bool]) -> bool:
        """Whether the run was killed in time at each moment; it ends as this one in any case."""
        killed, log = True, out.with_suffix(".log")
        for moment in moments:
            process = Run(self.words(out, "--resume"), log)
            killed &= process.kill_at(partial(moment, process))
        last = Run(self.words(out, "--resume"), log)
        assert last.wait() == 0, last.printed
        self.assert_same(out)
        return killed

    def assert_same(self, out: Path) -> None:
        run, weights = RunFolder(out), Path("models", "grpo", "model.safetensors")
        assert (out / weights).read_bytes() == (self.run.path / weights).read_bytes()
        assert lines(run.metrics_path) == lines(self.run.metrics_path)
        assert lines(run.rollouts_path) == lines(self.run.rollouts_path)
        for checkpoints in (out / "checkpoints" / "grpo", self.run.path / "checkpoints" / "grpo"):
            assert not [path for path in checkpoints.iterdir() if path.name.startswith(".")]


@pytest.fixture(scope="module")
def whole(tiny_folder: Path, clips_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    return Whole(tiny_folder, clips_folder, tmp_path_factory.mktemp("killed") / "whole")


def writing(out: Path, step: int, name: str) -> Callable[[Run], bool]:
    """The moment at which a file of a checkpoint has begun to be written."""
    file = CheckpointFolder(out / "checkpoints" / "grpo").writing / f"checkpoint-{step}" / name
    return lambda run: file.exists()


def rolled_out(out: Path, number: int) -> Callable[[], bool]:
    """The moment at which so many completions are there."""
    path = RunFolder(out).rollouts_path
    return lambda: path.exists() and path.read_bytes().count(b"\n") >= number


def worked(seconds: float) -> Callable[[Run], bool]:
    """The moment at which a run has done so much work."""
    return lambda run: run.cpu_seconds() > seconds


def test_killed_in_a_step_and_in_a_checkpoint(whole: Whole, tmp_path: Path) -> None:
    out = tmp_path / "run"
    in_a_step = rolled_out(out, STEPS // 2 * 2 * 2)
    assert Run(whole.words(out), out.with_suffix(".log")).kill_at(in_a_step)
    last = f".writing/checkpoint-{STEPS}/trainer_state.json"
    again = Run(whole.words(out, "--resume"), out.with_suffix(".log"), dies_writing=last)
    assert again.was_killed()
    assert (out / "checkpoints" / "grpo" / last).with_name("optimizer.pt").exists()
    assert whole.kill_and_resume(out)


@pytest.mark.slow
def test_killed_at_thirty_moments(whole: Whole, tmp_path: Path) -> None:
    in_time = []
    for number in range(24):  # evenly over the work, up to where another run may have ended
        share = 0.9 * whole.cpu_seconds * (number + 0.5) / 24
        out = tmp_path / f"work-{number}"
        in_time.append(whole.kill_and_resume(out, worked(share)))
    files = ("model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth",
             "trainer_state.json", "manifest.json")  # fmt: skip
    for number, name in enumerate(files):
        out = tmp_path / f"file-{number}"
        in_time.append(whole.kill_and_resume(out, writing(out, 1 + number % STEPS, name)))
    assert sum(in_time) >= 27, "some may have ended by themselves just before"


@pytest.mark.slow
def test_asked_to_stop_it_leaves_a_checkpoint_and_says_how_to_go_on(
    whole: Whole, tmp_path: Path
) -> None:
    number = signal.SIGTERM
    out = tmp_path / "run"
    words = whole.words(out, "--save-steps", "100")
    first = Run(words, tmp_path / "log")
    run = RunFolder(out)
    assert first.until(lambda: len(run.metrics()) >= 2)
    first.send(number)
    assert first.wait() == 143, first.printed
    checkpoint = CheckpointFolder(out / "checkpoints" / "grpo").newest()
    assert checkpoint is not None
    told = " ".join(first.printed.split())
    step = checkpoint.name.rpartition("-")[2]
    assert f"{number.name}: stops after this step; again stops at once" in told
    assert f"triptych: {number.name}: stopped after step {step} of {STEPS}; {checkpoint}" in told
    assert told.endswith("--save-steps 100 --resume")
    again = Run([*words, "--resume"], tmp_path / "log")
    assert again.wait() == 0, again.printed
    assert f"grpo: goes on after step {step}, from {checkpoint}" in " ".join(again.printed.split())
    whole.assert_same(out)
