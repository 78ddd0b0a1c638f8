"""How records are stored, told from the content: JSONL, JSON, CSV, Parquet, Hugging Face data sets.

A store yields rows; what a row that cannot be read says instead is why.
"""

import csv
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from triptych.data.readers.base import RecordError, Row
from triptych.data.readers.tables import hub_rows, is_hub, parquet_rows, saved_rows
from triptych.data.sample import JSON, check_unicode, parse_object
from triptych.errors import DataError

_HEAD = 1 << 16
_LONGEST_CELL = 1 << 27
_MARK = b"\xef\xbb\xbf"  # may open a file in UTF-8
_NO_SPACE = re.compile(r"[^ \t\n\r]")
_COLUMN = re.compile(r"[\w .-]*(?:question|problem|query|answer|solution)[\w .-]*", re.IGNORECASE)


@dataclass(frozen=True)
class Store:
    """Records in their order.

    Attributes:
        kind: how they are stored, as the subject of "... whose records have".
        rows: to be gone through once.
        folder: the folder that their media paths are relative to.
    """

    kind: str
    rows: Iterator[Row]
    folder: Path


def open_store(path: Path, name: str | None = None) -> Store:
    """Open whatever stands at `path`.

    Args:
        path: a file, a folder saved by `datasets`, or "hf:NAME:SPLIT".
        name: what the ids of records without one begin with; by default the file's stem.

    Raises:
        DataError: nothing can be read there; or, while the rows are gone through, nothing more.
    """
    if is_hub(path):
        return Store("a data set on the hub", hub_rows(path), Path.cwd())
    name = name or path.stem
    if path.is_dir():
        return Store("a folder of datasets", saved_rows(path, name), path)
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}; name a readable file") from error
    if head.startswith(b"PAR1"):
        return Store("a Parquet file", parquet_rows(path, name), path.parent)
    if not head.strip() or head.startswith((b"\xff\xfe", b"\xfe\xff")):
        cause = "not UTF-8 text; save it as UTF-8" if head.strip() else "holds no samples"
        raise DataError(f"{path}: {cause}; write one JSON object a line")
    text = head.decode("utf-8-sig", errors="replace").lstrip()
    if text.startswith(("[", "{")):
        return _open_json(path, name)
    if (delimiter := _delimiter(path, text)) is not None:
        kind = "a table with tabs" if delimiter == "\t" else "a CSV table"
        return Store(kind, _csv_rows(path, name, delimiter), path.parent)
    return Store("a JSONL file", _jsonl_rows(path, name), path.parent)


def _delimiter(path: Path, text: str) -> str | None:
    """What stands between the columns of a table; None where the text looks like none."""
    header = text.split("\n", 1)[0]
    delimiter = "\t" if "\t" in header else ","
    if path.suffix.lower() in (".csv", ".tsv"):
        return delimiter
    names = [name.strip().strip('"') for name in header.split(delimiter)]
    return delimiter if len(names) > 1 and any(map(_COLUMN.fullmatch, names)) else None


# --- JSON ----------------------------------------------------------------------------------------


def _open_json(path: Path, name: str) -> Store:
    """An array, objects one a line, or one object: of records by name, or one record."""
    lines = Store("a JSONL file", _jsonl_rows(path, name), path.parent)
    with path.open("rb") as file:
        first = next(line for line in file if line.removeprefix(_MARK).strip())
        several = any(line.strip() for line in file)
    if first.removeprefix(_MARK).lstrip().startswith(b"["):
        return Store("a JSON array", _array_rows(path, name), path.parent)
    if several and _is_object(first):
        return lines
    try:
        document = JSON.decode(text := _text(path))
        check_unicode(document, text)
    except (ValueError, RecursionError) as error:
        if first.removeprefix(_MARK).strip() == b"{":
            raise DataError(f"{path}: not JSON ({error}); is the file whole?") from error
        return lines
    if all(isinstance(one, dict) for one in document.values()):
        return Store("a JSON object", _object_rows(document, path), path.parent)
    one = Row(str(path), name, document)
    return Store("a JSON record", iter([one]), path.parent) if several else lines


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(JSON.decode(line.decode("utf-8-sig")), dict)
    except (ValueError, RecursionError):
        return False


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text ({error}); save it as UTF-8") from error


