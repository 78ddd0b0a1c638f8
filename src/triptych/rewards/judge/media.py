"""What a judge is shown: each clip after a line that says what it is; and digests."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from triptych.data.containers import existing_file
from triptych.data.decoding import DecodePool
from triptych.data.media import Audio, MediaBudget, Video
from triptych.data.sample import Media
from triptych.endpoint.chat import Part, text_part
from triptych.endpoint.media import frame_part, picture_part, sound_part
from triptych.errors import MediaError


def digest(path: Path) -> str:
    """SHA-256 of a file's content, computed once as long as its size and time stay the same.

    Raises:
        MediaError: the file is missing or cannot be read.
    """
    path = existing_file(path)
    state = path.stat()
    return _digest(os.path.abspath(path), state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=100_000)
def _digest(path: str, _size: int, _modified: int) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise MediaError(f"{path}: cannot be read: {error.strerror}") from error


def message_parts(media: Sequence[Media], budget: MediaBudget, pool: DecodePool) -> list[Part]:
    """The media of a sample as parts of a message, each after a line that says what it is.

    Raises:
        MediaError: one of them cannot be decoded, in time and memory.
    """
    parts: list[Part] = []
    for number, decoded in enumerate(pool.decode(media, budget), start=1):
        match decoded:
            case Video():
                parts += _video_parts(number, decoded)
            case Audio():
                seconds = len(decoded.samples) / decoded.rate
                parts += [
                    text_part(f"Clip {number}: {seconds:.1f} s of sound."),
                    sound_part(decoded),
                ]
            case _:
                parts += [text_part(f"Clip {number}: an image."), picture_part(decoded)]
    return parts


def _video_parts(number: int, video: Video) -> Iterator[Part]:
    times = ", ".join(f"{time:.1f}" for time in video.timestamps.tolist())
    yield text_part(f"Clip {number}: a video; its frames at {times} s.")
    for frame in video.frames:
        yield frame_part(frame)
