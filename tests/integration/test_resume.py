"""A run that stops and goes on ends where the uninterrupted run ends, to the last bit."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback

from triptych.data.sample import Sample
from triptych.errors import ConfigError
from triptych.models import OmniModel
from triptych.runs import RunFolder
from triptych.training.grpo import GRPOConfig, GRPOTrainer
from triptych.training.sft import SFTConfig, SFTTrainer
from triptych.training.trainer import StageTrainer, last_checkpoint

STEPS, STOP = 4, 3

Make = Callable[[OmniModel, list[Sample], RunFolder], StageTrainer]


class StopAfter(TrainerCallback):
    """Ends training after a step, as a killed job would."""

    def __init__(self, step: int) -> None:
        self._step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        control.should_training_stop = state.global_step == self._step


def letters(prompts: Any, completions: Any, **columns: Any) -> list[float | None]:
    """A reward that tells the random completions of an untrained model apart."""
    return [sum(map(str.isalpha, text)) / (1 + len(text)) for text in completions]


def grpo(num_iterations: int, weight: float | dict[int, float] = 1.0) -> Make:
    def make(model: OmniModel, samples: list[Sample], run: RunFolder) -> GRPOTrainer:
        config = GRPOConfig(
            prompts_per_step=4, groups_per_micro_batch=2, num_generations=3, max_new_tokens=10,
            max_steps=STEPS, num_iterations=num_iterations, save_steps=1, keep_checkpoints=10,
            learning_rate=1e-3, lr_scheduler="linear", weights={"format": weight},
        )  # fmt: skip
        return GRPOTrainer(model, samples, {"format": letters}, config, run)

    return make


def sft(model: OmniModel, samples: list[Sample], run: RunFolder) -> SFTTrainer:
    config = SFTConfig(
        batch_size=4, micro_batch_size=2, max_steps=STEPS, save_steps=1, learning_rate=1e-3
    )
    return SFTTrainer(model, samples, config, run)


MAKERS = {
    "sft": sft,
    "one_iteration": grpo(1),
    "mid_cycle": grpo(2),
    "scheduled": grpo(1, {0: 1.0, 3: 0.1}),
}


@pytest.mark.parametrize("name", list(MAKERS))
def test_resumed_equals_uninterrupted(
    name: str, tiny_folder: Path, samples: list[Sample], tmp_path: Path
) -> None:
    make = MAKERS[name]
    few = samples[:6]  # fewer than the run needs: it goes through them more than once
    whole_run = RunFolder.create(tmp_path / "whole")
    whole = OmniModel.from_pretrained(tiny_folder)
    make(whole, few, whole_run).fit()

    run = RunFolder.create(tmp_path / "stopped")
    stopped = make(OmniModel.from_pretrained(tiny_folder), few, run)
    stopped.add_callback(StopAfter(STOP))
    assert stopped.fit().steps == STOP
    # A line of a step after the checkpoint, as a run leaves that dies between two checkpoints.
    run.append_metrics(step=STOP + 1, phase=stopped.phase, loss=123.0)
    resumed = OmniModel.from_pretrained(tiny_folder)
    assert make(resumed, few, RunFolder.create(run.path, resume=True)).fit(resume=True).steps == 4

    start = OmniModel.from_pretrained(tiny_folder).state_dict()
    for key, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[key], value), key
    assert any((whole.state_dict()[key] - start[key]).abs().max() > 1e-4 for key in start)
    compared = ("loss", "reward/format", "kl", "learning_rate")
    for name in (*compared, "weight/format", "length_correlation/format"):
        expected = [line.get(name) for line in whole_run.metrics()]
        assert [line.get(name) for line in run.metrics()] == expected
    assert list(run.rollouts()) == list(whole_run.rollouts())


def test_a_finished_run_is_not_trained_again(
    tiny_folder: Path, samples: list[Sample], run: RunFolder
) -> None:
    first = sft(OmniModel.from_pretrained(tiny_folder), samples, run).fit()
    model = OmniModel.from_pretrained(tiny_folder)
    again = sft(model, samples, run).fit(resume=True)
    assert (again.steps, again.model_path) == (first.steps, first.model_path)
    trained = OmniModel.from_pretrained(first.model_path).state_dict()
    assert all(torch.equal(value, trained[key]) for key, value in model.state_dict().items())
    assert len(run.metrics()) == STEPS


def test_resume_without_a_checkpoint_begins_anew(
    tiny_folder: Path, samples: list[Sample], run: RunFolder
) -> None:
    run.append_metrics(step=1, phase="sft", loss=9.0)
    run.append_metrics(step=1, phase="other", loss=9.0)
    result = sft(OmniModel.from_pretrained(tiny_folder), samples, run).fit(resume=True)
    assert result.steps == STEPS
    assert [line["step"] for line in run.metrics("sft")] == [1, 2, 3, 4]
    assert run.metrics("sft")[0]["loss"] != 9.0
    assert len(run.metrics("other")) == 1


def test_a_half_written_checkpoint_is_passed_over(tmp_path: Path) -> None:
    assert last_checkpoint(tmp_path / "nowhere") is None
    for step, complete in ((9, True), (10, True), (11, False)):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "model.safetensors").touch()
        if complete:
            (folder / "trainer_state.json").touch()
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-10"


def test_other_data_or_iterations_are_refused_in_mid_cycle(
    tiny_folder: Path, samples: list[Sample], run: RunFolder
) -> None:
    stopped = grpo(2)(OmniModel.from_pretrained(tiny_folder), samples[:6], run)
    stopped.add_callback(StopAfter(STOP))
    stopped.fit()
    changed = grpo(2)(OmniModel.from_pretrained(tiny_folder), samples[6:12], run)
    with pytest.raises(ConfigError, match=r"in the middle of a rollout on .* but the data now"):
        changed.fit(resume=True)
    checkpoint = last_checkpoint(run.path / "checkpoints" / "grpo")
    assert checkpoint is not None
    (checkpoint / "rollout_0.pt").unlink()
    with pytest.raises(ConfigError, match="resume with the num_iterations"):
        grpo(2)(OmniModel.from_pretrained(tiny_folder), samples[:6], run).fit(resume=True)
