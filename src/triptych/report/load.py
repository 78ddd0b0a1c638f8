"""Reads a run folder into plain values, and notes what is missing or cannot be read.

A report must come out of a half-finished or damaged run too, so nothing but a folder that is
missing or no run's is an error here: everything else becomes a notice that the page shows.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, TypeGuard

from triptych.errors import DataError
from triptych.statistics import Interval

Json: TypeAlias = dict[str, Any]
IntervalTable: TypeAlias = dict[str, dict[str, dict[str, Interval]]]
"""Arm (or comparison) -> split -> metric -> interval."""

_RESULT_KEYS = frozenset({"evaluation", "differences", "baselines", "seconds", "audit"})
_FILES = (
    *("results.json", "environment.json", "config.yaml"),
    *("predictions/*.jsonl", "predictions.jsonl", "*/predictions.jsonl"),
    *("metrics.jsonl", "*/metrics.jsonl", "rollouts.jsonl", "*/rollouts.jsonl"),
)
"""What a report is made from; a run holds at least one of them."""


@dataclass(frozen=True)
class RolloutPlace:
    """Where a line of JSONL stands; rollout files are too long to keep whole."""

    file: Path
    offset: int
    arm: str


@dataclass(frozen=True)
class RunData:
    """Everything a report is made from."""

    folder: Path
    evaluation: IntervalTable
    differences: IntervalTable
    baselines: dict[str, float]
    seconds: dict[str, float]
    audit: Json  # as in results.json
    further_results: Json
    metrics: dict[str, list[Json]]
    rollouts: list[RolloutPlace]
    predictions: dict[str, list[RolloutPlace]]
    questions: int  # different ones in the predictions
    environment: Json
    config_text: str | None
    notices: tuple[str, ...]


def load_run(folder: Path) -> RunData:
    """Read what is there.

    Looked for, in the folder and in its direct subfolders (one per arm): ``metrics.jsonl``,
    ``rollouts.jsonl``, ``predictions.jsonl``, ``predictions/ARM.jsonl``; in the folder alone:
    ``results.json``, ``environment.json``, ``config.yaml``. A line tells its arm by the key
    ``arm`` or ``phase``, else by the name of its file or subfolder.

    Raises:
        DataError: the folder does not exist, or holds none of these files.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such run folder; name the folder that a run wrote into")
    if not any(path.is_file() for pattern in _FILES for path in folder.glob(pattern)):
        raise DataError(
            f"{folder}: holds no file of a run, such as results.json or metrics.jsonl; name the "
            "folder that a run wrote into"
        )
    notices: list[str] = []
    results = _read_object(folder / "results.json", notices)
    metrics: dict[str, list[Json]] = {}
    for arm, row, _ in _rows(folder, "metrics.jsonl", notices):
        metrics.setdefault(arm, []).append(row)
    rollouts = [place for _, _, place in _rows(folder, "rollouts.jsonl", notices)]
    predictions, questions = _predictions(folder, notices)
    return RunData(
        folder=folder,
        evaluation=_intervals(results.get("evaluation"), "evaluation", notices),
        differences=_intervals(results.get("differences"), "differences", notices),
        baselines=_baselines(results.get("baselines"), notices),
        seconds=_numbers(results.get("seconds"), "seconds", notices),
        audit=object_of(results.get("audit")),
        further_results={k: v for k, v in results.items() if k not in _RESULT_KEYS},
        metrics=metrics,
        rollouts=rollouts,
        predictions=predictions,
        questions=questions,
        environment=_read_object(folder / "environment.json", notices),
        config_text=_read_text(folder / "config.yaml", notices),
        notices=tuple(dict.fromkeys(notices)),
    )


def read_record(place: RolloutPlace) -> Json:
    """The record at a place that `load_run` has seen."""
    with place.file.open("rb") as lines:
        lines.seek(place.offset)
        record: Json = json.loads(lines.readline())
    return record


def _read_text(path: Path, notices: list[str]) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        notices.append(f"{path.name}: {error.strerror or error}")
        return None


def _read_object(path: Path, notices: list[str]) -> Json:
    text = _read_text(path, notices)
    if text is None:
        return {}
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        notices.append(f"{path.name}:{error.lineno}: not JSON ({error.msg})")
        return {}
    if not isinstance(value, dict):
        notices.append(f"{path.name}: a JSON {type(value).__name__} where an object belongs")
        return {}
    return value


