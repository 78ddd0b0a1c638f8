"""What supervised and reinforced training share, on top of `transformers.Trainer`.

Trainer brings the loop, devices and processes, mixed precision, schedules, checkpoints and
trackers. This module makes an `OmniModel` and a list of samples fit into it:

* One Trainer epoch is the whole run. `StepSampler` lists the samples of all steps, pass after
  pass, so that the run is an exact number of full steps and Trainer's own skipping finds the
  place again on resume, also in the middle of a pass.
* A checkpoint is an ordinary model folder with Trainer's state beside it; it is whole or not there,
  and a run that is asked to stop leaves one: see `saving`.
* While a step runs, the media of the next one's samples are decoded and processed.
* The loss is normalised by the number of trained tokens of the whole global batch (all ranks, all
  accumulation steps), so the split of a batch into micro-batches does not matter.
"""

from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, TypeAlias, cast

import torch
from accelerate.utils import gather_object
from torch import Tensor
from torch.utils.data import Sampler
from transformers import (
    PrinterCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
    set_seed,
)

from triptych.data.policy import Ranks, RunSkips, usable_samples
from triptych.data.sample import Sample
from triptych.errors import ConfigError
from triptych.generation.sampling import NotFiniteError
from triptych.models.omni import OmniModel
from triptych.models.prompt import Prompt
from triptych.models.screening import screen
from triptych.runs import RunFolder
from triptych.training.averages import Averages
from triptych.training.checkpoints import (
    Began,
    CheckpointFolder,
    step_of,
    weights_fingerprint,
)
from triptych.training.config import TrainingConfig, trainer_arguments
from triptych.training.distributed import DistributedTrainer
from triptych.training.divergence import not_finite
from triptych.training.memory import OutOfMemory, of_validation, out_of_memory
from triptych.training.model_card import write_model_card
from triptych.training.precision import check_precision
from triptych.training.progress import ProgressReporter
from triptych.training.sharding import whole_weights
from triptych.training.steps import SampleDataset, StepLayout, StepSampler
from triptych.training.timeline import TOTAL, Timeline

Evaluate: TypeAlias = Callable[[OmniModel], Mapping[str, float]]
"""Measures the model during training. It sees the live weights, in eval mode, without gradients,
and runs on every rank."""


@dataclass(frozen=True)
class TrainResult:
    """How a training run ended.

    Attributes:
        model_path: folder with the trained model.
        steps: optimizer steps of the whole run, those before a resume included.
        best_step: step of the checkpoint that best_metric chose, if it did.
        best_metric: its value there.
        seconds: wall-clock time of this call by phase of the work, and in "total"; see `Timeline`.
    """

    model_path: Path
    steps: int
    best_step: int | None
    best_metric: float | None
    seconds: Mapping[str, float]


