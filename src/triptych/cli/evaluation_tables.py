"""What `triptych eval` prints of an evaluation."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from triptych.cli.questions import EngineConfig, Questions, deviations
from triptych.cli.tables import cell_text, plain_text, print_evaluation, wide_console
from triptych.evaluation.records import ASK_AGAIN
from triptych.evaluation.summary import EvaluationResult, Groups, Summary, reasons
from triptych.statistics import Interval

if TYPE_CHECKING:
    from triptych.evaluation.baselines import Baselines
    from triptych.evaluation.benchmarks import Benchmark

_COLUMNS = ("answer", "answer.published", "context", "reasoning")
_MOST_ROWS = 30  # of one division of the questions


def print_result(
    config: EngineConfig,
    questions: Questions,
    result: EvaluationResult,
    console: Console | None = None,
    baselines: "Baselines | None" = None,
) -> None:
    """The figures of an evaluation: over all questions, by group, and beside published ones."""
    console = console or wide_console()
    for line in _protocol(config, questions):
        console.print(plain_text(line), soft_wrap=True)
    print_figures(result, baselines, console)
    if questions.benchmark:
        print_known(questions.benchmark, result, console)
    for line in _shares(questions, result):
        console.print(plain_text(line), soft_wrap=True)
    for line in _open_ends(result):
        console.print(plain_text(line, "yellow"), soft_wrap=True)


def print_figures(
    result: EvaluationResult, baselines: "Baselines | None", console: Console
) -> None:
    """The figures over all questions and by group, beside what blind answers reach."""
    summary = _beside_baselines(result.summary, baselines) if baselines else result.summary
    print_evaluation({"model": summary}, console)
    print_groups(result.groups, console, baselines)


def _beside_baselines(summary: Summary, baselines: "Baselines") -> Summary:
    """The summary, with what blind answers reach in the rows behind `answer`."""
    shown: Summary = {}
    for split, metrics in summary.items():
        shown[split] = {}
        for metric, interval in metrics.items():
            shown[split][metric] = interval
            if metric == "answer" and (base := baselines.splits.get(split)):
                for label, value in (
                    ("  by chance", base.chance),
                    ("  most frequent answer", base.most_frequent),
                ):
                    shown[split][label] = Interval(value, None, None, base.n)
    return shown


def print_groups(groups: Groups, console: Console, baselines: "Baselines | None" = None) -> None:
    """One table per division of the questions: a row per part, means with 95% intervals.

    n is that of the answers; another figure's own stands beside it where it differs. A division
    that all questions fall into one part of says nothing, and is left out.
    """
    for name, parts in groups.items():
        if len(parts) < 2:
            continue
        metrics = [one for one in _COLUMNS if any(one in part for part in parts.values())]
        table = Table(
            box=SIMPLE_HEAD,
            title=plain_text(f"by {name}"),
            title_justify="left",
            title_style="bold",
        )
        table.add_column(plain_text(name), overflow="fold")
        known = baselines.groups.get(name, {}) if baselines else {}
        for column in ("n", *(["chance"] if known else []), *metrics):
            table.add_column(column, justify="right", no_wrap=True)
        largest = sorted(parts, key=lambda value: -_size(parts[value]))[:_MOST_ROWS]
        for value in (one for one in parts if one in largest):
            size = _size(parts[value])
            cells = [cell_text(parts[value].get(metric), size) for metric in metrics]
            if known:
                cells.insert(0, f"{known[value].chance:.3f}" if value in known else "-")
            table.add_row(plain_text(value), str(size), *cells)
        console.print(table)
        if folded := len(parts) - len(largest):
            console.print(f"{folded} smaller parts are in results.json only", highlight=False)


def _size(part: Mapping[str, Interval]) -> int:
    """Answers of a part; where none is scored, what there is most of."""
    if "answer" in part:
        return part["answer"].n
    return max((interval.n for interval in part.values()), default=0)


def _protocol(config: EngineConfig, questions: Questions) -> Iterator[str]:
    protocol = questions.protocol
    if protocol is None:
        return
    changed = deviations(config, protocol)
    tail = "; but " + ", ".join(changed) if changed else ""
    yield f"asked and scored as published: {protocol.name}, {protocol.source}{tail}"


def print_known(benchmark: "Benchmark", result: EvaluationResult, console: Console) -> None:
    """The published results of a benchmark beside these."""
    from triptych.evaluation.benchmarks import beside_known

    metric = "answer.published" if _overall(result, "answer.published") else "answer.alone"

    def own(group: str | None, value: str | None) -> float | None:
        if group is None or value is None:
            figure = _overall(result, metric)
        else:
            figure = result.groups.get(group, {}).get(value, {}).get(metric)
        return figure.mean if figure else None

    rows = beside_known(benchmark.known, own)
    if not rows:
        return
    table = Table(
        box=SIMPLE_HEAD,
        title=f"{benchmark.title}: published results, percent, and {metric} of this model",
        title_justify="left",
        title_style="bold",
    )
    table.add_column("questions", overflow="fold")
    table.add_column("system", overflow="fold")
    table.add_column("published", justify="right", no_wrap=True)
    table.add_column("this model", justify="right", no_wrap=True)
    table.add_column("source", overflow="fold")
    for row in rows:
        ours = "-" if row.own is None else f"{row.own:.2f}"
        table.add_row(row.part, row.system, f"{row.percent:.2f}", ours, row.source)
    console.print(table)
    if metric != "answer.published":
        console.print(
            "published results have a protocol of their own; --protocol published follows it",
            highlight=False,
        )


def _overall(result: EvaluationResult, metric: str) -> Interval | None:
    return next(iter(result.summary.values()), {}).get(metric)


def _shares(questions: Questions, result: EvaluationResult) -> Iterator[str]:
    asked = len(result.records) + len(result.unanswered)
    if asked < questions.total:
        yield f"{asked} of {questions.total} questions were asked"
    if result.found:
        yield f"{result.found} answers were there already; {asked - result.found} were asked for"
    parts = []
    for metric in ("truncated", "refused"):
        if figure := _overall(result, metric):
            parts.append(f"{metric} {figure.mean:.1%}")
    parts.append(f"unanswered {len(result.unanswered) / asked:.1%}")
    if tokens := _overall(result, "tokens"):
        parts.append(f"{tokens.mean:.0f} tokens per answer")
    if timing := result.timing:
        parts.append(
            f"{timing.mean_seconds:.2f} s per answer (median {timing.median_seconds:.2f}, "
            f"95% within {timing.p95_seconds:.2f})"
        )
        if timing.tokens_per_second is not None:
            parts.append(f"{timing.tokens_per_second:.0f} tokens per second")
    yield ", ".join(parts)


def _open_ends(result: EvaluationResult) -> Iterator[str]:
    """What could not be had, and the way out."""
    if result.unanswered:
        counts = ", ".join(f"{n} {reason}" for reason, n in reasons(result.unanswered).items())
        sample_id, first = next(iter(result.unanswered.items()))
        yield (
            f"{len(result.unanswered)} questions have no answer ({counts}) and are in no mean; "
            f"{sample_id}: {first.cause}. Give the same command again to ask them once more"
        )
    open_ends = sum(
        any(reason in ASK_AGAIN for reason in one.unscored.values()) for one in result.records
    )
    if open_ends:
        yield (
            f"{open_ends} answers have a reward that could not be had; give the same command "
            "again to have it judged once more"
        )
