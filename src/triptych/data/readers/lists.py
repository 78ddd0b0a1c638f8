"""Lists of data sets in YAML, as HumanOmniV2 and LLaVA write them::

    datasets:
      - json_path: data_config/emer_rewrite.json
        data_root: videos
        sampling_strategy: end:50%

| sampling_strategy | takes |
|---|---|
| all (or left out) | every record |
| first:N, end:N | the first or last N records |
| random:N | N records by chance, in the order of the file; the seed and the entry decide which |
| N% | in place of a number: that share, rounded up; alone, of the first ones |

Paths are relative to the folder of the list, or else to the working folder. Media lie under
`data_root`, without one beside the file.
"""

import math
import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from triptych.data.readers.base import Row
from triptych.errors import ConfigError, DataError
from triptych.settings import build, load_yaml

_STRATEGY = re.compile(r"(first|end|random):([1-9]\d*)(%?)")


@dataclass(frozen=True)
class Entry:
    """One data set of a list: its file, the folder of its media, which records are taken."""

    json_path: Path
    data_root: Path | None = None
    sampling_strategy: str = "all"


@dataclass(frozen=True)
class _List:
    datasets: tuple[Entry, ...]


@dataclass(frozen=True)
class Sampling:
    """Which records are taken: so many, or so many percent, of the first, the last, or any."""

    which: str
    count: int
    percent: bool

    def of(self, rows: Sequence[Row], seed: str) -> Sequence[Row]:
        """The rows that are taken, in their order."""
        count = math.ceil(self.count * len(rows) / 100) if self.percent else self.count
        count = min(count, len(rows))
        if self.which == "random":
            drawn = random.Random(seed).sample(range(len(rows)), count)
            return [rows[index] for index in sorted(drawn)]
        return rows[len(rows) - count :] if self.which == "end" else rows[:count]


@dataclass(frozen=True)
class Part:
    """An entry, resolved.

    Attributes:
        path: the file.
        name: what ids begin with; no other file of the list has the same.
        folder: of the media; None for that of the file.
        sampling: which records are taken; None for all.
        seed: decides what is drawn by chance.
    """

    path: Path
    name: str
    folder: Path | None
    sampling: Sampling | None
    seed: str

    def chosen(self, rows: Iterator[Row]) -> Iterator[Row]:
        """The rows that are taken."""
        return iter(self.sampling.of(list(rows), self.seed)) if self.sampling else rows


def read_list(path: Path, media_root: Path | None, seed: int) -> list[Part]:
    """Read a list of data sets.

    Args:
        path: the YAML file.
        media_root: folder that every `data_root` is relative to, and the default of it.
        seed: decides what is drawn by chance.

    Raises:
        DataError: the file is no such list, or names a file that is not there. It names the line.
    """
    try:
        tree, labels = load_yaml(path)
        entries = build(_List, tree, labels).datasets
    except ConfigError as error:
        raise DataError(str(error)) from error
    if not entries:
        raise DataError(f"{path}: lists no data sets; add one under 'datasets'")

    def label(index: int, key: str) -> str:
        return labels[("datasets", str(index), key)]

    paths = [
        _located(entry.json_path, path, label(i, "json_path")) for i, entry in enumerate(entries)
    ]
    samplings = [
        None
        if entry.sampling_strategy == "all"
        else _sampling(entry.sampling_strategy, label(i, "sampling_strategy"))
        for i, entry in enumerate(entries)
    ]
    roots = [_root(entry.data_root, path, media_root) for entry in entries]
    names = _names(paths)
    return [
        Part(paths[i], names[i], roots[i], samplings[i], f"{seed}:{i}") for i in range(len(entries))
    ]


def _located(path: Path, of: Path, label: str) -> Path:
    for folder in (of.parent, Path()):
        if (folder / path).exists():
            return folder / path
    raise DataError(
        f"{label}: {path} is neither in the folder of the list nor in the working folder"
    )


def _root(root: Path | None, of: Path, media_root: Path | None) -> Path | None:
    if media_root is not None:
        return media_root / root if root else media_root
    if root is None:
        return None
    found = (folder / root for folder in (of.parent, Path()))
    return next((folder for folder in found if folder.is_dir()), of.parent / root)


def _names(paths: Sequence[Path]) -> list[str]:
    """The stem of each file, with its folder's name before it where two files have one stem."""
    stems = Counter(path.stem for path in set(paths))
    return [
        path.stem if stems[path.stem] == 1 else f"{path.resolve().parent.name}-{path.stem}"
        for path in paths
    ]


def _sampling(strategy: str, label: str) -> Sampling:
    """What a strategy other than "all" means."""
    alone = strategy.endswith("%") and ":" not in strategy
    match = _STRATEGY.fullmatch(f"first:{strategy}" if alone else strategy)
    if match is None or (match[3] and int(match[2]) > 100):
        raise DataError(
            f"{label} is {strategy!r}; use all, first:N, end:N, random:N or N%, "
            "with N% in place of N for a share up to 100%"
        )
    return Sampling(match[1], int(match[2]), match[3] == "%")
