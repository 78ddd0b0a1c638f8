"""Weights that are no numbers are not saved, and end a run by one error."""

from math import nan
from typing import Any

import pytest
import torch
from transformers import TrainerCallback

from triptych.data.sample import Sample
from triptych.generation.local import LocalEngine
from triptych.models import OmniModel
from triptych.runs import RunFolder
from triptych.training.divergence import Diverged
from triptych.training.grpo import GRPOConfig, GRPOTrainer
from triptych.training.sft import SFTConfig, SFTTrainer


def trainer_of(model: OmniModel, samples: list[Sample], run: RunFolder, **more: Any) -> SFTTrainer:
    return SFTTrainer(
        model,
        samples,
        SFTConfig(**{"batch_size": 2, "max_steps": 2, "warmup_steps": 0, **more}),
        run,
    )


def is_empty(run: RunFolder) -> bool:
    """Whether nothing was saved."""
    return not [*run.path.glob("checkpoints/*/*"), *run.path.glob("models/*")]


def test_of_a_gradient_that_is_no_number(
    tiny: OmniModel, samples: list[Sample], run: RunFolder
) -> None:
    """The loss of its step is one."""
    trainer = trainer_of(tiny, samples, run, save_steps=1)
    weight = next(weight for weight in tiny.parameters() if weight.requires_grad)
    weight.register_hook(lambda gradient: gradient * nan)
    with pytest.raises(Diverged, match=r"^sft: step 1: the norm of the gradient is nan; .* yet$"):
        trainer.fit()
    assert is_empty(run)


@pytest.mark.parametrize("settings", [{"save_steps": 1}, {"log_every": 5}])
def test_of_weights_that_are_too_large(
    settings: dict[str, int], tiny: OmniModel, samples: list[Sample], run: RunFolder
) -> None:
    trainer = trainer_of(tiny, samples, run, learning_rate=1e30, **settings)
    with pytest.raises(Diverged, match=r"^sft: step \d: the weight .* holds ."):
        trainer.fit()
    assert is_empty(run)


class Break(TrainerCallback):
    """Breaks the model after a step."""

    def __init__(self, model: OmniModel, step: int) -> None:
        self._model, self._step = model, step

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        assert state.global_step < self._step, "nobody noticed"

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self._step:
            with torch.no_grad():
                next(self._model.parameters()).fill_(nan)


def test_in_a_rollout(tiny: OmniModel, samples: list[Sample], run: RunFolder) -> None:
    config = GRPOConfig(
        prompts_per_step=2, num_generations=2, max_new_tokens=4, max_steps=3, save_steps=1, beta=0,
        weights={"length": 1.0}, credit_rows={"length": (1.0, 1.0, 1.0, 1.0)},
    )  # fmt: skip
    rewards = {"length": lambda completions, **_: [len(text) / 1000 for text in completions]}
    trainer = GRPOTrainer(tiny, samples, rewards, config, run, engine=LocalEngine(tiny))
    trainer.add_callback(Break(tiny, 2))
    message = r"^grpo: step 3: sample .*: the model's logits are not finite.*/checkpoint-2$"
    with pytest.raises(Diverged, match=message):
        trainer.fit()
