"""Tables in columns: Parquet files and Hugging Face data sets, by optional libraries."""

import datetime
import decimal
import importlib
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from triptych.data.readers.base import RecordError, Row
from triptych.errors import DataError

_HUB = "hf:"
_ROWS_AT_ONCE = 1024


def parquet_rows(path: Path, name: str) -> Iterator[Row]:
    """The rows of a Parquet file.

    Raises:
        DataError: pyarrow is not installed, or the file is broken.
    """
    parquet = _import("pyarrow.parquet", "parquet", path)
    arrow = _import("pyarrow", "parquet", path)
    try:
        with parquet.ParquetFile(path) as file:
            yield from _rows(file.iter_batches(_ROWS_AT_ONCE), str(path), name, {})
    except (arrow.ArrowException, OSError) as error:
        raise DataError(f"{path}: not a Parquet file that can be read ({error})") from error


def saved_rows(path: Path, name: str) -> Iterator[Row]:
    """The rows of a data set that was saved in a folder by `save_to_disk`.

    Raises:
        DataError: the folder holds something else, or several splits; or datasets is missing.
    """
    if (path / "dataset_dict.json").exists():
        splits = sorted(one.name for one in path.iterdir() if one.is_dir())
        raise DataError(f"{path}: holds several splits; name one of {', '.join(splits)} in it")
    if not (path / "state.json").exists():
        raise DataError(f"{path}: is a folder, and none that datasets saved; name a file")
    datasets = _import_datasets(path)
    yield from _dataset_rows(datasets, datasets.load_from_disk(str(path)), str(path), name)


def is_hub(path: Path) -> bool:
    """Whether a path is the name of a data set on the Hugging Face hub, "hf:NAME:SPLIT"."""
    return str(path).startswith(_HUB)


def hub_rows(path: Path) -> Iterator[Row]:
    """The rows of "hf:NAME:SPLIT" or "hf:NAME:CONFIG:SPLIT".

    Raises:
        DataError: it is not named so, cannot be loaded, or datasets is missing.
    """
    name = "-".join(part.rpartition("/")[2] for part in str(path).split(":")[1:])
    yield from _dataset_rows(_import_datasets(path), _load(path), str(path), name)


def hub_files(path: Path) -> list[Path]:
    """The files on this machine that hold the rows of a data set on the hub.

    Raises:
        DataError: as for `hub_rows`.
    """
    return [Path(one["filename"]) for one in _load(path).cache_files]


def _load(path: Path) -> Any:
    match str(path).split(":"):
        case [_, name, *config, split] if name and split and len(config) < 2:
            datasets = _import_datasets(path)
        case _:
            raise DataError(f"{path}: no data set; write hf:NAME:SPLIT or hf:NAME:CONFIG:SPLIT")
    try:
        return datasets.load_dataset(name, *config, split=split)
    except Exception as error:  # the library raises errors of many kinds, its loaders any
        raise DataError(f"{path}: cannot be loaded ({error})") from error


def _import_datasets(path: Path) -> ModuleType:
    return _import("datasets", "datasets", path)


def _dataset_rows(datasets: ModuleType, found: Any, where: str, name: str) -> Iterator[Row]:
    labels = {
        column: feature.names
        for column, feature in found.features.items()
        if isinstance(feature, datasets.ClassLabel)
    }
    # As Arrow, media stay what is stored of them; as rows of Python they would be decoded.
    tables = found.with_format("arrow").iter(_ROWS_AT_ONCE)
    yield from _rows(tables, where, name, labels)


def _rows(
    tables: Iterable[Any], where: str, name: str, labels: dict[str, list[str]]
) -> Iterator[Row]:
    index = 0
    for table in tables:
        for values in table.to_pylist():
            record = _record(values, labels)
            files = frozenset(column for column, value in values.items() if _holds_file(value))
            yield Row(f"{where}[{index}]", f"{name}-{index}", record, files)
            index += 1


def _record(values: dict[str, Any], labels: dict[str, list[str]]) -> dict[str, Any] | RecordError:
    record = {}
    for column, value in values.items():
        try:
            record[column] = plain = _plain(value)
        except TypeError as error:
            return RecordError(column, f"{error}; leave the column out, or write it as text")
        if column in labels and isinstance(plain, int) and plain >= 0:
            record[column] = labels[column][plain]
    return {column: value for column, value in record.items() if value is not None}


def _holds_file(value: Any) -> bool:
    if isinstance(value, list):
        return any(map(_holds_file, value))
    return isinstance(value, dict) and isinstance(value.get("bytes"), bytes)


def _plain(value: Any) -> Any:
    """A value of a table as JSON has it. A table cannot leave a field out: it holds null or NaN."""
    match value:
        case None | str() | bool() | int():
            return value
        case float():
            return None if math.isnan(value) else value
        case list():
            return [_plain(item) for item in value]
        case dict() if value.keys() == {"bytes", "path"}:
            return value  # a file, and its name: see `MediaFolder.place`
        case dict():
            plain = {key: _plain(item) for key, item in value.items()}
            return {key: item for key, item in plain.items() if item is not None}
        case datetime.date() | datetime.time():
            return value.isoformat()
        case decimal.Decimal():
            return str(value)
    raise TypeError(f"holds {type(value).__name__}, which JSON cannot express")


def _import(module: str, extra: str, path: Path) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise DataError(
            f"{path}: needs {module.split('.')[0]}; install it by: pip install 'triptych[{extra}]'"
        ) from error
