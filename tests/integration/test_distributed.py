"""Two processes make the step of one: the loss counts the tokens of all ranks."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from replay import ReplayEngine

from triptych.data.sample import read_samples
from triptych.models import OmniModel
from triptych.rewards import rule_rewards
from triptych.runs import RunFolder
from triptych.training.credit import Scale
from triptych.training.grpo import GRPOConfig, GRPOTrainer
from triptych.training.sft import SFTConfig, train_sft


def train(model_folder: Path, data: Path, folder: Path) -> None:
    """Two optimizer steps of SFT, then two of GRPO, in however many processes there are."""
    # Double precision: Adam's first step is the gradient's sign, and noise has one too.
    model = OmniModel.from_pretrained(model_folder).double()
    samples = read_samples(data)
    run = RunFolder(folder)
    sft = SFTConfig(batch_size=4, micro_batch_size=1, max_steps=2, learning_rate=1e-3)
    train_sft(model, samples, sft, run)
    grpo = GRPOConfig(
        prompts_per_step=4, groups_per_micro_batch=1, num_generations=4, max_steps=2,
        learning_rate=1e-3, scale=Scale.BATCH, save_steps=1,
    )  # fmt: skip
    engine = ReplayEngine(model)
    GRPOTrainer(model, samples, rule_rewards(), grpo, run, engine=engine).fit()


def launch(processes: int, *arguments: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes),
        "--master-port", str(port), __file__, *map(str, arguments),
    ]  # fmt: skip
    paths = [str(Path(__file__).parents[2] / "src"), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
def test_two_processes_equal_one(tiny_folder: Path, clips_folder: Path, tmp_path: Path) -> None:
    data = clips_folder / "cold-start.jsonl"
    runs = {1: RunFolder.create(tmp_path / "one"), 2: RunFolder.create(tmp_path / "two")}
    train(tiny_folder, data, runs[1].path)
    launch(2, tiny_folder, data, runs[2].path)
    for phase in ("sft", "grpo"):
        one, two = (OmniModel.from_pretrained(runs[n].path / "models" / phase) for n in (1, 2))
        for name, value in one.state_dict().items():
            torch.testing.assert_close(two.state_dict()[name], value, rtol=0, atol=1e-6)
        lines = [runs[n].metrics(phase) for n in (1, 2)]
        for first, second in zip(*lines, strict=True):
            names = [n for n in first if not n.startswith("seconds") and n != "phase"]
            for name in names:
                assert second[name] == pytest.approx(first[name], abs=1e-5), name
    checkpoint = runs[2].path / "checkpoints" / "grpo" / "checkpoint-2"
    assert (checkpoint / "rng_state_1.pth").is_file()


if __name__ == "__main__":
    model_folder, data, folder = map(Path, sys.argv[1:])
    torch.set_num_threads(1)
    train(model_folder, data, folder)
