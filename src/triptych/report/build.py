"""Builds the report of a run: one HTML file that needs nothing else.

Completions are untrusted text. The template escapes everything, and the page forbids scripts
and every external request by its content security policy, so that a slip would stay harmless.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from triptych.report import charts
from triptych.report.audit import audit_view, further_figures
from triptych.report.charts import Reference
from triptych.report.curves import curve_groups
from triptych.report.load import (
    IntervalTable,
    Json,
    RolloutPlace,
    RunData,
    load_run,
    object_of,
)
from triptych.report.page import environment, words, write_page
from triptych.report.previews import Previewer
from triptych.report.rollouts import clean, comparison_cards, rollout_cards
from triptych.report.tables import Row, Table, domain_around_zero, domain_of, interval_cell
from triptych.report.timeline import step_times

_ROLLOUTS = 20
_COMPARED = 6
_ARM_STYLES = 8  # arm-0 ... arm-7 in the style sheet
_HEADLINE = ("context", "reasoning", "format", "format_unenforced")
_COMPARED_METRICS = ("answer", "context", "context_relevant", "context_irrelevant", *_HEADLINE[1:])
_METRIC_NAMES = {
    "answer": "Answer",
    "answer.alone": "Answer, whatever the reasoning said",
    "context": "Context",
    "reasoning": "Reasoning",
    "format": "Format",
    "format_unenforced": "Format, not enforced",
    "unchanged": "Completions that enforcing the format left as they were",
    "forced": "Tokens without a choice",
    "truncated": "Truncated",
    "refused": "Declined to answer",
    "tokens": "Tokens per completion",
    "context_relevant": "Named in the context: what the answer needs",
    "context_irrelevant": "Named in the context: the rest",
}


@dataclass(frozen=True)
class Plot:
    """A column of strips over one axis."""

    title: str
    rows: tuple[Row, ...]
    scale: Markup


def build_report(run_folder: Path) -> Path:
    """Write ``report.html`` into the run folder and return its path.

    Pieces that are missing or cannot be read are named on the page. The file appears whole or
    not at all.

    Raises:
        DataError: the run folder does not exist, or holds no file of a run.
    """
    html = render(load_run(Path(run_folder)))
    path = Path(run_folder) / "report.html"
    write_page(path, html)
    return path


def render(data: RunData) -> str:
    """The page as text."""
    arms = arm_numbers(data)
    previewer = Previewer(data.folder)
    from_training = bool(data.rollouts)
    places = data.rollouts or [place for of_arm in data.predictions.values() for place in of_arm]
    predictions = _side_by_side(data, arms)
    compared = len(predictions) > 1
    template = environment().get_template("report.html.j2")
    return template.render(
        name=clean(data.folder.resolve().name),
        summary=_summary(data),
        audit=audit_view(data.audit) if data.audit else None,
        arms=arms,
        swatches={arm: charts.swatch(number) for arm, number in arms.items()},
        # The figures of an audit stand in their own section; it has no others.
        has_results=bool(data.evaluation or not data.audit),
        headline=headline_table(data.evaluation, arms),
        answers=answer_plots(data, arms),
        contexts=context_plots(data.evaluation, arms),
        baselines=data.baselines,
        differences=difference_tables(data.differences),
        details=detail_tables(data.evaluation, arms),
        seconds=_seconds(data.seconds),
        step_times=step_times(data.metrics),
        groups=curve_groups(data.metrics, arms),
        cards=rollout_cards(places, previewer, _ROLLOUTS),
        rollout_count=len(places),
        rollout_arms=list(dict.fromkeys(place.arm for place in places)),
        from_training=from_training,
        compared=comparison_cards(predictions, previewer, _COMPARED) if compared else [],
        facts=_facts(data.environment),
        further=_facts({**data.further_results, **further_figures(data.audit)}),
        config_text=None if data.config_text is None else clean(data.config_text),
        notices=[clean(notice) for notice in data.notices],
    )


def _summary(data: RunData) -> list[str]:
    """The run in a few figures, for the head of the page."""
    facts = []
    if data.evaluation:
        facts.append(f"{_counted(len(data.evaluation), 'arm')} evaluated")
    if data.questions:
        facts.append(_counted(data.questions, "question"))
    if data.rollouts:
        facts.append(f"{_counted(len(data.rollouts), 'rollout')} in training")
    if data.seconds:
        facts.append(f"{sum(data.seconds.values()) / 60:.1f} minutes")
    if "seed" in data.environment:
        facts.append(f"seed {clean(data.environment['seed'])}")
    return facts


def _counted(number: int, name: str) -> str:
    return f"{number:,} {name}" + ("" if number == 1 else "s")


def _side_by_side(data: RunData, arms: Iterable[str]) -> dict[str, list[RolloutPlace]]:
    """The predictions of each arm, where they answer the same questions.

    Those of an audit stand in its order, the unaltered questions first. Where it permutes the
    options, a letter means another option; these are left out.
    """
    shown = object_of(data.audit.get("conditions")) if data.audit else arms
    return {arm: data.predictions[arm] for arm in shown if arm in data.predictions}


def arm_numbers(data: RunData) -> dict[str, int]:
    """The number that picks an arm's colour, the same in every chart."""
    places: Iterable[RolloutPlace] = data.rollouts
    names = [*data.evaluation, *data.metrics, *data.predictions, *(place.arm for place in places)]
    return {name: index % _ARM_STYLES for index, name in enumerate(dict.fromkeys(names))}


