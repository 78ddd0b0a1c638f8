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
from triptych.training.checkpoints import CheckpointError, weights_fingerprint
from triptych.training.grpo import GRPOConfig, GRPOTrainer
from triptych.training.sft import SFTConfig, SFTTrainer
from triptych.training.trainer import StageTrainer

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


@pytest.mark.parametrize(
    "name",
    [
        "sft",
        "mid_cycle",
        pytest.param("one_iteration", marks=pytest.mark.slow),
        pytest.param("scheduled", marks=pytest.mark.slow),
    ],
)
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


def test_damaged_checkpoints_are_passed_over_by_name(
    tiny_folder: Path, samples: list[Sample], run: RunFolder, capfd: pytest.CaptureFixture[str]
) -> None:
    def make() -> StageTrainer:
        return grpo(2)(OmniModel.from_pretrained(tiny_folder), samples[:6], run)

    whole = make().fit().model_path / "model.safetensors"
    expected = whole.read_bytes()
    rollouts, metrics = list(run.rollouts()), run.metrics()
    folder = run.path / "checkpoints" / "grpo"
    torn = folder / "checkpoint-4" / "model.safetensors"
    torn.write_bytes(torn.read_bytes()[:-1])
    (folder / "checkpoint-3" / "rollout_0.pt").unlink()
    capfd.readouterr()
    make().fit(resume=True)
    told = " ".join(capfd.readouterr().err.split())
    assert f"grpo: goes on after step 2, from {folder / 'checkpoint-2'}; checkpoint-4" in told
    size = len(expected)
    assert f"(model.safetensors has {size - 1} bytes, {size} were written)" in told
    assert "checkpoint-3 passed over (rollout_0.pt is missing)" in told
    assert whole.read_bytes() == expected
    assert list(run.rollouts()) == rollouts
    assert [line["loss"] for line in run.metrics()] == [line["loss"] for line in metrics]
    for manifest in folder.glob("*/manifest.json"):
        manifest.unlink()
    with pytest.raises(
        CheckpointError, match=r"no checkpoint can be used: checkpoint-4: .*never finished"
    ):
        make().fit(resume=True)
    assert list(run.rollouts()) == rollouts, "nothing is dropped before it is known where to go on"


def test_a_run_that_began_otherwise_is_refused(
    tiny_folder: Path, samples: list[Sample], run: RunFolder
) -> None:
    stopped = grpo(2)(OmniModel.from_pretrained(tiny_folder), samples[:6], run)
    stopped.add_callback(StopAfter(STOP))
    stopped.fit()

    def resume(make: Make, few: list[Sample] = samples[:6], folder: Path = tiny_folder) -> None:
        make(OmniModel.from_pretrained(folder), few, run).fit(resume=True)

    with pytest.raises(ConfigError, match=r"in the middle of a rollout on .* but the data now"):
        resume(grpo(2), samples[6:12])
    with pytest.raises(ConfigError, match=r"with num_iterations = 2, now it is 1: data would be"):
        resume(grpo(1))
    with pytest.raises(ConfigError, match=r"with usable samples = 6, now it is 5"):
        resume(grpo(2), samples[:5])
    with pytest.raises(ConfigError, match=r"began from other weights; pass the model that"):
        resume(grpo(2), folder=run.path / "models" / "grpo")


def test_with_new_tokens_it_begins_from_the_same_model_every_time(tiny_folder: Path) -> None:
    prints = set()
    for seed in (1, 2):
        torch.manual_seed(seed)
        model = OmniModel.from_pretrained(tiny_folder)
        model.add_stage_tokens()
        prints.add(weights_fingerprint(model))
        rows = model.thinker.get_input_embeddings().weight[-6:]
        assert rows.std(0).min() > 0
        prints.add(str(rows.sum().item()))
    assert len(prints) == 2
