"""The part of a trainer that writes checkpoints, goes on from them, and stops when it is asked to.

What a checkpoint holds is written by Trainer and the hooks of its subclasses (weights, optimizer,
schedule, random state of each rank, the kept rollout). This module has all of it written beside its
place and moved there when every rank is done: see `checkpoints`. Where the data go on follows from
the step alone, whatever the number of processes: see `steps`.
"""

import random
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from accelerate.utils import gather_object
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import (
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from triptych.errors import Preempted, TriptychError
from triptych.runs import RunFolder
from triptych.training.checkpoints import (
    Began,
    CheckpointError,
    CheckpointFolder,
    Found,
    Manifest,
    damage,
    replace_folder,
    step_of,
    sync_folder,
)
from triptych.training.divergence import Diverged, broken_weight, diverged
from triptych.training.signals import StopRequest

Outcome = TypeVar("Outcome")

EVALUATION = "evaluation"
"""What may be pending at a checkpoint."""


class SavingTrainer(Trainer, ABC):
    """A Trainer whose checkpoints are whole or not there.

    Subclasses set `run`, `phase`, `checkpoints` and `began` before they train, and may write more
    into a checkpoint by `save_extra` and read it again by `load_extra`.
    """

    run: RunFolder
    phase: str
    checkpoints: CheckpointFolder
    began: Began

    def prepare_saving(self, checkpoints: CheckpointFolder, every: int) -> None:
        """Set up what the rest needs; `every` is the number of steps between two checkpoints."""
        self.checkpoints = checkpoints
        self.stop = StopRequest()
        self.stopped = False
        self.pending: tuple[str, ...] = ()
        self._saving = False
        self._fault: str | None = None
        self._resumed: Manifest | None = None
        self.add_callback(_Saving(self, every))

    # --- for subclasses ------------------------------------------------------------------------

    def save_extra(self, folder: Path) -> None:
        """Write what else a checkpoint must hold; called on every rank."""

    def load_extra(self, folder: Path) -> None:
        """Read what `save_extra` of all ranks wrote; called on every rank."""

    # --- going on ------------------------------------------------------------------------------

    def resume_point(self) -> Path | None:
        """The checkpoint to go on from, the same on every rank; lines after it are dropped.

        Raises:
            CheckpointError: there are checkpoints, and all are damaged.
            ConfigError: the newest is of a run that began otherwise.
        """
        found = self.everywhere(self._find)
        self._resumed, self.stopped, self.pending = None, False, ()
        if found.checkpoint is not None:
            self._resumed = Manifest.read(found.checkpoint)
            self.load_extra(found.checkpoint)
        return found.checkpoint

    def _find(self) -> Found:
        found = self.checkpoints.find()
        step = -1
        if found.checkpoint is not None:
            self.began.check(Manifest.read(found.checkpoint), found.checkpoint)
            step = step_of(found.checkpoint)
        self.run.rewind(step, phase=self.phase)
        self.say(found.line(self.phase))
        return found

    @abstractmethod
    def say(self, line: str) -> None:
        """Tell the user; called on the first process only."""

    def take_up(self) -> None:
        """What is left to do at the checkpoint, once it is loaded."""
        if self._resumed is None:
            return
        state = self.state
        if state.best_global_step:
            best = self.checkpoints.of_step(state.best_global_step)
            # By its step: the run folder may have moved.
            state.best_model_checkpoint = str(best)
            if fault := damage(best):
                state.best_model_checkpoint = state.best_metric = state.best_global_step = None
                if self.is_world_process_zero():
                    self.say(
                        f"{self.phase}: the best checkpoint, {best}, is lost ({fault}): the best "
                        "one is chosen among those that follow"
                    )
        if EVALUATION in self._resumed.pending:
            self._determine_best_metric(self._evaluate(None, None), None)
            if state.best_global_step == state.global_step:
                state.best_model_checkpoint = str(self.checkpoints.of_step(state.global_step))

    def _load_rng_state(self, checkpoint: str | None) -> None:
        if self._resumed is None or self._resumed.processes == self.args.world_size:
            super()._load_rng_state(checkpoint)
            return
        # No stream of then is that of a rank now. Rollouts and the order of the data draw from
        # neither; dropout does.
        where = (self.args.seed, self.state.global_step, self.args.process_index)
        seed = int(np.random.SeedSequence(where).generate_state(1)[0])
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)

    # --- writing -------------------------------------------------------------------------------

    def _get_output_dir(self, trial: Any) -> str:
        return str(self.checkpoints.writing if self._saving else self.checkpoints.path)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        self._check_weights()
        with self._all_ranks_save():
            self._save_step(model, trial)

    def _save_step(self, model: nn.Module, trial: Any) -> None:
        state, first = self.state, self.is_world_process_zero()
        written = self.checkpoints.writing / f"checkpoint-{state.global_step}"
        with self._writing():
            if first:
                self.checkpoints.begin()
        self._settle()
        # Trainer would note a best checkpoint where it is being written, and have ranks wait for
        # each other on the way there, which one that could not write does not reach.
        best, state.best_global_step = state.best_global_step, None
        with self._writing():
            super()._save_checkpoint(model, trial)
        state.best_global_step = best
        if best:
            state.best_model_checkpoint = str(self.checkpoints.of_step(best))
        with self._writing():
            if first:
                state.save_to_json(str(written / "trainer_state.json"))
        self._settle()
        with self._writing():
            if self.is_local_process_zero():
                sync_folder(written)
        self._settle()
        with self._writing():
            if first:
                self.run.sync()
                self.checkpoints.finish(
                    state.global_step, self.args.world_size, self.began, pending=self.pending
                )
                self.checkpoints.rotate(state.best_global_step)
        self._settle()

    def save_whole(self, folder: Path) -> None:
        """Save the model to a folder that is there with all of it, or not."""
        self._check_weights()
        with self._all_ranks_save():
            self._save_beside(folder)

    def _save_beside(self, folder: Path) -> None:
        beside = folder.with_name(f".{folder.name}.writing")
        with self._writing():
            if self.is_world_process_zero() and beside.exists():
                shutil.rmtree(beside)
        self._settle()
        with self._writing():
            self.save_model(str(beside))
        self._settle(beside)
        with self._writing():
            if self.is_world_process_zero():
                sync_folder(beside)
                replace_folder(beside, folder)
        self._settle()

    def diverged(self, step: int, what: str) -> Diverged:
        """An error that says what is no number any more."""
        return diverged(f"{self.phase}: step {step}", what, self.checkpoints.newest())

    def _check_weights(self) -> None:
        """Refuse to save what nothing can go on from; on all ranks if on one."""
        broken = next(filter(None, gather_object([broken_weight(self.model)])), None)
        if broken:
            raise self.diverged(self.state.global_step, broken)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        with self._writing():
            super()._save_optimizer_and_scheduler(output_dir)

    def _save_rng_state(self, output_dir: str) -> None:
        with self._writing():
            super()._save_rng_state(output_dir)
            self.save_extra(Path(output_dir))

    @contextmanager
    def _all_ranks_save(self) -> Iterator[None]:
        self._saving, self._fault = True, None
        try:
            yield
        finally:
            self._saving = False

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """While all ranks save, keep the first failure to write until all have come to `_settle`.

        Raised at once on one rank, it would leave the others waiting for that one.
        """
        try:
            yield
        except (OSError, SafetensorError, CheckpointError, RuntimeError) as error:
            if not self._saving or not _is_of_writing(error):
                raise
            self._fault = self._fault or str(error).splitlines()[0]

    def _settle(self, written: Path | None = None) -> None:
        """Wait for all ranks; stop all of them if one could not write, and drop what was."""
        fault = next(filter(None, gather_object([self._fault])), None)
        self._fault = None
        if fault is None:
            return
        if self.is_world_process_zero():
            # It may be what filled the disk.
            shutil.rmtree(written or self.checkpoints.writing, ignore_errors=True)
        intact = self.checkpoints.newest()
        raise CheckpointError(
            f"{self.phase}: step {self.state.global_step}: cannot be saved to "
            f"{self.run.path} ({fault}); make room or mend the disk, then go on by --resume: "
            + (f"{intact.name} is intact" if intact else "there is no earlier checkpoint")
        )

    def everywhere(self, work: Callable[[], Outcome]) -> Outcome:
        """Do something on the first process; all get its result, or its error.

        Raises:
            TriptychError: `work` raised it.
        """
        outcome: Outcome | TriptychError | None = None
        if self.is_world_process_zero():
            try:
                outcome = work()
            except TriptychError as error:
                outcome = error
        settled: Any = gather_object([outcome])[0]
        if isinstance(settled, TriptychError):
            raise settled
        return settled  # type: ignore[no-any-return]

    # --- stopping ------------------------------------------------------------------------------

    def stop_asked(self) -> bool:
        """Whether any rank was asked to stop; all ranks must ask."""
        asked = torch.tensor(self.stop.received is not None, device=self.args.device).long()
        gathered: Tensor = self.accelerator.gather(asked)
        return bool(gathered.sum())

    def raise_if_stopped(self) -> None:
        """End a run that stopped because it was asked to.

        Raises:
            Preempted: it did.
        """
        if not self.stopped:
            return
        asked_by = next(filter(None, gather_object([self.stop.received])))
        step = self.state.global_step
        raise Preempted(
            f"{asked_by.name}: stopped after step {step} of {self.args.max_steps}; "
            f"{self.checkpoints.of_step(step)} is complete"
        )


def _is_of_writing(error: Exception) -> bool:
    """Of what torch does, only that its writer failed, which it does not raise as an OSError."""
    signs = ("inline_container", "unexpected pos")
    return not isinstance(error, RuntimeError) or any(sign in str(error) for sign in signs)


class _Saving(TrainerCallback):
    """Says when a checkpoint is due, and ends a run that was asked to stop."""

    def __init__(self, trainer: SavingTrainer, every: int) -> None:
        self._trainer, self._every = trainer, every

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._trainer.take_up()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        # With best_metric, Trainer itself saves only where it evaluates.
        if self._every and state.global_step % self._every == 0:
            control.should_save = True
        self._trainer.pending = ()
        if self._trainer.stop_asked():
            self._stop(control)
            if control.should_evaluate:  # which may take longer than there is time
                control.should_evaluate = False
                self._trainer.pending = (EVALUATION,)
        # Averages since the last line are not in a checkpoint.
        control.should_log = control.should_log or control.should_save

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if state.global_step and not self._trainer.stopped and self._trainer.stop_asked():
            self._stop(control)

    def _stop(self, control: TrainerControl) -> None:
        self._trainer.stopped = True
        control.should_save = control.should_training_stop = True