def headline_table(evaluation: IntervalTable, arms: Mapping[str, int]) -> Table | None:
    """Arms by the figures that matter most: answers on every split, stages on the first."""
    splits = _splits(evaluation)
    if not splits:
        return None
    wanted = [(split, "answer") for split in splits]
    wanted += [(splits[0], metric) for metric in _HEADLINE]
    columns = [(s, m) for s, m in wanted if any(m in of.get(s, {}) for of in evaluation.values())]
    rows = tuple(
        Row(
            arm,
            arms[arm],
            tuple(interval_cell(of.get(s, {}).get(m), arms[arm]) for s, m in columns),
        )
        for arm, of in evaluation.items()
    )
    heads = tuple((metric_name(metric), words(split)) for split, metric in columns)
    return Table("Every arm at a glance", heads, rows)


def answer_plots(data: RunData, arms: Mapping[str, int]) -> list[Plot]:
    """Answers per split, with the baselines drawn in where they were measured: the first."""
    baselines = [Reference(words(name), value) for name, value in data.baselines.items()]
    plots = []
    for number, split in enumerate(_splits(data.evaluation)):
        references = [] if number else baselines
        title = f"Answer, {words(split)} split"
        plots.append(_plot(data.evaluation, arms, title, split, "answer", references))
    return [plot for plot in plots if plot.rows]


def context_plots(evaluation: IntervalTable, arms: Mapping[str, int]) -> list[Plot]:
    """What the context names of the things that the answer needs, and of the rest."""
    plots = [
        _plot(evaluation, arms, metric_name(metric), split, metric)
        for split in _splits(evaluation)[:1]
        for metric in ("context_relevant", "context_irrelevant")
    ]
    return [plot for plot in plots if plot.rows]


def _plot(
    evaluation: IntervalTable,
    arms: Mapping[str, int],
    title: str,
    split: str,
    metric: str,
    references: Sequence[Reference] = (),
) -> Plot:
    found = {arm: of.get(split, {}).get(metric) for arm, of in evaluation.items()}
    rows = tuple(
        Row(arm, arms[arm], (interval_cell(interval, arms[arm], references=references),))
        for arm, interval in found.items()
        if interval
    )
    return Plot(title, rows, charts.scale(references=references))


def detail_tables(evaluation: IntervalTable, arms: Mapping[str, int]) -> list[Table]:
    """Everything that was measured: per split, metrics by arms."""
    tables = []
    for split in _splits(evaluation):
        metrics = dict.fromkeys(m for of in evaluation.values() for m in of.get(split, {}))
        rows = []
        for metric in metrics:
            found = [of.get(split, {}).get(metric) for of in evaluation.values()]
            domain = domain_of([interval for interval in found if interval])
            cells = tuple(
                interval_cell(interval, arms[arm], domain)
                for arm, interval in zip(evaluation, found, strict=True)
            )
            rows.append(Row(metric_name(metric), 0, cells))
        heads = tuple((words(arm), "") for arm in evaluation)
        tables.append(Table(split, heads, tuple(rows)))
    return tables


def difference_tables(differences: IntervalTable) -> list[Table]:
    """Paired differences between arms, one table a comparison; results.json may hold more."""
    tables = []
    for comparison, splits in differences.items():
        found = [interval for metrics in splits.values() for interval in metrics.values()]
        domain = domain_around_zero(found)
        measured = dict.fromkeys(metric for of in splits.values() for metric in of)
        metrics = [metric for metric in _COMPARED_METRICS if metric in measured] or measured
        rows = tuple(
            Row(
                metric_name(metric),
                0,
                tuple(interval_cell(splits[s].get(metric), 0, domain, signed=True) for s in splits),
            )
            for metric in metrics
        )
        heads = tuple((words(split), "") for split in splits)
        tables.append(Table(words(comparison).replace(" - ", f" {charts.MINUS} "), heads, rows))
    return tables


def metric_name(metric: str) -> str:
    """The name of a metric on the page."""
    if metric.startswith("context."):
        return f"Named in the context: {words(metric.removeprefix('context.'))}"
    if metric.startswith("answer_"):
        return f"Answer: {words(metric.removeprefix('answer_'))}"
    return _METRIC_NAMES.get(metric, words(metric))


def _splits(evaluation: IntervalTable) -> list[str]:
    return list(dict.fromkeys(split for of in evaluation.values() for split in of))


def _seconds(seconds: Mapping[str, float]) -> list[tuple[str, str, Markup]]:
    largest = max(seconds.values(), default=0.0)
    return [
        (words(phase), f"{value:.1f}", charts.bar(value, largest))
        for phase, value in seconds.items()
    ]


def _facts(values: Json, prefix: str = "") -> list[tuple[str, str]]:
    """Nested values as lines of "a / b: value"."""
    facts: list[tuple[str, str]] = []
    for key, value in values.items():
        name = f"{prefix}{words(str(key))}"
        if isinstance(value, dict):
            facts.extend(_facts(value, f"{name} / "))
        else:
            facts.append((name, clean(value)))
    return facts
