"""What `triptych eval` wrote of single questions, read again."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from triptych.data.sample import JSON
from triptych.errors import DataError
from triptych.evaluation.metrics import ItemScore
from triptych.files import read_json

# Fields that are no property of the question or the completion, but all of it.
_NO_LABELS = ("sample_id", "question", "text")


@dataclass(frozen=True)
class Prediction:
    """One line of a predictions file. A sample without an answer has no scores.

    Attributes:
        item: its scores.
        labels: what questions can be grouped by: their groups, and the fields whose value is a word
            or a number.
        asked: what was asked, as text: question, options and right answer.
    """

    item: ItemScore
    labels: Mapping[str, str]
    asked: str


@dataclass(frozen=True)
class Predictions:
    """A run's predictions, by sample id.

    Attributes:
        path: the folder or file that was named.
        by_id: sample id -> prediction, in the order of the file.
        data: SHA-256 of the data files that the run read; None where the run does not say.
    """

    path: Path
    by_id: Mapping[str, Prediction]
    data: tuple[str, ...] | None


def read_predictions(path: Path) -> Predictions:
    """Read the predictions of a run.

    Args:
        path: the run folder of `triptych eval`, or a predictions file.

    Raises:
        DataError: there is no such file, a line is no prediction, a sample id stands twice, or
            there is no line. The message reads ``file:line: field: cause``.
    """
    file = _predictions_file(path)
    by_id: dict[str, Prediction] = {}
    for number, line in enumerate(_text(file).split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{file}:{number}"
        prediction = _prediction(_object(line, where), where)
        sample_id = prediction.item.sample_id
        if sample_id in by_id:
            raise DataError(
                f"{where}: sample_id: {sample_id!r} stands twice; keep one prediction of a sample"
            )
        by_id[sample_id] = prediction
    if not by_id:
        raise DataError(f"{file}: holds no predictions")
    return Predictions(path, by_id, _data_of_run(file))


def _predictions_file(path: Path) -> Path:
    if not path.is_dir():
        return path
    folder = path / "predictions"
    if (file := folder / "model.jsonl").exists():
        return file
    others = ", ".join(map(str, sorted(folder.glob("*.jsonl"))))
    raise DataError(
        f"{path}: no predictions/model.jsonl there; "
        + (f"name one of its files: {others}" if others else "name a run of `triptych eval`")
    )


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: not UTF-8 text ({error}); save it as UTF-8 JSONL") from error
    except OSError as error:
        raise DataError(
            f"{file}: {error.strerror or error}; name a run of `triptych eval`, or its predictions"
        ) from error


def _object(line: str, where: str) -> dict[str, Any]:
    # Not `parse_object`, which takes no half characters: a model may have written some.
    try:
        record = JSON.decode(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not JSON ({error}); write one object a line") from error
    if not isinstance(record, dict):
        raise DataError(f"{where}: a JSON {type(record).__name__}, not an object")
    return record


def _prediction(record: Mapping[str, Any], where: str) -> Prediction:
    sample_id = record.get("sample_id")
    if not isinstance(sample_id, str) or not sample_id:
        raise DataError(
            f"{where}: sample_id: {sample_id!r:.80} is no id; give the sample's, a text"
        )
    scores = record.get("scores") if "error" not in record else {}
    if not isinstance(scores, dict) or not (scores or "error" in record):
        raise DataError(
            f"{where}: scores: must be an object of numbers by metric; `triptych eval` writes them"
        )
    return Prediction(
        item=ItemScore(
            sample_id=sample_id,
            cluster=_cluster(record, sample_id),
            kind=_word(record.get("kind")),
            alignment=_word(record.get("alignment")),
            scores={
                name: _score(value, f"{where}: scores.{name}") for name, value in scores.items()
            },
        ),
        labels=_labels(record),
        asked=repr([record.get(name) for name in ("question", "options", "answer")]),
    )


def _labels(record: Mapping[str, Any]) -> dict[str, str]:
    groups = record.get("groups")
    fields = {name: value for name, value in record.items() if name not in _NO_LABELS}
    return {
        name: str(value)
        for name, value in {**fields, **(groups if isinstance(groups, dict) else {})}.items()
        if isinstance(value, str | int)
    }


def _cluster(record: Mapping[str, Any], sample_id: str) -> str:
    """As `metrics.cluster_of`, where the line does not say it itself."""
    if isinstance(cluster := record.get("cluster"), str):
        return cluster
    match record.get("media"):
        case [{"path": str(path)}, *_]:
            return path
    return sample_id


def _word(value: Any) -> str | None:
    return None if value is None else str(value)


def _score(value: Any, where: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise DataError(f"{where}: {value!r:.80} is neither a number nor null")
    return float(value)


def _data_of_run(file: Path) -> tuple[str, ...] | None:
    """Fingerprints of the data, if the file lies where a run keeps its predictions."""
    folder = file.resolve().parent
    environment = folder.parent / "environment.json"
    if folder.name != "predictions" or not environment.exists():
        return None
    data = read_json(environment).get("data")
    return tuple(map(str, data.values())) if isinstance(data, dict) else None
