"""Training metrics as small panels, grouped by the stage of the output that they speak of."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from triptych.report.charts import Line, line_panel, number
from triptych.report.load import Json, is_number

_NOT_METRICS = frozenset({"step", "epoch", "phase", "arm", "time", "timestamp", "total_steps"})
_MOST_POINTS = 300

# A metric belongs to the first group one of whose words occurs in its name.
_GROUPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Context", ("context",)),
    ("Think", ("think", "reasoning")),
    ("Answer", ("answer",)),
    (
        "Format and whole output",
        (
            *("format", "tags", "valid", "forced", "overruled", "unchanged"),
            *("truncat", "length", "tokens", "reward", "signal"),
        ),
    ),
)
_OTHER = "Optimisation"

_UNITS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("-1 to 1", ("correlation",)),
    ("seconds", ("second", "runtime", "_time")),
    ("tokens", ("tokens", "length", "overruled")),
    ("nats", ("entropy", "kl", "logp")),
    (
        "0 to 1",
        (
            *("reward", "valid", "forced", "unchanged", "truncat", "share"),
            *("fraction", "clip", "signal", "unscored", "eval_"),
        ),
    ),
)
# Looked at when something is wrong; folded away until then.
_SECONDARY = (
    "reward_std",
    "no_signal",
    "unscored",
    "advantage",
    "length_correlation",
    "stage_length_correlation",
    "weight/",
    "seconds",
    "beta",
    "learning_rate",
    "grad_norm",
    "num_",
)


@dataclass(frozen=True)
class Panel:
    """One metric's chart with its caption."""

    title: str
    unit: str
    chart: Markup
    not_finite: int


@dataclass(frozen=True)
class Constant:
    """A metric that never changed, which a sentence says better than a chart."""

    title: str
    value: str


@dataclass(frozen=True)
class Group:
    """The metrics of one stage."""

    name: str
    slug: str
    panels: tuple[Panel, ...]
    secondary: tuple[Panel, ...]
    constants: tuple[Constant, ...]


@dataclass(frozen=True)
class _Metric:
    """One metric over the phases of one kind."""

    name: str
    title: str
    unit: str
    lines: tuple[Line, ...]

    @property
    def values(self) -> list[float]:
        return [value for line in self.lines for value in line.values]


def curve_groups(
    metrics: Mapping[str, Sequence[Json]], arm_numbers: Mapping[str, int]
) -> list[Group]:
    """Panels per stage; supervised phases and reinforced ones never share a panel.

    The loss of a cold start and the loss of GRPO share a name and nothing else, so phases that
    log rewards are kept apart from phases that do not.
    """
    reinforced = {arm: rows for arm, rows in metrics.items() if _logs_rewards(rows)}
    supervised = {arm: rows for arm, rows in metrics.items() if arm not in reinforced}
    found = [
        *_metrics(reinforced, arm_numbers, is_supervised=False, note=""),
        *_metrics(
            supervised, arm_numbers, is_supervised=True, note=" (supervised)" * bool(reinforced)
        ),
    ]
    order = [*(name for name, _ in _GROUPS), _OTHER]
    groups = ((name, [metric for metric in found if _group_of(metric) == name]) for name in order)
    return [_group(name, members) for name, members in groups if members]


def _group(name: str, members: Sequence[_Metric]) -> Group:
    constants = [metric for metric in members if len(set(metric.values)) == 1]
    changing = [metric for metric in members if metric not in constants]
    # A reward is what one looks for first.
    changing.sort(key=lambda metric: not metric.name.startswith("reward/"))
    return Group(
        name=name,
        slug=name.split()[0].lower(),
        panels=tuple(_panel(metric) for metric in changing if not _is_secondary(metric)),
        secondary=tuple(_panel(metric) for metric in changing if _is_secondary(metric)),
        constants=tuple(Constant(one.title, number(one.values[0])) for one in constants),
    )


def _panel(metric: _Metric) -> Panel:
    not_finite = sum(not math.isfinite(value) for value in metric.values)
    thinned = [_thinned(line) for line in metric.lines]
    chart = line_panel(metric.title, metric.unit, thinned)
    return Panel(metric.title, metric.unit, chart, not_finite)


def _metrics(
    phases: Mapping[str, Sequence[Json]],
    arm_numbers: Mapping[str, int],
    *,
    is_supervised: bool,
    note: str,
) -> Iterator[_Metric]:
    """The metrics with at least one finite value, in order of first appearance."""
    names = dict.fromkeys(key for rows in phases.values() for row in rows for key in row)
    for name in names:
        if name in _NOT_METRICS:
            continue
        lines = tuple(
            line for arm, rows in phases.items() if (line := _line(name, arm, arm_numbers, rows))
        )
        metric = _Metric(name, _title(name) + note, unit_of(name, is_supervised), lines)
        if any(math.isfinite(value) for value in metric.values):
            yield metric


def _line(name: str, arm: str, arm_numbers: Mapping[str, int], rows: Sequence[Json]) -> Line | None:
    points = [
        (float(row["step"]), _value(row[name]))
        for row in rows
        if name in row and is_number(row.get("step"))
    ]
    if not points:
        return None
    steps, values = zip(*points, strict=True)
    return Line(arm, arm_numbers[arm], steps, values)


def _value(value: object) -> float:
    """A logged value; NaN for what is no number, such as the null that stands for NaN in JSON."""
    return float(value) if isinstance(value, int | float) else math.nan


def _thinned(line: Line) -> Line:
    """At most _MOST_POINTS points: the means of equal runs of neighbours."""
    if len(line.steps) <= _MOST_POINTS:
        return line
    steps, values = (
        tuple(float(run.mean()) for run in np.array_split(np.asarray(of), _MOST_POINTS))
        for of in (line.steps, line.values)
    )
    return Line(line.name, line.arm, steps, values)


def unit_of(metric: str, is_supervised: bool = False) -> str:
    """The unit of a metric, told by its name; "" where the name does not tell.

    A supervised loss is in nats per token; the loss of GRPO has no unit.
    """
    name = metric.lower()
    if "loss" in name:
        return "nats" if is_supervised else ""
    return next((unit for unit, words in _UNITS if any(word in name for word in words)), "")


def _title(name: str) -> str:
    return name.replace("_", " ").replace("/", " / ")


def _group_of(metric: _Metric) -> str:
    name = metric.name.lower()
    return next((group for group, words in _GROUPS if any(word in name for word in words)), _OTHER)


def _is_secondary(metric: _Metric) -> bool:
    return metric.name.startswith(_SECONDARY)


def _logs_rewards(rows: Sequence[Json]) -> bool:
    return any(key.startswith("reward") for row in rows for key in row)
