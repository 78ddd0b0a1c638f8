"""A toy of each family through the commands: cold start, GRPO, answers."""

from pathlib import Path

import pytest

from tests.subject import Subject
from triptych.cli.main import main
from triptych.data.sample import Sample, write_samples
from triptych.models import OmniModel
from triptych.models.families import FAMILIES
from triptych.runs import RunFolder

FAST = "qwen3_omni"  # the one that is least like the models of other tests


@pytest.mark.parametrize(
    "name",
    [
        family.name if family.name == FAST else pytest.param(family.name, marks=pytest.mark.slow)
        for family in FAMILIES
    ],
)
def test_a_toy_is_trained_and_asked(
    name: str, samples: list[Sample], silent_samples: list[Sample], tmp_path: Path
) -> None:
    toy, data = tmp_path / "toy", tmp_path / "train.jsonl"
    assert main(["tiny", str(toy), "--family", name]) == 0
    model = OmniModel.from_pretrained(toy)
    assert model.family.name == name
    subject = Subject.of(model, samples, silent_samples[0].media[0])
    write_samples(data, subject.samples[:4])
    media = ["--media.fps", "4", "--decode.workers", "0"]
    common = ["--train", str(data), *media, "--learning-rate", "1e-3"]
    sft = ["sft", str(tmp_path / "sft"), "--model", str(toy), *common, "--save-steps", "1"]
    sft += ["--batch-size", "2", "--micro-batch-size", "2"]
    assert main([*sft, "--max-steps", "1"]) == 0
    assert main([*sft, "--max-steps", "2", "--resume"]) == 0
    started = tmp_path / "sft" / "models" / "sft"
    grpo = ["grpo", str(tmp_path / "grpo"), "--model", str(started), *common, "--max-steps", "1"]
    grpo += ["--max-new-tokens", "6", "--prompts-per-step", "2", "--num-generations", "3"]
    assert main([*grpo, "--freeze", ",".join(model.family.towers)]) == 0
    steps = [line["step"] for line in RunFolder(tmp_path / "sft").metrics() if "loss" in line]
    assert steps == [1, 2]
    trained, out = tmp_path / "grpo" / "models" / "grpo", tmp_path / "out.jsonl"
    words = ["generate", str(out), "--model", str(trained), "--data", str(data)]
    assert main([*words, "--max-new-tokens", "8", "--enforce", "off", *media]) == 0
    assert len(out.read_text().splitlines()) >= 4
