"""JSON and JSONL files that outlive a crash.

Whole files are written beside their place and renamed; lines are appended and flushed. So a
reader never meets half a file, and an interrupted process loses at most its last line.
"""

import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from triptych.errors import DataError
from triptych.settings import plain

Record: TypeAlias = dict[str, Any]

_BLOCK = 1 << 20
_LEFTOVER = ".tmp"


def write_text(path: Path, text: str) -> None:
    """Write a whole file so that a reader sees the old one or the new one, never a part."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """As `write_text`, for what is encoded already."""
    beside = path.with_name(f".{path.name}.{os.getpid()}{_LEFTOVER}")
    try:
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def is_leftover(path: Path) -> bool:
    """Whether a process was killed while it wrote this, a whole file that is in no one's place."""
    return path.name.startswith(".") and path.name.endswith(_LEFTOVER)


def write_json(path: Path, record: Mapping[str, Any]) -> None:
    """Write an object as a whole file. A value that is not finite is written as null."""
    text = json.dumps(_finite(plain(record)), indent=2, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def write_lines(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Write objects as a whole file, one a line."""
    write_text(path, "".join(_line(record) for record in records))


def append_lines(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Append objects to a file, one a line.

    Raises:
        DataError: the file cannot be written, as on a full disk.
    """
    text = "".join(_line(record) for record in records)
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror}") from error


def sync_file(path: Path) -> None:
    """Bring a file, or the names in a folder, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def keep_lines(path: Path, keep: Callable[[Record], bool]) -> None:
    """Drop the objects that `keep` refuses. The file may be larger than memory.

    Raises:
        DataError: a line is not a JSON object.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}{_LEFTOVER}")
    try:
        with beside.open("w", encoding="utf-8") as file:
            for record in read_lines(path):
                if keep(record):
                    file.write(_line(record))
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _line(record: Mapping[str, Any]) -> str:
    return json.dumps(_finite(plain(record)), ensure_ascii=False, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    """JSON has no NaN and no infinity; null is what every reader takes for "no number"."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return value


def read_json(path: Path) -> Record:
    """Read an object.

    Raises:
        DataError: there is none.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise DataError(f"{path}: not valid JSON: {error}") from error
    if not isinstance(record, dict):
        raise DataError(f"{path}: must hold a JSON object")
    return record


def read_lines(path: Path) -> Iterator[Record]:
    """The objects of a JSONL file. A last line without its newline is still being written."""
    if not path.exists():
        return
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith("\n"):
                return
            try:
                record = json.loads(line)
            except ValueError as error:
                raise DataError(f"{path}:{number}: not valid JSON: {error}") from error
            if not isinstance(record, dict):
                raise DataError(f"{path}:{number}: must be a JSON object")
            yield record


def drop_torn_line(path: Path) -> None:
    """Cut what an interrupted write left behind, so that the next line starts on its own."""
    if not path.exists():
        return
    with path.open("rb+") as file:
        end = file.seek(0, os.SEEK_END)
        while end > 0:
            start = max(0, end - _BLOCK)
            file.seek(start)
            newline = file.read(end - start).rfind(b"\n")
            if newline >= 0:
                end = start + newline + 1
                break
            end = start
        file.truncate(end)
