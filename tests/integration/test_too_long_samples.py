"""Samples that are too long for the positions of a model are left out before a run begins."""

import json
from pathlib import Path
from typing import Any

import pytest
from replay import ReplayEngine

from triptych.cli.main import main
from triptych.cli.training import measure_on
from triptych.data.policy import FailurePolicy, OnBadSample
from triptych.data.sample import Sample, write_samples
from triptych.errors import ConfigError
from triptych.generation import SamplingConfig
from triptych.models import OmniModel
from triptych.rewards import rule_rewards
from triptych.runs import RunFolder
from triptych.training.grpo import GRPOConfig, GRPOTrainer
from triptych.training.sft import SFTConfig, target_ids, train_sft

STEP: dict[str, Any] = {"max_steps": 1, "learning_rate": 1e-3}
SKIP: dict[str, Any] = {"on_bad_sample": OnBadSample.SKIP, "max_bad_share": 0.5}


@pytest.fixture
def two(samples: list[Sample]) -> list[Sample]:
    """One with a clip, and a shorter one without."""
    return [samples[0], samples[1].model_copy(update={"media": ()})]


def allow(model: OmniModel, tokens: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the model's positions reach so far."""
    monkeypatch.setattr(type(model.family), "longest", lambda self, config: tokens)


def left_out(path: Path) -> list[tuple[str, str]]:
    records = map(json.loads, path.read_text().splitlines())
    return [(record["sample_id"], record["cause"]) for record in records]


@pytest.mark.parametrize("room", [0, 1])
def test_a_cold_start_counts_prompt_and_target(
    room: int, tiny: OmniModel, two: list[Sample], run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt, target = len(tiny.encode(two[0]).input_ids), len(target_ids(tiny, two[0]))
    allow(tiny, prompt + target - 1 + room, monkeypatch)
    config = SFTConfig(**STEP, **SKIP, batch_size=2, micro_batch_size=1)
    train_sft(tiny, two, config, run)
    if room:
        assert left_out(run.skipped_path) == []
    else:
        ((sample_id, cause),) = left_out(run.skipped_path)
        assert sample_id == two[0].id
        assert f"a prompt of {prompt} tokens and a completion of {target}" in cause


@pytest.mark.parametrize("skip", [True, False])
def test_reinforcement_counts_prompt_and_the_longest_completion(
    skip: bool, tiny: OmniModel, two: list[Sample], run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    allow(tiny, len(tiny.encode(two[0]).input_ids) + 99, monkeypatch)
    config = GRPOConfig(
        **STEP, **(SKIP if skip else {}), max_new_tokens=100, prompts_per_step=2,
        groups_per_micro_batch=1, num_generations=4,
    )  # fmt: skip
    trainer = GRPOTrainer(tiny, two, rule_rewards(), config, run)
    if skip:
        trainer.engine = ReplayEngine(tiny)
        trainer.fit()
        assert [sample_id for sample_id, _ in left_out(run.skipped_path)] == [two[0].id]
    else:
        with pytest.raises(ConfigError, match=rf"^sample {two[0].id}: .* lower max_new_tokens"):
            trainer.fit()


@pytest.mark.parametrize("command", ["generate", "eval", "audit"])
def test_commands_leave_them_out_or_name_them(
    command: str,
    tiny: OmniModel,
    tiny_folder: Path,
    two: list[Sample],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    allow(tiny, len(tiny.encode(two[1]).input_ids) + 4, monkeypatch)
    data, out = tmp_path / "data.jsonl", tmp_path / "out"
    write_samples(data, two)
    words = ["--model", str(tiny_folder), "--data", str(data), "--decode.workers", "0",
             "--max-new-tokens", "4", "--enforce", "off"]  # fmt: skip
    if command == "audit":
        words += ["--conditions", "blind"]
    assert main([command, str(tmp_path / "stops"), *words]) == 2
    assert f"sample {two[0].id}: a prompt of" in capsys.readouterr().err
    skip = ["--on-bad-sample", "skip", "--max-bad-share", "0.5"]
    assert main([command, str(out), *words, *skip]) == 0
    listed = tmp_path / "out.skipped.jsonl" if command == "generate" else out / "skipped.jsonl"
    assert [sample_id for sample_id, _ in left_out(listed)] == [two[0].id]


def test_validation_leaves_them_out(
    tiny: OmniModel, two: list[Sample], run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    allow(tiny, len(tiny.encode(two[1]).input_ids) + 4, monkeypatch)
    sampling = SamplingConfig(max_new_tokens=4, temperature=0)
    with pytest.raises(ConfigError, match=f"^sample {two[0].id}: "):
        measure_on(two, FailurePolicy(), run, sampling)(tiny)
    assert measure_on(two, FailurePolicy(**SKIP), run, sampling)(tiny)
    assert [sample_id for sample_id, _ in left_out(run.skipped_path)] == [two[0].id]
