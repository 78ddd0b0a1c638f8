"""The records of a file: JSONL, one JSON list, or an object with the list under "results"."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from triptych.data.sample import JSON
from triptych.errors import DataError

Record: TypeAlias = Mapping[str, Any]

_RESULTS = re.compile(r'"results"\s*:\s*(?=\[)')
_SPACE = re.compile(r"[ \t\r\n]*")


def read_records(path: Path) -> Iterator[tuple[int, Record]]:
    """The records of a file, each with the line that it begins in.

    Raises:
        DataError: the file cannot be read, or holds something else. The message reads
            ``file:line: cause; way out``.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text ({error}); save it as UTF-8") from error
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}; name a file of predictions") from error
    start = _begin_of_list(text)
    lines = _lines(path, text) if start is None else _items(path, text, start)
    for line, record in lines:
        if not isinstance(record, dict):
            raise DataError(
                f"{path}:{line}: a JSON {type(record).__name__}, not an object; write "
                '{"sample_id": ..., "text": ...}'
            )
        yield line, record


def _begin_of_list(text: str) -> int | None:
    """Where the list begins that holds all records; None where each has a line of its own."""
    first = _end_of_space(text, 0)
    if text.startswith("[", first):
        return first
    try:  # an object over several lines is no line
        JSON.raw_decode(text[first : text.find("\n", first) % (len(text) + 1)])
    except (ValueError, RecursionError):
        found = _RESULTS.search(text)
        return found.end() if found and text.startswith("{", first) else None
    found = _RESULTS.match(text, _end_of_space(text, first + 1))
    return found.end() if found else None


def _lines(path: Path, text: str) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                yield number, JSON.decode(line)
            except (ValueError, RecursionError) as error:
                raise _not_json(f"{path}:{number}", error) from error


def _items(path: Path, text: str, start: int) -> Iterator[tuple[int, Any]]:
    """The items of a JSON list."""
    line, counted = 1, 0
    position = _end_of_space(text, start + 1)
    while not text.startswith("]", position):
        line, counted = line + text.count("\n", counted, position), position
        where = f"{path}:{line}"
        try:
            item, position = JSON.raw_decode(text, position)
        except (ValueError, RecursionError) as error:
            raise _not_json(where, error) from error
        yield line, item
        position = _end_of_space(text, position)
        if text.startswith(",", position):
            position = _end_of_space(text, position + 1)
        elif not text.startswith("]", position):
            line += text.count("\n", counted, position)
            raise DataError(f"{path}:{line}: the list ends here without its ]; write it whole")


def _end_of_space(text: str, start: int) -> int:
    found = _SPACE.match(text, start)
    return found.end() if found else start


def _not_json(where: str, error: Exception) -> DataError:
    return DataError(f"{where}: not JSON that can be read ({error}); write the record whole")
