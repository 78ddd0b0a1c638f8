"""TRL's GRPOTrainer on the task of `benchmarks.step`: images, the one medium that it trains on."""

import importlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import Any

from transformers import PrinterCallback, Qwen2_5_VLForConditionalGeneration

from benchmarks.step_ways import (
    BETA,
    CLIP,
    LEARNING_RATE,
    MAX_GRAD_NORM,
    FirstStep,
    GradientKeeper,
    Seconds,
    StepClock,
    Task,
    disturb,
    vowels,
)
from triptych.data.sample import Sample
from triptych.stages import build_messages


class Trl:
    """TRL's trainer, with so many rows in a forward."""

    def __init__(self, task: Task, rows: int) -> None:
        self.task, self.rows, self.name = task, rows, f"trl {rows}"

    def steps(self, number: int) -> list[Seconds]:
        clock = StepClock()
        with self._trainer(vowels, steps=number + 1) as trainer:
            trainer.add_callback(clock)
            trainer.train()
        return clock.steps[1:]

    def first_step(self) -> FirstStep:
        keeper = GradientKeeper()
        written: dict[str, list[list[int]]] = defaultdict(list)
        rewards: dict[str, list[float]] = defaultdict(list)

        def reward(
            prompts: Any,
            completions: Any,
            completion_ids: Sequence[list[int]],
            sample_id: Sequence[str],
            **_: Any,
        ) -> list[float | None]:
            values = vowels(prompts, completions)
            for name, tokens, value in zip(sample_id, completion_ids, values, strict=True):
                assert value is not None
                written[name].append(tokens)
                rewards[name].append(value)
            return values

        with self._trainer(reward, steps=1, max_grad_norm=0.0) as trainer:
            disturb(trainer.model)
            trainer.add_callback(keeper)
            trainer.train()
            (loss,) = [line["loss"] for line in trainer.state.log_history if "loss" in line]
        return FirstStep(written, rewards, loss, keeper.gradients)

    @contextmanager
    def _trainer(self, reward: Any, *, steps: int, **settings: Any) -> Iterator[Any]:
        trl, datasets = importlib.import_module("trl"), importlib.import_module("datasets")
        task, omni = self.task, self.task.model()
        samples = task.samples[: steps * task.prompts]
        data = datasets.Dataset.from_dict(
            {
                "prompt": [_conversation(sample) for sample in samples],
                "image": [str(sample.media[0].path) for sample in samples],
                "sample_id": [sample.id for sample in samples],
            }
        ).cast_column("image", datasets.Image())
        drawn = {"min_new_tokens": task.tokens, "suppress_tokens": omni.banned_ids.tolist()}
        with TemporaryDirectory(prefix="triptych-step-") as folder:
            # Of its defaults for a GPU with little memory (bf16, activations computed again) none
            # would be faster here.
            config = trl.GRPOConfig(
                **{
                    "output_dir": folder,
                    "per_device_train_batch_size": self.rows,
                    "gradient_accumulation_steps": task.prompts * task.group // self.rows,
                    "num_generations": task.group,
                    "max_completion_length": task.tokens,
                    "generation_kwargs": drawn,
                    "max_steps": steps,
                    "learning_rate": LEARNING_RATE,
                    "lr_scheduler_type": "constant",
                    "max_grad_norm": MAX_GRAD_NORM,
                    "beta": BETA,
                    "epsilon": CLIP,
                    "use_bias_correction_kl": False,  # as published, and as ours
                    "loss_type": "dapo",
                    "scale_rewards": "none",
                    "logging_steps": 1,
                    "save_strategy": "no",
                    "report_to": "none",
                    "disable_tqdm": True,
                    "use_cpu": True,
                    "bf16": False,
                    "gradient_checkpointing": False,
                    **settings,
                }
            )
            trainer = trl.GRPOTrainer(
                model=Qwen2_5_VLForConditionalGeneration.from_pretrained(task.folder),
                reward_funcs=reward,
                args=config,
                train_dataset=data,
                processing_class=omni.processor,
            )
            trainer.remove_callback(PrinterCallback)
            yield trainer


def _conversation(sample: Sample) -> list[dict[str, str]]:
    """What ours is asked, in the words of TRL, which puts the image in itself."""
    messages = build_messages(sample.question, sample.problem_type, sample.options)
    return [{"role": one["role"], "content": one["content"][-1]["text"]} for one in messages]