def _rows(folder: Path, name: str, notices: list[str]) -> Iterator[tuple[str, Json, RolloutPlace]]:
    """(arm, row, place) of each line of the folder's file and of its subfolders' files."""
    files = [folder / name, *sorted(folder.glob(f"*/{name}"))]
    found = [file for file in files if file.is_file()]
    if not found:
        notices.append(f"{name}: No such file or directory")
    for file in found:
        arm = file.parent.name if file.parent != folder else "run"
        yield from _rows_of(file, file.relative_to(folder), arm, notices)


def _rows_of(
    file: Path, name: Path, arm: str, notices: list[str]
) -> Iterator[tuple[str, Json, RolloutPlace]]:
    offset = 0
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            start, offset = offset, offset + len(line)
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError:  # not JSON, or not UTF-8
                row = None
            if not isinstance(row, dict):
                # An interrupted run leaves half a line at the end of its file.
                notices.append(f"{name}:{number}: not a JSON object; left out")
                continue
            named = str(row.get("arm") or row.get("phase") or arm)
            yield named, row, RolloutPlace(file, start, named)


def _predictions(folder: Path, notices: list[str]) -> tuple[dict[str, list[RolloutPlace]], int]:
    """Where the predictions of each arm stand, and how many questions all of them answer."""
    questions: set[str] = set()
    places: dict[str, list[RolloutPlace]] = {}
    found = [
        *[(file, file.stem) for file in sorted(folder.glob("predictions/*.jsonl"))],
        *[(file, file.parent.name) for file in sorted(folder.glob("*/predictions.jsonl"))],
        *[(file, "predictions") for file in folder.glob("predictions.jsonl")],
    ]
    for file, arm in found:
        for named, row, place in _rows_of(file, file.relative_to(folder), arm, notices):
            questions.add(str(row.get("sample_id")))
            places.setdefault(named, []).append(place)
    if not found:
        notices.append("predictions: none saved, so arms cannot be shown side by side")
    return places, len(questions)


def _intervals(value: Any, name: str, notices: list[str]) -> IntervalTable:
    table: IntervalTable = {}
    for arm, splits in items_of(value):
        for split, metrics in items_of(splits):
            for metric, record in items_of(metrics):
                if interval := finite_interval(record):
                    table.setdefault(arm, {}).setdefault(split, {})[metric] = interval
                else:
                    notices.append(
                        f"results.json: {name}.{arm}.{split}.{metric}: not a finite interval"
                    )
    return table


def finite_interval(record: Any) -> Interval | None:
    """An interval from its JSON form; None where it is not one, or not finite."""
    try:
        interval = Interval.from_dict(record)
    except (KeyError, TypeError, ValueError):
        return None
    figures = (interval.mean, interval.low or 0.0, interval.high or 0.0)
    return interval if all(map(math.isfinite, figures)) else None


def _baselines(value: Any, notices: list[str]) -> dict[str, float]:
    """By name; where they stand by split, as `triptych eval` writes them, those of the first."""
    if isinstance(value, Mapping) and "splits" in value:
        splits = [found for _, found in items_of(value["splits"])]
        first = items_of(splits[0]) if splits else []
        value = {name: figure for name, figure in first if name != "n"}
    return _numbers(value, "baselines", notices)


def _numbers(value: Any, name: str, notices: list[str]) -> dict[str, float]:
    numbers: dict[str, float] = {}
    for key, entry in items_of(value):
        entry = entry.get("mean") if isinstance(entry, Mapping) else entry
        if is_number(entry):
            numbers[key] = float(entry)
        else:
            notices.append(f"results.json: {name}.{key}: not a number")
    return numbers


def object_of(value: Any) -> Json:
    """A JSON object; an empty one where the value is something else."""
    return value if isinstance(value, dict) else {}


def items_of(value: Any) -> list[tuple[str, Any]]:
    """The items of a JSON object; none where the value is something else."""
    return list(value.items()) if isinstance(value, Mapping) else []


def is_number(value: Any) -> TypeGuard[int | float]:
    """Whether a JSON value is a finite number (true and false are not)."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
