"""The progress of a run, in a terminal and in a file."""

import io
from pathlib import Path

import pytest
from rich.console import Console
from transformers import TrainerControl, TrainerState, TrainingArguments

from triptych.training.progress import ProgressReporter


def show(
    tmp_path: Path, *, terminal: bool, every: int = 0, steps: int = 20, log_every: int = 1
) -> str:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=100)
    reporter = ProgressReporter("cold start [1]", every=every, console=console)
    arguments = TrainingArguments(
        output_dir=str(tmp_path), use_cpu=True, report_to="none", logging_steps=log_every
    )
    state, control = TrainerState(max_steps=steps), TrainerControl()
    reporter.on_train_begin(arguments, state, control)
    for step in range(1, steps + 1):
        state.global_step = step
        reporter.on_step_end(arguments, state, control)
        logs = {"loss": 1.0 / step, "reward/combined": 0.5, "seconds/update": 9.0}
        if step % log_every == 0:
            reporter.on_log(arguments, state, control, logs=logs)
        reporter.on_log(arguments, state, control, logs={"eval_quality": 0.5})
    reporter.on_train_end(arguments, state, control)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize(("every", "lines"), [(0, 10), (6, 4), (100, 1)])
def test_plain_lines_without_a_terminal(tmp_path: Path, every: int, lines: int) -> None:
    text = show(tmp_path, terminal=False, every=every)
    assert len(text.splitlines()) == lines
    last = text.splitlines()[-1]
    assert last.startswith("cold start [1]: step 20/20, 0 s, 0 s left")
    assert last.endswith("loss 0.050  reward/combined 0.500")
    assert "\x1b" not in text


def test_a_line_has_the_figures_that_there_are(tmp_path: Path) -> None:
    lines = show(tmp_path, terminal=False, every=1, steps=5, log_every=2).splitlines()
    figures = [line.partition("left")[2].partition("  reward")[0].strip() for line in lines]
    assert figures == ["", "loss 0.500", "loss 0.500", "loss 0.250", "loss 0.250"]


def test_a_bar_in_a_terminal(tmp_path: Path) -> None:
    text = show(tmp_path, terminal=True)
    assert "\x1b[" in text
    assert "20/20" in text


def test_other_ranks_are_silent(tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), force_terminal=False)
    reporter = ProgressReporter("sft", console=console)
    arguments = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to="none")
    state = TrainerState(max_steps=1, global_step=1, is_world_process_zero=False)
    reporter.on_train_begin(arguments, state, TrainerControl())
    reporter.on_step_end(arguments, state, TrainerControl())
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue() == ""
