"""Qwen2.5-VL through commands and trainer: cold start, checkpoint, GRPO, and what is refused."""

import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from triptych.cli.main import main
from triptych.data.sample import Sample, write_samples
from triptych.models import OmniModel
from triptych.rewards.base import completion_text
from triptych.runs import RunFolder
from triptych.training.credit import Scheme
from triptych.training.grpo import GRPOConfig, GRPOTrainer


@pytest.mark.slow
def test_sft_resumes_and_grpo_goes_on_from_it(
    tiny_vl_folder: Path, silent_samples: list[Sample], tmp_path: Path
) -> None:
    data, runs = tmp_path / "train.jsonl", {name: tmp_path / name for name in ("sft", "grpo")}
    write_samples(data, silent_samples[:4])
    common = ["--train", str(data), "--media.fps", "4", "--learning-rate", "1e-3"]
    sft = ["sft", str(runs["sft"]), "--model", str(tiny_vl_folder), *common, "--save-steps", "1"]
    sft += ["--batch-size", "2", "--micro-batch-size", "1"]
    assert main([*sft, "--max-steps", "1"]) == 0
    assert main([*sft, "--max-steps", "2", "--resume"]) == 0
    cold_started = runs["sft"] / "models" / "sft"
    grpo = ["grpo", str(runs["grpo"]), "--model", str(cold_started), *common, "--max-steps", "1"]
    small = ["--max-new-tokens", "6", "--prompts-per-step", "2", "--num-generations", "3"]
    assert main([*grpo, *small]) == 0
    start, end = (load_file(f / "model.safetensors") for f in (tiny_vl_folder, cold_started))
    assert start.keys() == end.keys()
    changed = {name for name, weight in start.items() if not end[name].equal(weight)}
    assert any(name.startswith("visual.") for name in changed)
    assert "lm_head.weight" in changed
    steps = [line["step"] for line in RunFolder(runs["sft"]).metrics() if "loss" in line]
    assert steps == [1, 2]
    assert OmniModel.from_pretrained(runs["grpo"] / "models" / "grpo").family.name == "qwen2_5_vl"


def by_text(prompts: Any, completions: Sequence[Any], **columns: Any) -> list[float | None]:
    """Any reward that tells completions of a random model apart."""
    return [zlib.crc32(completion_text(one).encode()) % 7 / 6 for one in completions]


def test_a_frozen_tower_runs_once_for_each_prompt_and_kind(
    tiny_vl: OmniModel, silent_samples: list[Sample], tmp_path: Path
) -> None:
    runs: Counter[str] = Counter()
    tower = tiny_vl.thinker.get_submodule("model.visual")
    tower.register_forward_hook(lambda *_: runs.update(["vision"]))
    before = {name: weight.clone() for name, weight in tiny_vl.named_parameters()}
    config = GRPOConfig(
        max_steps=1, prompts_per_step=2, num_generations=4, max_new_tokens=8, learning_rate=1e-3,
        freeze=("vision",), weights={"format": 1.0}, scheme=Scheme.UNIFORM,
    )  # fmt: skip
    clips = list({sample.media: sample for sample in silent_samples}.values())[:2]
    run = RunFolder.create(tmp_path / "run")
    GRPOTrainer(tiny_vl, clips, {"format": by_text}, config, run).fit()
    assert runs == {"vision": 4}  # an image and a video, for rollout, reference and update
    changed = {n for n, weight in tiny_vl.named_parameters() if not torch.equal(weight, before[n])}
    assert changed
    assert not any("visual." in name for name in changed)


def test_data_with_sound_stop_a_command_in_one_line(
    tiny_vl_folder: Path, clips_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = clips_folder / "cold-start.jsonl"
    command = ["sft", str(tmp_path / "run"), "--model", str(tiny_vl_folder), "--train", str(data)]
    assert main([*command, "--max-steps", "1"]) == 2
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("triptych: error:")]
    assert "qwen2_5_vl cannot hear" in line
    assert "use an omni model" in line
