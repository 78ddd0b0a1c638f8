"""The model card says what the run's records say, in the form that the hub reads."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from triptych.files import write_json, write_lines
from triptych.models.adapters import LoraSettings
from triptych.runs import RunFolder
from triptych.training.credit import Scheme
from triptych.training.grpo_config import GRPOConfig
from triptych.training.model_card import exported_card, model_card, write_model_card
from triptych.training.sft import SFTConfig

GOLDEN = Path(__file__).parents[2] / "golden" / "model_card.md"
BASE = "Qwen/Qwen2.5-Omni-7B"
CONFIG = """\
model: Qwen/Qwen2.5-Omni-7B
dtype: bfloat16
train: hf:PhilipC/IntentTrain:train
validation: data/validation.jsonl
media: {fps: 2.0, max_frames: 32}
rewards: {context: judge, reasoning: rule, answer: rule, format: rule}
"""
ENVIRONMENT = {
    "time": "2026-11-29T00:00:00+00:00",
    "versions": {"triptych": "0.1.0", "python": "3.11.7", "torch": "2.13.0", "peft": "0.21.2"},
    "platform": "Linux",
    "cpu_count": 16,
    "accelerators": ["NVIDIA H200"],
    "seed": 3,
    "data": {"data/validation.jsonl": "0123456789abcdef" * 4},
    "skipped": {"grpo": {"checked": 120, "skipped": 2, "sha256": "00"}},
}
METRICS: list[dict[str, Any]] = [
    {"step": 0, "phase": "grpo", "eval_answer": 0.9, "eval_combined": 0.95},
    {"step": 1, "phase": "other", "loss": 9.0},
    {"step": 10, "phase": "grpo", "loss": 0.12345678, "kl": 1e-05, "seconds/data": 3.0},
    {"step": 10, "phase": "grpo", "eval_answer": 0.75, "eval_combined": 0.8},
    {"step": 20, "phase": "grpo", "loss": 0.1, "reward/answer": 0.625, "epoch": 1.5},
    {"step": 20, "phase": "grpo", "eval_answer": 0.8, "eval_combined": 0.7},
]
SETTINGS = GRPOConfig(
    lora=LoraSettings(rank=16, alpha=32), freeze=("vision", "audio"), scheme=Scheme.CAUSAL,
    max_steps=20, eval_steps=10, best_metric="combined", learning_rate=1e-5,
    weights={"context": {0: 0.25, 10: 0.5}, "reasoning": 0.25, "answer": 0.35, "format": 0.15},
)  # fmt: skip


@pytest.fixture
def recorded(tmp_path: Path) -> RunFolder:
    run = RunFolder.create(tmp_path / "run")
    run.config_path.write_text(CONFIG, encoding="utf-8")
    write_json(run.environment_path, ENVIRONMENT)
    write_lines(run.metrics_path, METRICS)
    return run


def header(card: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(card.split("---\n")[1])
    return loaded


def test_golden(recorded: RunFolder) -> None:
    card = model_card(recorded, "grpo", SETTINGS, BASE, adapter=True)
    assert card == GOLDEN.read_text(encoding="utf-8")


def test_the_header_is_what_the_hub_reads(recorded: RunFolder, tmp_path: Path) -> None:
    from huggingface_hub import ModelCard

    (tmp_path / "adapter_config.json").touch()
    write_model_card(tmp_path, recorded, "grpo", SETTINGS, BASE)
    data = ModelCard.load(tmp_path / "README.md").data
    assert data.base_model == BASE
    assert data.library_name == "peft"
    assert data.datasets == ["PhilipC/IntentTrain"]
    assert data.tags == ["triptych", "omni-modal", "grpo", "lora"]


def test_without_records_nothing_is_made_up(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run")
    card = model_card(run, "sft", SFTConfig(), str(tmp_path), adapter=False)
    assert "base_model" not in header(card), "a folder of this machine is nothing for the hub"
    assert header(card)["library_name"] == "transformers"
    for section in ("## Data", "## Training", "## Validation", "## Versions"):
        assert section not in card
    assert "by supervised fine-tuning on reference completions" in card
    assert "lora" not in card.lower()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"best_metric": "eval_combined", "eval_steps": 10}, "At step 10, where `eval_combined`"),
        ({"best_metric": "answer", "eval_steps": 10}, "At step 20, where `eval_answer` was best"),
        (
            {"best_metric": "answer", "best_is_highest": False, "eval_steps": 10},
            "At step 10, where `eval_answer` was best",
        ),
        ({}, "At step 20, the last evaluation"),
    ],
)
def test_the_validation_is_that_of_the_weights_that_were_kept(
    recorded: RunFolder, settings: dict[str, Any], said: str
) -> None:
    """The start, at step 0, may be better than all checkpoints; it is none of them."""
    assert said in model_card(recorded, "grpo", GRPOConfig(**settings), BASE, adapter=False)


def test_a_merged_model_has_the_card_of_its_adapter(recorded: RunFolder) -> None:
    card = model_card(recorded, "grpo", SETTINGS, BASE, adapter=True)
    merged = exported_card(card, BASE)
    now = {"library_name": "transformers", "base_model_relation": "finetune"}
    assert header(merged) == {**header(card), **now}
    assert f"merged into the weights of `{BASE}`" in merged
    assert "triptych export" not in merged
    assert merged.count("## Use") == 1
    assert "0123456789abcdef" in merged