class StageTrainer(DistributedTrainer):
    """Trains an OmniModel on samples; subclasses say what a micro-batch and its loss are."""

    control: TrainerControl
    train_dataset: SampleDataset

    def __init__(
        self,
        model: OmniModel,
        samples: Sequence[Sample],
        config: TrainingConfig,
        layout: StepLayout,
        run: RunFolder,
        *,
        phase: str,
        evaluate: Evaluate | None = None,
    ) -> None:
        if not samples:
            raise ConfigError(f"{phase}: no samples to train on")
        for sample in samples:
            model.family.check_media(sample)
        if config.eval_steps and evaluate is None:
            raise ConfigError("eval_steps is set, but there is nothing to evaluate on")
        set_seed(config.seed)  # an adapter is drawn
        model.prepare_training(config.lora)
        model.freeze(config.freeze)
        check_precision(model)
        if config.gradient_checkpointing:
            model.checkpoint_activations()
        self.omni, self.run, self.phase, self.layout = model, run, phase, layout
        self._policy = config
        self.averages = Averages()
        self.timeline = Timeline(model.device)
        self.clock = self.timeline.clock
        self._logged_step = 0
        self._coming: deque[list[list[Sample]]] = deque()
        self._to_prefetch: list[Sample] = []
        self._evaluate_model = evaluate if config.eval_steps else None
        self._progress = ProgressReporter(phase)
        dataset = SampleDataset(samples)
        checkpoints = CheckpointFolder(run.path / "checkpoints" / phase, config.keep_checkpoints)
        self._first_weights = weights_fingerprint(model)
        super().__init__(
            model=model,
            args=trainer_arguments(config, layout, checkpoints.path, model.device),
            data_collator=_as_list,
            train_dataset=dataset,
            # Trainer insists on one when it evaluates; `evaluate` does not look at it.
            eval_dataset=dataset if config.eval_steps else None,
            callbacks=[_StepClock(self.timeline), self._progress, _RunLog(run, phase)],
        )
        self.prepare_processes(
            config.stuck_seconds, lambda: (self.timeline.running, self.state.global_step)
        )
        self.remove_callback(PrinterCallback)
        self.prepare_saving(checkpoints, config.save_steps)
        # Our losses are normalised over the whole accumulated batch. Trainer would otherwise divide
        # them once more by the number of accumulation steps. Older versions know the second name.
        self.loss_is_scaled_for_ga = True
        self.model_accepts_loss_kwargs = True

    def fit(self, *, resume: bool = False) -> TrainResult:
        """Train, from the last complete checkpoint where `resume` is set and there is one.

        The model that was passed in holds the trained weights afterwards; they are also saved.
        `model` must be the model that the run began from, also when it resumes.

        Raises:
            DataError: more samples cannot be used than the config allows to skip.
            ConfigError: the run to resume began otherwise.
            CheckpointError: a checkpoint cannot be written, or all that are there are damaged.
            Preempted: the process was asked to stop, and left a checkpoint; see `signals`.
            OutOfMemory: the accelerator's memory does not suffice.
            Diverged: the loss, gradients, weights or logits are no numbers any more.
            RankError: another process of the run is gone.
        """
        with self.watching():
            return self._fit(resume)

    def _fit(self, resume: bool) -> TrainResult:
        with self.clock(TOTAL):
            self._leave_out_bad_samples(resume)
            self.shard()
        checkpoint = self.resume_point() if resume else None
        self.args.eval_on_start = self._evaluate_model is not None and checkpoint is None
        self._logged_step = 0 if checkpoint is None else step_of(checkpoint)
        self._coming.clear()
        with self.clock(TOTAL), self.stop:
            try:
                self.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
            except torch.OutOfMemoryError as error:
                raise self._out_of_memory(error) from error
            except NotFiniteError as error:
                raise self.diverged(self.state.global_step + 1, str(error)) from error
            finally:
                self.omni.encoder.close()
                self._progress.close()
        self.raise_if_stopped()
        model_path = self.run.path / "models" / self.phase
        self.save_whole(model_path)
        if self.is_world_process_zero():
            base = str(self.omni.thinker.name_or_path)
            write_model_card(model_path, self.run, self.phase, self._policy, base)
        self.omni.eval()
        return TrainResult(
            model_path=model_path,
            steps=self.state.global_step,
            best_step=self.state.best_global_step,
            best_metric=self.state.best_metric,
            seconds=dict(self.timeline.seconds),
        )

    @abstractmethod
    def step_inputs(self, samples: Sequence[Sequence[Sample]]) -> tuple[list[Any], Tensor]:
        """The micro-batches of an optimizer step, and what its losses are divided by.

        Args:
            samples: of each micro-batch.
        """

    def prompts(self, samples: Sequence[Sample]) -> list[Prompt]:
        """What the model reads, with embeddings where a media encoder is frozen."""
        # They are made as a forward of the update would make them.
        with self.clock("data"), self.accelerator.autocast():
            prompts = list(self.omni.encoder.encode_all(samples, embed=True))
        self._prefetch()
        return prompts

    def _prefetch(self) -> None:
        """Begin to encode for the next steps, once this one has what it needs."""
        if self._to_prefetch:
            with self.accelerator.autocast():
                self.omni.encoder.prefetch(self._to_prefetch)
            self._to_prefetch = []

    def layout_of(self, num_samples: int) -> StepLayout:
        """How the run comes in steps once it is known how many samples it has."""
        return self.layout

    def _leave_out_bad_samples(self, resume: bool) -> None:
        used = usable_samples(
            self.train_dataset.samples,
            self._policy,
            lambda samples: screen(self.omni, samples, self.completion_tokens),
            RunSkips(self.run, self.phase),
            resume=resume,
            ranks=Ranks(
                self.accelerator.process_index,
                self.accelerator.num_processes,
                lambda mine: cast(list[Any], gather_object([mine])),
            ),
        )
        self.train_dataset = SampleDataset(used)
        self.layout = self.layout_of(len(used))
        self.args.max_steps = self.layout.steps
        layout = self.layout
        self.began = Began(
            len(used), layout.per_step, layout.repeats, self.args.seed, self._first_weights
        )

    @abstractmethod
    def completion_tokens(self, sample: Sample) -> int:
        """The most tokens that follow the prompt of a sample."""

    def say(self, line: str) -> None:
        """Tell the user, beside the progress."""
        self._progress.say(line)

    @abstractmethod
    def memory_advice(self, phase: str) -> tuple[str, list[str]]:
        """How large the work of a timed phase is, and which settings make it smaller."""

    def _out_of_memory(self, error: torch.OutOfMemoryError) -> OutOfMemory:
        doing = self.timeline.broke_off
        size, advice = self.memory_advice(doing)
        if doing == "evaluation":
            size, advice = of_validation(self._policy, self.accelerator.num_processes)
        if doing == "update" and not self._policy.gradient_checkpointing:
            advice = ["gradient_checkpointing to true", *advice]
        where = f"{self.phase}: step {self.state.global_step + 1}"
        return out_of_memory(where, doing, size, advice, self.checkpoints.newest(), error)

    # --- what Trainer calls ------------------------------------------------------------------

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        return StepSampler(len(self.train_dataset), self.layout, self.args.seed)

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Any]:
        """See `step_inputs`. Which samples the next steps see is looked up as well."""
        step, last = self.state.global_step, self.layout.steps - 1
        ahead = min(self._policy.prefetch_steps, last - step)
        while len(self._coming) <= ahead:
            number = step + len(self._coming)
            parts, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
            self._coming.append(parts)
            if number > step and number % self.layout.repeats == 0:
                self._to_prefetch += chain.from_iterable(parts)
        batches = self.step_inputs(self._coming.popleft())
        self._prefetch()  # of steps that asked for no prompts
        self.timeline.begin("update")
        return batches

    @contextmanager
    def asking(self) -> Iterator[None]:
        """In which the model is asked outside the update, by all processes together."""
        with self.accelerator.autocast(), whole_weights(self.omni):
            yield

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Ask the hook that the trainer was given; its metrics get the prefix ``eval_``."""
        assert self._evaluate_model is not None
        self.omni.eval()
        with self.clock("evaluation"), torch.no_grad(), self.asking():
            measured = self._evaluate_model(self.omni)
        metrics = {f"{metric_key_prefix}_{name}": float(value) for name, value in measured.items()}
        best = self._policy.best_metric
        if best and f"eval_{best.removeprefix('eval_')}" not in metrics:
            raise ConfigError(
                f"best_metric: the evaluation measures no {best!r}; it measures: "
                f"{', '.join(sorted(measured))}"
            )
        self.log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add what was averaged since the last line of training metrics."""
        if "loss" in logs:
            spent = self.timeline.lap(self.state.global_step - self._logged_step)
            spent = {f"seconds/{phase}": seconds for phase, seconds in spent.items()}
            self._logged_step = self.state.global_step
            logs = {**logs, **self.averages.drain(), **spent}
        num_samples = len(self.train_dataset)
        # Trainer believes that the whole run is one epoch.
        self.state.epoch = self.layout.passes(self.state.global_step, num_samples)
        super().log(logs, start_time)
        if what := not_finite(logs):
            # Now, before the step's checkpoint would be written and older ones deleted.
            raise self.diverged(self.state.global_step, what)

    def _load_best_model(self) -> None:
        if self.state.best_model_checkpoint is not None and not self.stopped:
            StageTrainer._load_from_checkpoint(self, self.state.best_model_checkpoint)
            self._say_if_the_start_was_better()

    def _say_if_the_start_was_better(self) -> None:
        name, best = str(self._policy.best_metric).removeprefix("eval_"), self.state.best_metric
        started = (one for one in self.state.log_history if one.get("step") == 0)
        first = [one[f"eval_{name}"] for one in started if f"eval_{name}" in one]
        if not first or best is None:
            return
        worse = best < first[0] if self._policy.best_is_highest else best > first[0]
        if worse and self.is_world_process_zero():
            self.say(
                f"the model began with {name} {first[0]:.3f}, better than the best checkpoint "
                f"({best:.3f}, step {self.state.best_global_step}), whose weights it has now"
            )


class _StepClock(TrainerCallback):
    """Ends the update, which Trainer's loop does not do in one place."""

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._timeline.start()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._timeline.end("update")


class _RunLog(TrainerCallback):
    """Writes what Trainer logs to metrics.jsonl."""

    def __init__(self, run: RunFolder, phase: str) -> None:
        self._run, self._phase = run, phase

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        # Trainer's summary of the whole run is no point of a curve.
        if state.is_world_process_zero and logs and "train_runtime" not in logs:
            self._run.append_metrics(step=state.global_step, phase=self._phase, **logs)


def _as_list(samples: list[Any]) -> Any:
    """A collator that leaves the samples alone: they become tensors per micro-batch, later."""
    return samples
