"""The media files of samples: whether they are there, which hold the same, which decode."""

import hashlib
import os
import stat
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from PIL import Image

from triptych.data.check.findings import Finding, Kind
from triptych.data.decode_worker import Decoded
from triptych.data.sample import Media, Sample
from triptych.errors import MediaError

Decode: TypeAlias = Callable[[Sequence[Media]], Iterable[Decoded | MediaError]]
"""Decodes media items; gives each in order, or why it cannot be decoded."""


@dataclass(frozen=True, slots=True)
class _File:
    """A file behind its names: links to one file are equal. A changed file is another one."""

    device: int
    inode: int
    size: int
    mtime_ns: int


class MediaFiles:
    """What is found out about media files. Each is looked for, hashed and decoded once at most.

    Args:
        jobs: threads that read files for what they hold.
        decode: decodes media; without it nothing is decoded.
    """

    def __init__(self, jobs: int = 1, decode: Decode | None = None) -> None:
        self._jobs, self._decode = jobs, decode
        self._states: dict[Path, _File | str] = {}
        self._digests: dict[_File, str] = {}
        self._decoded: dict[Media, list[tuple[Kind, str]]] = {}

    @property
    def num_hashed(self) -> int:
        return len(self._digests)

    def fault(self, path: Path) -> str | None:
        """Why there is nothing to decode at `path`; None when there is something."""
        state = self._state(path)
        return state if isinstance(state, str) else None

    def identities(self, paths: Iterable[Path]) -> dict[Path, str]:
        """A name for what each file holds, equal for equal contents.

        Only files that are as long as another one are read. Where there is no file, its path is
        the name.
        """
        states = {path: self._state(path) for path in paths}
        files = {state: path for path, state in states.items() if isinstance(state, _File)}
        sizes = Counter(file.size for file in files)
        self._hash({f: path for f, path in files.items() if sizes[f.size] > 1})
        return {
            path: self._digests.get(state, f"{state.size} bytes")
            if isinstance(state, _File)
            else str(path)
            for path, state in states.items()
        }

    def decoded(self, items: Iterable[Media]) -> dict[Media, list[tuple[Kind, str]]]:
        """What decoding finds wrong with each item of which there is a file, or cuts of it."""
        if self._decode is None:
            return {}
        there = [item for item in dict.fromkeys(items) if self.fault(item.path) is None]
        new = [item for item in there if item not in self._decoded]
        for item, outcome in zip(new, self._decode(new), strict=True):
            self._decoded[item] = _faults(outcome)
        return {item: self._decoded[item] for item in there}

    def _hash(self, files: Mapping[_File, Path]) -> None:
        new = {file: path for file, path in files.items() if file not in self._digests}
        with ThreadPoolExecutor(self._jobs) as pool:
            self._digests.update(zip(new, pool.map(_digest, new.values()), strict=True))

    def _state(self, path: Path) -> _File | str:
        if path not in self._states:
            self._states[path] = _look_at(path)
        return self._states[path]


def _look_at(path: Path) -> _File | str:
    try:
        found = path.stat()
    except OSError as error:
        return "no such file" if isinstance(error, FileNotFoundError) else str(error.strerror)
    if not stat.S_ISREG(found.st_mode):
        return "not a file"
    if found.st_size == 0:
        return "the file is empty"
    if not os.access(path, os.R_OK):
        return "may not be read"
    return _File(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_files(samples: Sequence[Sample], files: MediaFiles) -> Iterator[Finding]:
    """Media of which there is no file, or an empty one."""
    for number, sample in enumerate(samples):
        for path in dict.fromkeys(item.path for item in sample.media):
            if fault := files.fault(path):
                yield Finding(Kind.MEDIA_MISSING, sample.id, f"{path}: {fault}", number)


def check_copies(samples: Sequence[Sample], identities: Mapping[Path, str]) -> Iterator[Finding]:
    """Contents that stand under several names."""
    names: dict[str, list[Path]] = defaultdict(list)
    for path in dict.fromkeys(item.path for sample in samples for item in sample.media):
        names[identities[path]].append(path)
    for paths in names.values():
        if len(paths) > 1:
            detail = f"the same as {paths[0]}" + (
                f", with {len(paths) - 2} more" if len(paths) > 2 else ""
            )
            yield Finding(Kind.COPIED_MEDIA, str(paths[1]), detail)


def check_decoding(samples: Sequence[Sample], files: MediaFiles) -> Iterator[Finding]:
    """What cannot be decoded, and what the budget cuts."""
    faults = files.decoded(item for sample in samples for item in sample.media)
    for number, sample in enumerate(samples):
        for item in dict.fromkeys(sample.media):
            for kind, detail in faults.get(item, ()):
                yield Finding(kind, sample.id, f"{item.kind}: {detail}", number, item)


def _faults(outcome: Decoded | MediaError) -> list[tuple[Kind, str]]:
    if isinstance(outcome, MediaError):
        silent = str(outcome).endswith("has no audio stream")
        kind = Kind.MEDIA_WITHOUT_AUDIO if silent else Kind.MEDIA_UNDECODABLE
        return [(kind, str(outcome))]
    notices = outcome.info["notices"] if isinstance(outcome, Image.Image) else outcome.notices
    return [(Kind.MEDIA_CUT, notice) for notice in notices]