def _jsonl_rows(path: Path, name: str) -> Iterator[Row]:
    with path.open("rb") as file:  # a line ends at "\n" alone, as JSONL has it
        for number, line in enumerate(file, start=1):
            if not line.removeprefix(_MARK).strip():
                continue
            record: Mapping[str, Any] | RecordError
            try:
                record = parse_object(line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip())
            except UnicodeDecodeError as error:
                record = RecordError("record", f"not UTF-8 text ({error}); save it as UTF-8")
            except ValueError as error:
                record = RecordError("record", str(error))
            yield Row(f"{path}:{number}", f"{name}-{number}", record)


def _array_rows(path: Path, name: str) -> Iterator[Row]:
    """The items of an array, up to where it is broken."""
    text = _text(path)
    position, index = _skip(text, text.index("[") + 1), 0
    while text[position : position + 1] != "]":
        where, own_name = f"{path}[{index}]", f"{name}-{index}"
        try:
            value, end = _item(text, position)
            position = _skip(text, end)
            if text[position : position + 1] not in (",", "]"):
                raise json.JSONDecodeError("Expecting ',' delimiter", text, position)
        except (ValueError, RecursionError) as error:
            cause = f"not JSON ({error}); neither it nor what follows is read"
            yield Row(where, own_name, RecordError("record", cause))
            return
        if text[position] == ",":
            position = _skip(text, position + 1)
        yield _row(where, own_name, value)
        index += 1
    if behind := text[position + 1 :].strip():
        cause = f"not read, since it stands behind the end of the array ({behind!r:.80})"
        yield Row(f"{path}[{index}]", f"{name}-{index}", RecordError("record", cause))


def _item(text: str, start: int) -> tuple[Any, int]:
    """The value that begins at `start`, or why it is not to be used, and where it ends."""
    try:
        value, end = JSON.raw_decode(text, start)
    except json.JSONDecodeError:
        raise
    except ValueError as error:  # it holds NaN, of which Python knows the end
        return RecordError("record", str(error)), json.JSONDecoder().raw_decode(text, start)[1]
    try:
        check_unicode(value, text, start, end)
    except ValueError as error:
        value = RecordError("record", str(error))
    return value, end


def _skip(text: str, position: int) -> int:
    """The next position that is no white space."""
    found = _NO_SPACE.search(text, position)
    return found.start() if found else len(text)


def _object_rows(document: dict[str, Any], path: Path) -> Iterator[Row]:
    for key, record in document.items():
        yield _row(f"{path}[{key}]", key, record)


def _row(where: str, name: str, value: Any) -> Row:
    if isinstance(value, dict | RecordError):
        return Row(where, name, value)
    kind = type(value).__name__
    return Row(where, name, RecordError("record", f"a JSON {kind}, not an object; write objects"))


# --- tables of text ------------------------------------------------------------------------------


def _csv_rows(path: Path, name: str, delimiter: str) -> Iterator[Row]:
    """Rows of a table with a header. Empty cells are absent."""
    csv.field_size_limit(_LONGEST_CELL)  # the default of 128 KiB cuts long references
    header: list[str] | None = None
    number = 1
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        try:
            for cells in reader:
                if header is None:
                    header = _header(path, cells)
                elif cells:
                    yield Row(f"{path}:{number}", f"{name}-{number}", _cells(header, cells))
                number = reader.line_num + 1
        except (csv.Error, UnicodeDecodeError) as error:
            cause = f"not a row of a table in UTF-8 ({error}); neither it nor what follows is read"
            yield Row(f"{path}:{number}", f"{name}-{number}", RecordError("record", cause))


def _header(path: Path, cells: list[str]) -> list[str]:
    names = [cell.strip() for cell in cells]
    if repeated := [name for name in names if names.count(name) > 1]:
        raise DataError(f"{path}: two columns are named {repeated[0]!r}; rename one")
    return names


def _cells(header: list[str], cells: list[str]) -> Mapping[str, Any] | RecordError:
    if len(cells) > len(header):
        return RecordError(
            "record", f"{len(cells)} cells in {len(header)} columns; quote cells with commas"
        )
    pairs = zip(header, cells, strict=False)
    return {column: cell for column, cell in pairs if cell.strip()}
