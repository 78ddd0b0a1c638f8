"""Figures as tables in the terminal."""

import re
from collections.abc import Mapping

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from triptych.evaluation.summary import HIDDEN, Summary
from triptych.statistics import Interval

HEADLINE = (
    ("answer", "balanced", "answer"),
    ("answer on conflict clips", "conflict", "answer"),
    ("context", "balanced", "context"),
    ("reasoning", "balanced", "reasoning"),
)
"""What is said of two arms in words: label, split, metric."""

_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def print_evaluation(arms: Mapping[str, Summary], console: Console | None = None) -> None:
    """One table per split: a row per metric, a column per arm, means with 95% intervals."""
    console = console or wide_console()
    splits = list(dict.fromkeys(split for summary in arms.values() for split in summary))
    for split in splits:
        columns = [summary.get(split, {}) for summary in arms.values()]
        table = Table(
            box=SIMPLE_HEAD, title=plain_text(split), title_justify="left", title_style="bold"
        )
        table.add_column("metric", no_wrap=True)
        table.add_column("n", justify="right", no_wrap=True)
        for arm in arms:
            table.add_column(plain_text(arm.replace("_", " ")), justify="right", no_wrap=True)
        for metric in dict.fromkeys(metric for column in columns for metric in column):
            # Single elements of the context only once, for all samples together.
            if metric.startswith("context.") and split != splits[0]:
                continue
            if metric in HIDDEN and not (metric == "answer.alone" and any(map(_differs, columns))):
                continue
            cells = [column.get(metric) for column in columns]
            size = next((cell.n for cell in cells if cell), 0)
            texts = (cell_text(cell, size) for cell in cells)
            table.add_row(plain_text(metric), str(size), *texts)
        console.print(table)


def wide_console(columns: int = 120) -> Console:
    """A console that does not squeeze a table of four arms into the 80 columns of a pipe."""
    return Console(width=max(Console().width, columns))


def plain_text(text: str, style: str = "") -> Text:
    """Text of the user's: no markup in it is obeyed, and no control character shown."""
    return Text(_CONTROLS.sub("\N{REPLACEMENT CHARACTER}", text), style)


def cell_text(interval: Interval | None, size: int | None = None) -> str:
    """A mean and its interval, such as ``0.731 (0.68-0.78)``.

    Args:
        interval: what is shown; None is a dash.
        size: the n that stands in the row; where the figure has another one, that is added.
    """
    if interval is None:
        return "-"
    own = "" if size in (None, interval.n) else f" n={interval.n}"
    if interval.low is None or interval.high is None:
        return f"{interval.mean:.3f}{own}"
    return f"{interval.mean:.3f} ({interval.low:.2f}-{interval.high:.2f}){own}"


def difference_text(difference: Interval, digits: int = 2) -> str:
    """A difference and its interval, such as ``+0.031 [-0.02, +0.08]`` with two digits."""
    if difference.low is None or difference.high is None:
        return f"{difference.mean:+.3f}"
    low, high = (f"{end:+.{digits}f}" for end in (difference.low, difference.high))
    return f"{difference.mean:+.3f} [{low}, {high}]"


def verdict_lines(differences: Mapping[str, Summary]) -> list[str]:
    """What the paired intervals allow to say about each pair of arms, and nothing more."""
    lines = []
    for pair, summary in differences.items():
        first, second = (name.replace("_", " ") for name in pair.split(" - "))
        parts = [
            f"{label} {_verdict(interval)} ({difference_text(interval)})"
            for label, split, metric in HEADLINE
            if (interval := summary.get(split, {}).get(metric))
        ]
        lines.append(f"{first} against {second}: " + ", ".join(parts))
    return lines


def _differs(column: Mapping[str, Interval]) -> bool:
    """Whether the demand that the reasoning leads to the answer makes a difference."""
    one, alone = column.get("answer"), column.get("answer.alone")
    return bool(one and alone) and one != alone


def _verdict(difference: Interval) -> str:
    if difference.low is not None and difference.low > 0:
        return "higher"
    if difference.high is not None and difference.high < 0:
        return "lower"
    return "not told apart"
