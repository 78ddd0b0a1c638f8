"""What a rollout's media look and sound like, small enough to live inside the page."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup
from PIL import Image

from triptych.data.media import (
    Audio,
    MediaBudget,
    Video,
    decode_audio,
    decode_image,
    decode_video,
)
from triptych.errors import MediaError
from triptych.report.charts import waveform

# Eight thumbnails spread over the clip; a report need not decode an hour of film.
_BUDGET = MediaBudget(fps=8.0, max_frames=8, max_pixels=192 * 144, max_seconds=120.0)
_AUDIO_SUFFIXES = frozenset({".wav", ".mp3", ".flac", ".m4a", ".ogg", ".opus", ".aac"})
_IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"})


@dataclass(frozen=True)
class Frame:
    """One picture as a data URI; ``time`` in seconds, None for a still image."""

    uri: str
    time: float | None


@dataclass(frozen=True)
class Wave:
    """A drawn waveform between two times in seconds; ``whole`` unless the sound goes on."""

    chart: Markup
    start: float
    end: float
    whole: bool


@dataclass(frozen=True)
class Preview:
    """The frames and the waveform of one media file, or why there are none."""

    name: str
    frames: tuple[Frame, ...] = ()
    wave: Wave | None = None
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class _File:
    path: Path
    start: float | None
    end: float | None
    kinds: frozenset[str]


class Previewer:
    """Makes previews, each file once.

    Media paths that are not absolute are taken from the run folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: dict[_File, Preview] = {}

    def of(self, media: Any) -> tuple[Preview, ...]:
        """Previews of a record's ``media``: a list of paths or of ``{kind, path, start, end}``.

        A file listed twice, once as video and once as audio, gives one preview with both.
        """
        previews = []
        for file in _files(media, self._folder):
            if file not in self._made:
                self._made[file] = _preview(file)
            previews.append(self._made[file])
        return tuple(previews)


def _files(media: Any, folder: Path) -> list[_File]:
    kinds: dict[tuple[Path, float | None, float | None], set[str]] = {}
    for item in media if isinstance(media, list | tuple) else [media] if media else []:
        entry = item if isinstance(item, dict) else {"path": item}
        path = folder / str(entry.get("path", ""))
        kind = str(entry.get("kind") or _kind_of(path))
        place = (path, entry.get("start"), entry.get("end"))
        kinds.setdefault(place, set()).add(kind)
    return [_File(*place, frozenset(found)) for place, found in kinds.items()]


def _kind_of(path: Path) -> str:
    """A path alone does not tell the kind; "av" is a video whose audio, if any, is shown too."""
    suffix = path.suffix.lower()
    if suffix in _AUDIO_SUFFIXES:
        return "audio"
    return "image" if suffix in _IMAGE_SUFFIXES else "av"


def _preview(file: _File) -> Preview:
    frames: tuple[Frame, ...] = ()
    wave: Wave | None = None
    problems: list[str] = []
    if not file.path.is_file():
        return Preview(file.path.name, problems=("the file is no longer there",))
    try:
        if "image" in file.kinds:
            frames = (Frame(_data_uri(decode_image(file.path, _BUDGET)), None),)
        elif file.kinds & {"video", "av"}:
            frames = _frames(decode_video(file.path, _BUDGET, file.start, file.end))
    except MediaError as error:
        problems.append(_without_folder(error, file.path))
    try:
        if file.kinds & {"audio", "av"}:
            audio = decode_audio(file.path, _BUDGET, file.start, file.end)
            wave = _wave(audio, file.start or 0.0)
    except MediaError as error:
        # A video that is listed by its path alone may well be silent.
        if "audio" in file.kinds:
            problems.append(_without_folder(error, file.path))
    return Preview(file.path.name, frames, wave, tuple(problems))


def _frames(video: Video) -> tuple[Frame, ...]:
    pictures = zip(video.frames, video.timestamps, strict=True)
    return tuple(Frame(_data_uri(Image.fromarray(rgb)), float(time)) for rgb, time in pictures)


def _wave(audio: Audio, start: float) -> Wave:
    seconds = len(audio.samples) / audio.rate
    # The decoder stops at the budget to the sample; say so rather than show a part as the whole.
    whole = seconds < _BUDGET.max_seconds
    return Wave(waveform(audio.samples), start, start + seconds, whole)


def _data_uri(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, format="JPEG", quality=82)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _without_folder(error: MediaError, path: Path) -> str:
    """A report is passed on; the folders of the machine that made it need not be."""
    return str(error).replace(f"{path.parent}/", "")


def spread(count: int, wanted: int) -> Sequence[int]:
    """``wanted`` indices at equal distances over ``range(count)``, all of them if fewer."""
    if count <= wanted:
        return range(count)
    return [int((index + 0.5) * count / wanted) for index in range(wanted)]
