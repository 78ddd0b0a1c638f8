"""Media features on disk: what decoders and processors made of media files, kept for later runs.

One file per entry in one folder, tensors and texts as safetensors. An entry is named by the
*content* of its media files and by the recipe that was applied to them, so it can be missing but
not out of date, wherever the files are moved.

Several processes may share a folder. An entry is written beside its place, synced and renamed;
when it is read, a checksum over all that it holds is compared. A process may be killed at any
moment, and a disk may rot: what is not whole is removed and made again, never served.
"""

import hashlib
import itertools
import json
import logging
import os
import re
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import safetensors.torch
import torch
from torch import Tensor

from triptych.data.containers import existing_file
from triptych.data.sample import Media
from triptych.errors import MediaError

_log = logging.getLogger(__name__)

_ENTRY, _DIGEST, _PARTIAL = ".safetensors", ".sha256", ".partial"
_TEXTS, _CHECKSUM = "texts", "crc32"
_SLACKS = 16  # of which `max_bytes` consists
_ABANDONED = 3600.0  # seconds after which a file that is still being written has lost its writer


@dataclass(frozen=True)
class Entry:
    """What is kept of the media of a prompt.

    Attributes:
        tensors: by name.
        texts: whatever else there is to say, by name.
    """

    tensors: Mapping[str, Tensor]
    texts: Mapping[str, str] = field(default_factory=dict)


