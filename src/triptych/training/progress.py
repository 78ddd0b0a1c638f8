"""Progress of a training run: a bar with an ETA in a terminal, plain lines elsewhere."""

import time
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

SHOWN = ("loss", "reward/combined", "kl")
"""Metrics beside the bar, where they are logged; more would push the bar off a narrow terminal."""


class ProgressReporter(TrainerCallback):
    """Shows the steps of one phase.

    Args:
        phase: name of the phase, in front of each line.
        every: steps from one line to the next where the output is no terminal; 0 divides the run
            into ten.
        console: where to write; standard error by default, so that results can be piped.
    """

    def __init__(self, phase: str, *, every: int = 0, console: Console | None = None) -> None:
        self._phase, self._every = phase, every
        self._console = console or Console(stderr=True)
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._begun = 0.0
        self._first_step = 0
        self._figures = ""
        self._waiting = False  # a line is due

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._begun, self._first_step = time.monotonic(), state.global_step
        self._figures, self._waiting = "", False
        if not state.is_world_process_zero or not self._console.is_terminal:
            return
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}"),
            console=self._console,
        )
        self._task = self._bar.add_task(
            self._phase, total=state.max_steps, completed=state.global_step, figures=""
        )
        self._bar.start()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        shown = [f"{name} {logs[name]:.3f}" for name in SHOWN if logs and name in logs]
        self._figures = "  ".join(shown) or self._figures
        if shown and self._waiting:
            self._print_line(state)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=state.global_step, figures=self._figures)
        elif state.is_world_process_zero and self._is_due(state):
            self._waiting = True
            if state.global_step % max(1, int(args.logging_steps)) != 0:
                self._print_line(state)  # else with the figures, which Trainer logs after this

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self._waiting:
            self._print_line(state)
        self.close()

    def say(self, line: str) -> None:
        """Print a line where the progress goes."""
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Give the terminal back, also after an error."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _is_due(self, state: TrainerState) -> bool:
        every = self._every or max(1, state.max_steps // 10)
        return bool(state.global_step % every == 0 or state.global_step >= state.max_steps)

    def _print_line(self, state: TrainerState) -> None:
        self._waiting = False
        elapsed = time.monotonic() - self._begun
        done = state.global_step - self._first_step
        left = elapsed / max(1, done) * (state.max_steps - state.global_step)
        line = (
            f"{self._phase}: step {state.global_step}/{state.max_steps}, "
            f"{elapsed:.0f} s, {left:.0f} s left"
        )
        self._console.print(
            f"{line}  {self._figures}".rstrip(), markup=False, highlight=False, soft_wrap=True
        )
