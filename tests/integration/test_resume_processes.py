"""A run that goes on with another number of processes is the run of one process."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback

from triptych.data.sample import read_samples
from triptych.models import OmniModel
from triptych.runs import RunFolder
from triptych.training.checkpoints import CheckpointFolder, Manifest
from triptych.training.grpo import GRPOConfig, GRPOTrainer

STEPS = 6


class StopAfter(TrainerCallback):
    """Ends training after a step, as a killed job would."""

    def __init__(self, step: int) -> None:
        self._step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        control.should_training_stop = state.global_step == self._step


def letters(prompts: Any, completions: Any, **columns: Any) -> list[float | None]:
    return [sum(map(str.isalpha, text)) / (1 + len(text)) for text in completions]


def train(model_folder: Path, data: Path, folder: Path, until: int) -> None:
    """Go on until a step, in however many processes there are; rollouts last two steps."""
    # Double precision: one token that is drawn otherwise would set two runs apart for good.
    model = OmniModel.from_pretrained(model_folder).double()
    config = GRPOConfig(
        prompts_per_step=4, groups_per_micro_batch=1, num_generations=3, max_new_tokens=10,
        max_steps=STEPS, num_iterations=2, save_steps=1, keep_checkpoints=9, learning_rate=1e-3,
        weights={"format": 1.0},
    )  # fmt: skip
    samples = read_samples(data)[:6]  # fewer than the run needs: one step has samples twice
    trainer = GRPOTrainer(model, samples, {"format": letters}, config, RunFolder(folder))
    if until < STEPS:
        trainer.add_callback(StopAfter(until))
    trainer.fit(resume=True)


def start(processes: int, *arguments: object) -> subprocess.Popen[str]:
    """`train` in so many processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes),
        "--master-port", str(port), __file__, *map(str, arguments),
    ]  # fmt: skip
    paths = [str(Path(__file__).parents[2] / "src"), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def assert_same(one: RunFolder, other: RunFolder) -> None:
    models = [OmniModel.from_pretrained(run.path / "models" / "grpo") for run in (one, other)]
    for name, value in models[0].state_dict().items():
        torch.testing.assert_close(models[1].state_dict()[name], value, rtol=0, atol=1e-6)
    assert list(other.rollouts()) == list(one.rollouts())
    lines = [
        [{key: value for key, value in line.items() if not key.startswith("seconds")}
         for line in run.metrics()]
        for run in (one, other)
    ]  # fmt: skip
    assert len(lines[1]) == STEPS
    for first, second in zip(*lines, strict=True):
        assert second == pytest.approx(first, abs=1e-5)


@pytest.fixture(scope="module")
def whole(
    tiny_folder: Path, clips_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> RunFolder:
    run = RunFolder.create(tmp_path_factory.mktemp("processes") / "whole")
    train(tiny_folder, clips_folder / "cold-start.jsonl", run.path, STEPS)
    return run


@pytest.mark.slow
def test_one_two_one(
    whole: RunFolder, tiny_folder: Path, clips_folder: Path, tmp_path: Path
) -> None:
    """Both changes come in the middle of a rollout's updates: it is dealt out anew."""
    run = RunFolder.create(tmp_path / "run")
    data = clips_folder / "cold-start.jsonl"
    train(tiny_folder, data, run.path, 1)
    with start(2, tiny_folder, data, run.path, 3) as two:
        assert two.wait() == 0, two.stderr and two.stderr.read()[-3000:]
    checkpoints = CheckpointFolder(run.path / "checkpoints" / "grpo")
    written = {step: Manifest.read(checkpoints.of_step(step)) for step in (1, 2, 3)}
    assert [written[step].processes for step in (1, 2, 3)] == [1, 2, 2]
    assert {"rollout_0.pt", "rollout_1.pt", "rng_state_1.pth"} <= set(written[3].files)
    train(tiny_folder, data, run.path, STEPS)
    assert_same(whole, run)


@pytest.mark.slow
def test_a_signal_to_one_of_two_stops_both(
    whole: RunFolder, tiny_folder: Path, clips_folder: Path, tmp_path: Path
) -> None:
    run = RunFolder.create(tmp_path / "run")
    data = clips_folder / "cold-start.jsonl"
    with start(2, tiny_folder, data, run.path, STEPS) as two:
        while two.poll() is None and not run.metrics():
            time.sleep(0.01)
        os.kill(int((tmp_path / "pid-1").read_text()), signal.SIGUSR1)
        assert two.wait() != 0
        assert two.stderr is not None
        told = two.stderr.read()
    checkpoint = CheckpointFolder(run.path / "checkpoints" / "grpo").newest()
    assert checkpoint is not None
    assert Manifest.read(checkpoint).processes == 2
    assert told.count("Preempted: SIGUSR1: stopped after step") == 2, told
    train(tiny_folder, data, run.path, STEPS)
    assert_same(whole, run)


if __name__ == "__main__":
    model_folder, data_path, run_folder = map(Path, sys.argv[1:4])
    torch.set_num_threads(1)
    (run_folder.parent / f"pid-{os.environ['RANK']}").write_text(str(os.getpid()))
    train(model_folder, data_path, run_folder, int(sys.argv[4]))
