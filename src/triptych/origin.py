"""What a file of results was made from, beside it: so that it is gone on with, or refused by name.

OUT.jsonl                 lines, and nothing else: whatever reads JSONL may read it
OUT.jsonl.settings.json   what they were made from
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from triptych.errors import ConfigError, DataError
from triptych.files import write_text

Origin: TypeAlias = Mapping[str, Any]
"""What results are made from, as plain JSON: settings, data, weights."""

_SHOWN = 3  # differences that an error message lists


def origin_path(path: Path) -> Path:
    """Where it is kept what the lines of a file were made from."""
    return path.with_name(f"{path.name}.settings.json")


def write_origin(path: Path, origin: Origin) -> None:
    """Keep what the lines of a file are made from."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(origin_path(path), json.dumps(origin, indent=2, ensure_ascii=False) + "\n")


def check_origin(path: Path, origin: Origin, *, begun: bool | None = None) -> None:
    """Refuse a file whose lines were made from something else, as far as `origin` goes.

    Args:
        path: the file.
        origin: what its lines should be made from.
        begun: whether there are such lines; by default whether the file holds anything.

    Raises:
        ConfigError: they were, or nothing says what they were made from.
        DataError: what says so cannot be read.
    """
    if begun is None:
        begun = path.exists() and path.stat().st_size > 0
    if not begun:
        return
    way_out = "name another file, or remove this one to start over"
    try:
        before = json.loads(origin_path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(
            f"{path}: exists, and no {origin_path(path).name} beside it says what it was made "
            f"from; {way_out}"
        ) from error
    except ValueError as error:
        raise DataError(f"{origin_path(path)}: not valid JSON: {error}") from error
    known = {name: before.get(name) for name in origin}
    if shown := differences(known, dict(origin)):
        raise ConfigError(f"{path}: was made by other settings or data ({shown}); {way_out}")


def differences(before: Any, now: Any) -> str:
    """What differs between two plain values, by name, the first few; empty if nothing does."""
    found = list(_differences(before, now))
    return ", ".join(found[:_SHOWN]) + (", ..." if len(found) > _SHOWN else "")


def _differences(before: Any, now: Any, name: str = "") -> Iterator[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        for key in {**before, **now}:
            inner = f"{name}.{key}" if name else key
            yield from _differences(before.get(key), now.get(key), inner)
    elif before != now:
        yield f"{name} was {_shorten(before)}, is {_shorten(now)}"


def _shorten(value: Any, limit: int = 40) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= limit else text[: limit - 3] + "..."
