"""`triptych reward train` and `train-omni` in two processes."""

import json
from pathlib import Path
from random import Random

import pytest
import torch
from launching import launch, launch_failing
from safetensors.torch import load_file

from triptych.cli.main import main
from triptych.data.clips.cues import all_cues
from triptych.data.clips.questions import intention_questions
from triptych.data.sample import write_samples


def mean_scores(scorer: Path) -> dict[str, float]:
    """Of the texts of each kind."""
    kinds = json.loads((scorer / "evaluation.json").read_text())["evaluation"]["kinds"]
    return {name: figures["score"]["mean"] for name, figures in kinds.items() if figures["score"]}


@pytest.mark.slow
def test_two_processes_train_the_text_scorer_of_one(tmp_path: Path) -> None:
    rng, data = Random(7), tmp_path / "data.jsonl"
    cues = Random(7).sample(list(all_cues()), 30)
    write_samples(
        data, [intention_questions(f"clip-{n}", c, 1, rng)[0] for n, c in enumerate(cues)]
    )
    words = ["--data", str(data), "--encoder", "tiny", "--max-steps", "3", "--batch-size", "16",
             "--held-out-share", "0.4", "--device", "cpu"]  # fmt: skip
    one, two = tmp_path / "one", tmp_path / "two"
    assert main(["reward", "train", str(one), *words]) == 0
    assert launch(2, ["reward", "train", str(two), *words]).count("trained scorer") == 1
    expected, found = (load_file(folder / "model.safetensors") for folder in (one, two))
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=1e-4)
    assert mean_scores(two) == pytest.approx(mean_scores(one), abs=1e-4)

    uneven = [*words[:-6], "--batch-size", "15", *words[-4:]]
    told = launch_failing(2, ["reward", "train", str(tmp_path / "no"), *uneven])
    assert "batch_size is 15; use a multiple of the 2 processes" in told


@pytest.mark.slow
def test_two_processes_train_the_omni_scorer_of_one(
    clips_folder: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    words = ["--data", str(clips_folder / "rl-biased.jsonl"), "--model", str(tiny_folder),
             "--device", "cpu", "--media.fps", "4", "--learning-rate", "1e-3",
             "--head-learning-rate", "1e-2", "--batch-size", "4", "--micro-batch-size", "2",
             "--num-epochs", "0.4", "--held-out-share", "0.4"]  # fmt: skip
    one, two = tmp_path / "one", tmp_path / "two"
    assert main(["reward", "train-omni", str(one), *words]) == 0
    assert launch(2, ["reward", "train-omni", str(two), *words]).count("trained scorer") == 1
    # Adam makes whole steps of the last bits of small gradients; half a batch would be 5e-3 off.
    assert mean_scores(two) == pytest.approx(mean_scores(one), abs=2e-3)
