"""Where the time of an optimizer step goes, by phase of training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from triptych.report.charts import Part, number, part_key, stacked_bar
from triptych.report.load import Json, is_number

# What a step consists of, in its order: the metric's name, words, and the colour's number.
_PARTS = (
    ("data", "waiting for data", 4),
    ("rollout", "rollout", 5),
    ("reward", "rewards", 2),
    ("old_policy", "log-probs of the old policy", 1),
    ("reference", "log-probs of the reference", 3),
    ("update", "update", 6),
    ("evaluation", "evaluation", 7),
)
_OTHER = ("other", 0)


@dataclass(frozen=True)
class Key:
    """A colour of the chart and what it stands for."""

    name: str
    swatch: Markup


@dataclass(frozen=True)
class Share:
    """What a part takes of a step."""

    seconds: str
    percent: str


@dataclass(frozen=True)
class StepTime:
    """A step of one arm: its bar, a sentence on waiting, and a figure for each key."""

    arm: str
    seconds: str
    bar: Markup
    waiting: str
    shares: tuple[Share | None, ...]


@dataclass(frozen=True)
class StepTimes:
    """The steps of all arms, drawn to one scale."""

    keys: tuple[Key, ...]
    arms: tuple[StepTime, ...]


def step_times(metrics: Mapping[str, Sequence[Json]]) -> StepTimes | None:
    """The mean step of each arm whose metrics tell it; None where none do."""
    means = {arm: mean for arm, rows in metrics.items() if (mean := _mean_step(rows))}
    if not means:
        return None
    parts = {arm: _parts(mean) for arm, mean in means.items()}
    styles = {name: style for _, name, style in _PARTS} | dict([_OTHER])
    used = {part.name for of_arm in parts.values() for part in of_arm}
    names = [name for name in styles if name in used]
    largest = max(mean["step"] for mean in means.values())
    return StepTimes(
        keys=tuple(Key(name, part_key(styles[name])) for name in names),
        arms=tuple(
            StepTime(
                arm=arm,
                seconds=number(means[arm]["step"]),
                bar=stacked_bar(arm, of_arm, largest, unit="s"),
                waiting=_waiting(means[arm]),
                shares=_shares(names, of_arm, means[arm]["step"]),
            )
            for arm, of_arm in parts.items()
        ),
    )


def _mean_step(rows: Sequence[Json]) -> dict[str, float]:
    """Mean seconds per step by name of the metric; a line stands for the steps since the last."""
    timed = [
        row for row in rows if is_number(row.get("step")) and is_number(row.get("seconds/step"))
    ]
    if not timed:
        return {}
    ends = [0.0, *(float(row["step"]) for row in timed)]
    steps = [max(1.0, end - begin) for begin, end in pairwise(ends)]
    sums: dict[str, float] = {}
    for row, count in zip(timed, steps, strict=True):
        for name, value in row.items():
            if name.startswith("seconds/") and is_number(value):
                name = name.removeprefix("seconds/")
                sums[name] = sums.get(name, 0.0) + float(value) * count
    means = {name: total / sum(steps) for name, total in sums.items()}
    return means if means["step"] > 0 else {}


def _parts(mean: Mapping[str, float]) -> list[Part]:
    known = [Part(words, style, mean[name]) for name, words, style in _PARTS if mean.get(name)]
    rest = mean["step"] - sum(part.value for part in known)
    name, style = _OTHER
    return [*known, Part(name, style, max(0.0, rest))]


def _waiting(mean: Mapping[str, float]) -> str:
    """How much of a step the model waited, in words."""
    step = mean["step"]
    told = f"waited for data {_percent(mean.get('data', 0.0), step)}"
    if "reward" in mean:
        told += f" and for rewards {_percent(mean['reward'], step)}"
    told += " of the time"
    if beside := mean.get("reward_overlapped"):
        told += f"; beside its work, replies were under way for {number(beside)} s of a step"
    return told


def _shares(names: Sequence[str], parts: Sequence[Part], step: float) -> tuple[Share | None, ...]:
    values = {part.name: part.value for part in parts}
    return tuple(
        Share(f"{number(values[name])} s", _percent(values[name], step)) if name in values else None
        for name in names
    )


def _percent(seconds: float, step: float) -> str:
    share = 100 * seconds / step
    return f"{share:.0f}%" if share == 0 or share >= 1 else "under 1%"