class FeatureCache:
    """A folder of entries.

    Nothing here stops a run: a folder that cannot be used is told once, and the run does without.
    With `embeddings`, what frozen towers make of media features is kept in their place.
    """

    def __init__(self, folder: Path, max_bytes: int, *, embeddings: bool = False) -> None:
        self.folder, self.max_bytes, self.embeddings = Path(folder), max_bytes, embeddings
        self._slack = max_bytes // _SLACKS
        self._unseen = self._slack  # bytes written since the last look at the folder: look first
        self._gives_up = False
        self._told: set[str] = set()
        self._digests: dict[str, str] = {}
        self._numbers = itertools.count()

    def key(self, media: Sequence[Media], recipe: str) -> str:
        """The name of the entry for these media.

        Args:
            media: their files are read, once as long as their size and time stay the same.
            recipe: names everything else that decides about the features.

        Raises:
            MediaError: a file is missing or cannot be read.
        """
        parts = [[str(m.kind), self._digest(m.path), m.start, m.end] for m in media]
        return _hash(json.dumps([recipe, parts]).encode())

    def get(self, key: str) -> Entry | None:
        """The entry, or None where there is none that is whole."""
        path = self._path(key)
        data = self._read(path)
        if data is None:
            return None
        try:
            return _unpack(data)
        except ValueError as error:
            _log.warning("%s: is damaged (%s); removed, to be made again", path, error)
            with suppress(OSError):
                path.unlink()
            return None

    def __contains__(self, key: str) -> bool:
        """Whether there is an entry, which may turn out to be damaged."""
        return self._path(key).exists()

    def put(self, key: str, entry: Entry) -> None:
        """Keep an entry, as far as there is room or room can be made."""
        self._write(self._path(key), _pack(entry))

    def _digest(self, path: Path) -> str:
        """SHA-256 of a file's content."""
        path = existing_file(path)
        state = path.stat()
        seen = f"{os.path.abspath(path)} {state.st_size} {state.st_mtime_ns}"
        if seen not in self._digests:
            kept = self.folder / f"{_hash(os.fsencode(seen))}{_DIGEST}"
            digest = (self._read(kept) or b"").decode("ascii", "replace")
            if not re.fullmatch("[0-9a-f]{64}", digest):
                digest = _hash_file(path)
                self._write(kept, digest.encode())
            self._digests[seen] = digest
        return self._digests[seen]

    # --- files -------------------------------------------------------------------------------

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}{_ENTRY}"

    def _read(self, path: Path) -> bytes | None:
        try:
            data = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            self._tell(f"{self.folder}: cannot be read ({error.strerror}); the run does without")
            return None
        with suppress(OSError):  # the folder may be someone else's, to be read only
            os.utime(path)
        return data

    def _write(self, path: Path, data: bytes) -> None:
        """Write beside the place, sync, and rename: a reader never meets half a file."""
        if self._gives_up:
            return
        partial = self.folder / f".{path.name}.{os.getpid()}.{next(self._numbers)}{_PARTIAL}"
        try:
            if not self._make_room(len(data)):
                return
            try:
                with partial.open("wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                partial.replace(path)
            finally:
                partial.unlink(missing_ok=True)
        except OSError as error:
            self._gives_up = True  # else every entry would be tried, to the last byte of the disk
            self._tell(
                f"{self.folder}: cannot be written ({error.strerror}); media features are not "
                "kept from now on"
            )
        else:
            self._unseen += len(data)

    def _make_room(self, size: int) -> bool:
        """Remove what was not used for longest; False where that would not do.

        A writer looks at the folder when it would have written a slack since. Several writers
        may be over `max_bytes` by a slack each.
        """
        if size > self.max_bytes:
            self._tell(f"{self.folder}: {size} bytes of one prompt are more than cache.max_gib")
            return False
        if self._unseen + size <= self._slack:
            return True
        self.folder.mkdir(parents=True, exist_ok=True)
        files = sorted(self._files(), key=lambda file: file.used)
        used = sum(file.size for file in files)
        for file in files:
            if used <= self.max_bytes - max(size, self._slack):
                break
            self._tell(f"{self.folder}: is full; what was not used for longest makes room")
            file.path.unlink(missing_ok=True)
            used -= file.size
        self._unseen = 0
        return True

    def _files(self) -> Iterator["_File"]:
        """What is kept; what others left half written is removed."""
        for item in os.scandir(self.folder):
            with suppress(FileNotFoundError):  # another process makes room, too
                state = item.stat()
                if item.name.endswith((_ENTRY, _DIGEST)):
                    yield _File(Path(item.path), state.st_size, state.st_mtime_ns)
                elif item.name.endswith(_PARTIAL) and time.time() - state.st_mtime > _ABANDONED:
                    os.unlink(item.path)

    def _tell(self, message: str) -> None:
        if message not in self._told:
            self._told.add(message)
            _log.warning("%s", message)


class _File(NamedTuple):
    path: Path
    size: int
    used: int


def _pack(entry: Entry) -> bytes:
    tensors = {name: tensor.contiguous() for name, tensor in entry.tensors.items()}
    metadata = {_TEXTS: json.dumps(entry.texts), _CHECKSUM: str(_checksum(entry))}
    return safetensors.torch.save(tensors, metadata)


def _unpack(data: bytes) -> Entry:
    """The entry that `data` holds; ValueError says what is wrong with it."""
    try:
        tensors = safetensors.torch.load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        metadata = header["__metadata__"]
        entry = Entry(tensors, json.loads(metadata[_TEXTS]))
    except Exception as error:  # a damaged header may lead anywhere
        raise ValueError("not in the form of safetensors") from error
    if metadata.get(_CHECKSUM) != str(_checksum(entry)):
        raise ValueError("its checksum differs")
    return entry


def _checksum(entry: Entry) -> int:
    """CRC-32 over all that an entry holds. It guards against accidents, not against malice."""
    checksum = zlib.crc32(json.dumps(entry.texts, sort_keys=True).encode())
    for name, tensor in sorted(entry.tensors.items()):
        title = f"{name} {tensor.dtype} {tuple(tensor.shape)}"
        checksum = zlib.crc32(title.encode(), checksum)
        values = tensor.contiguous().flatten().view(torch.uint8)
        checksum = zlib.crc32(values.numpy().data, checksum)
    return checksum


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _hash_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise MediaError(f"{path}: cannot be read: {error.strerror}") from error
