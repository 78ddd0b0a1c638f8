"""`triptych compare A B ...`: which runs are better, and what may be said of it."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from triptych.cli.config import argument, several
from triptych.errors import ConfigError

if TYPE_CHECKING:
    from rich.table import Table

    from triptych.evaluation.comparison import Row
    from triptych.evaluation.pairing import Pairing

_MOST_RUNS = 26  # one letter each
_NARROWEST = 155  # columns: a verdict on one line, where nobody looks at a terminal


@dataclass(frozen=True, kw_only=True)
class CompareConfig:
    """Which runs are compared, and on what."""

    runs: tuple[Path, ...] = argument()
    """The runs, the baseline first: folders of `triptych eval`, or files of predictions."""
    all_pairs: bool = False
    """Compare all runs with each other, not only with the first."""
    common: bool = False
    """Compare on the samples that all runs answered, where they did not answer the same."""
    by: str | None = None
    """Compare also within groups of questions, by a field of the predictions: problem_type, kind,
    alignment, or another."""
    metrics: tuple[str, ...] = several()
    """Compare only these metrics, or ones that are not shown by default (tokens, truncated,
    answer.alone, context.NAME). Fewer rows show smaller differences."""
    json: bool = False
    """Print one JSON object in place of tables."""
    seed: int = 0
    """Seed of the intervals, and of the tests where not all sign patterns can be looked at."""

    def __post_init__(self) -> None:
        if not 2 <= len(self.runs) <= _MOST_RUNS:
            raise ConfigError(f"RUNS: {len(self.runs)} named; name 2 to {_MOST_RUNS} runs")
        resolved = [path.resolve() for path in self.runs]
        if twice := [one for i, one in enumerate(self.runs) if resolved[i] in resolved[:i]]:
            raise ConfigError(f"RUNS: {twice[0]} is named twice; name each run once")


def run(config: CompareConfig) -> None:
    """Compare runs on the same questions: means, differences, and whether these are chance.

    Questions are paired by sample id. Differences have 95% intervals that resample whole clips;
    p-values flip the sign of whole clips, and are adjusted for the number of rows (Holm): of 100
    comparisons of equally good runs, 5 at most call any of them better or worse. Where runs cannot
    be told apart, it says how large a difference would have been found in four of five such
    comparisons. `--json` adds unadjusted p-values and McNemar's test, which ignores that questions
    share clips.
    """
    from triptych.evaluation.comparison import compare_runs
    from triptych.evaluation.pairing import pair_runs
    from triptych.evaluation.predictions import read_predictions

    pairing = pair_runs(
        [read_predictions(path) for path in config.runs],
        common=config.common,
        all_pairs=config.all_pairs,
        by=config.by,
        metrics=config.metrics,
    )
    rows = compare_runs(pairing, config.seed)
    if config.json:
        print(json.dumps(_record(config, pairing, rows), ensure_ascii=False, indent=1))
    else:
        _show(config, pairing, rows)


def _record(config: CompareConfig, pairing: "Pairing", rows: "Sequence[Row]") -> dict[str, Any]:
    from triptych.evaluation.comparison import ALPHA, POWER
    from triptych.evaluation.pairing import LABELS

    return {
        "runs": dict(zip(LABELS, map(str, config.runs), strict=False)),
        "questions": pairing.questions,
        "clusters": pairing.clusters,
        "by": config.by,
        "seed": config.seed,
        "alpha": ALPHA,
        "power": POWER,
        "notices": list(pairing.notices),
        "rows": [row.to_json() for row in rows],
    }


def _show(config: CompareConfig, pairing: "Pairing", rows: "Sequence[Row]") -> None:
    from triptych.cli.tables import plain_text, wide_console
    from triptych.evaluation.comparison import count_tests
    from triptych.evaluation.pairing import LABELS

    console = wide_console(_NARROWEST)
    for label, path in zip(LABELS, config.runs, strict=False):
        role = " (baseline)" if label == "A" and not config.all_pairs else ""
        console.print(plain_text(f"{label}: {path}{role}"), soft_wrap=True)
    clips = "" if pairing.clusters == pairing.questions else f" on {pairing.clusters} clips"
    console.print(f"{pairing.questions} questions{clips}", highlight=False)
    for notice in pairing.notices:
        console.print(plain_text(f"notice: {notice}", "yellow"), soft_wrap=True)
    for (baseline, name), members in groupby(
        rows, lambda row: (row.paired.baseline, row.paired.run)
    ):
        console.print(_table(baseline, name, list(members), config.by))
    if tests := count_tests(pairing):
        rows_told = "row" if tests == 1 else "rows"
        console.print(
            f"p is adjusted for the {tests} {rows_told} with a difference (Holm); the intervals "
            "are 95% each, not adjusted",
            highlight=False,
        )


def _table(baseline: str, run: str, rows: "Sequence[Row]", by: str | None) -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from triptych.cli.tables import difference_text, plain_text

    table = Table(
        box=SIMPLE_HEAD,
        title=f"{run} against {baseline}",
        title_justify="left",
        title_style="bold",
    )
    if by:
        table.add_column(plain_text(by), overflow="fold")
    table.add_column("metric", no_wrap=True)
    for column in ("n", baseline, run, f"{run} - {baseline}", "p"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("verdict", min_width=20)
    group: str | None = None
    for row in rows:
        two = row.paired
        if by and two.group != group:
            table.add_section()
        group = two.group
        table.add_row(
            *([plain_text("all" if group is None else group)] if by else []),
            plain_text(two.metric),
            str(len(two.first)),
            f"{two.first_mean:.3f}",
            f"{two.second_mean:.3f}",
            difference_text(row.difference, digits=3),
            _p_text(row.p_holm),
            _words(row),
        )
    return table


def _p_text(p: float) -> str:
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _words(row: "Row") -> str:
    """The verdict, and what would have been seen where nothing was."""
    from triptych.evaluation.comparison import Verdict

    if row.verdict is not Verdict.NOT_TOLD_APART or row.detectable is None:
        return str(row.verdict)
    return (
        f"{row.verdict}; n = {len(row.paired.first)} would show a difference of "
        f"{_rounded_up(row.detectable)} or more"
    )


def _rounded_up(value: float) -> str:
    """Two digits, never less than the value."""
    digits = 1 - math.floor(math.log10(value))
    return f"{math.ceil(value * 10**digits) / 10**digits:g}"
