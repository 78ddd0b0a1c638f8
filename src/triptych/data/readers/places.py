"""Where the media of a record lie, and what a prompt can take from them."""

import hashlib
import mimetypes
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from triptych.data.detect import detect
from triptych.data.readers.base import RecordError
from triptych.data.sample import MediaKind
from triptych.errors import MediaError

_ADDRESSES = ("http:", "https:", "ftp:", "data:", "s3:", "gs:", "hdfs:")

Item = dict[str, Any]
"""The fields of a `Media`, not yet validated."""


def _exists(path: Path) -> bool:
    """Whether there is something; false, too, for what cannot be a path, such as a whole text."""
    return os.path.exists(path)


class MediaFolder:
    """Finds the media files of records whose paths are relative to `base`.

    Each path is looked for once, and each file opened at most once. What a table holds in its cells
    is saved in `save_to`, under names made from the content.
    """

    def __init__(self, base: Path, save_to: Path | None = None) -> None:
        self.base, self._save_to = base, save_to
        self._found: dict[tuple[str, ...], Path] = {}
        self._kinds: dict[Path, tuple[MediaKind, ...] | None] = {}

    def absolute(self, path: str) -> Path:
        """The absolute path of `path`, whether or not there is a file."""
        if (found := self._found.get((path,))) is None:
            found = self._found[path,] = Path(os.path.abspath(self.base / path))
        return found

    def find(self, *paths: str) -> Path:
        """The first of several paths at which there is a file; failing that, the first."""
        if (found := self._found.get((*paths, "?"))) is None:
            candidates = [self.absolute(path) for path in paths]
            found = next((path for path in candidates if _exists(path)), candidates[0])
            self._found[*paths, "?"] = found
        return found

    def place(self, value: Any, field: str) -> Path:
        """The file that a field names, directly or under "videos".

        Raises:
            RecordError: the field holds no path, or the address of something elsewhere.
        """
        if isinstance(value, dict) and value.keys() <= {"path", "bytes"}:
            value = self._stored(value, field)
        if not isinstance(value, str) or not value.strip():
            raise RecordError(field, f"not the path of a file (found {value!r:.80})")
        path = value.strip().removeprefix("file://")
        if path.lower().startswith(_ADDRESSES):
            raise RecordError(field, f"{path!r:.80} lies elsewhere; download it, name the file")
        return self.find(path, os.path.join("videos", path))

    def _stored(self, value: dict[str, Any], field: str) -> Any:
        """The path of a file that stands in a cell of a table, with its content or without."""
        path, content = value.get("path"), value.get("bytes")
        if content is None:
            return path
        if self._save_to is None or not isinstance(content, bytes):
            raise RecordError(
                field,
                "the table holds the file itself; triptych data convert --save-media DIR saves it",
            )
        ending = Path(path).suffix if isinstance(path, str) else ""
        saved = self._save_to / f"{hashlib.sha256(content).hexdigest()[:20]}{ending}"
        if not saved.exists():
            self._save_to.mkdir(parents=True, exist_ok=True)
            partial = saved.with_name(f".{saved.name}.{os.getpid()}.partial")
            partial.write_bytes(content)
            partial.replace(saved)
        return os.path.abspath(saved)

    def kinds(self, path: Path) -> tuple[MediaKind, ...] | None:
        """What a file holds; None where there is none, or none that can be opened."""
        if path not in self._kinds:
            try:
                self._kinds[path] = detect(path) if _exists(path) else None
            except MediaError:
                self._kinds[path] = None
        return self._kinds[path]

    def film(self, path: Path, sound: Path | None = None) -> list[Item]:
        """A video and its sound; without the sound where the file is there and silent.

        What is missing or broken is taken for whole: decoding will name it.

        Args:
            path: the video.
            sound: where its sound stands as a file of its own, if that is there.
        """
        video = {"kind": MediaKind.VIDEO, "path": path}
        if sound is not None and _exists(sound):
            return [video, {"kind": MediaKind.AUDIO, "path": sound}]
        kinds = self.kinds(path)
        if kinds is not None and MediaKind.AUDIO not in kinds:
            return [video]
        return [video, {"kind": MediaKind.AUDIO, "path": path}]

    def items(self, value: Any, kind: str | None, field: str, *, with_sound: bool) -> list[Item]:
        """The media that a path, or a list of paths, stands for.

        Args:
            value: what the field holds.
            kind: what the record says of it: image, video or audio. None where it says nothing;
                then the file is looked at, or else its name.
            field: its name.
            with_sound: a video is heard as well as seen.

        Raises:
            RecordError: it is no path, the kind is unknown, or cannot be told.
        """
        if isinstance(value, list):
            found = [self.items(one, kind, field, with_sound=with_sound) for one in value]
            return [item for items in found for item in items]
        path = self.place(value, field)
        if (told := self._told(path, kind, field)) is MediaKind.VIDEO and with_sound:
            return self.film(path)
        return [{"kind": told, "path": path}]

    def _told(self, path: Path, kind: str | None, field: str) -> MediaKind:
        if kind is not None:
            try:
                return MediaKind(kind.strip().lower())
            except ValueError as error:
                known = ", ".join(MediaKind)
                raise RecordError("data_type", f"{kind!r:.80} is none of {known}") from error
        guess = (mimetypes.guess_type(path.name)[0] or "").partition("/")[0]
        kinds: Sequence[str] = self.kinds(path) or (guess,)
        if kinds[0] not in tuple(MediaKind):
            raise RecordError(field, f"{path} is not there to tell what it is; say it in data_type")
        return MediaKind(kinds[0])
