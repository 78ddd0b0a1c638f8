"""Images, videos and sounds as parts of a chat message: JPEG data URLs and WAV files in base64."""

import asyncio
import base64
import hashlib
import io
import os
import wave
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from triptych.data.containers import existing_file
from triptych.data.decoding import DecodeLimits, DecodePool
from triptych.data.media import Audio, MediaBudget, Video
from triptych.data.sample import Media
from triptych.errors import MediaError
from triptych.rewards.judge.config import JudgeConfig
from triptych.rewards.judge.request import Part

_JPEG_QUALITY = 90


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


class MediaShelf:
    """The media of the latest samples as parts: the completions of one sample share them.

    Args:
        config: of the judge.
        pool: decodes; None starts one when it is needed.
        in_thread: awaits a function that takes its time.
    """

    def __init__(
        self,
        config: JudgeConfig,
        pool: DecodePool | None,
        in_thread: Callable[..., Coroutine[Any, Any, list[Part]]],
    ) -> None:
        self._config, self._in_thread = config, in_thread
        self._pool, self._own_pool = pool, pool is None
        self._tasks: OrderedDict[tuple[Media, ...], asyncio.Task[list[Part]]] = OrderedDict()

    async def parts(self, media: Sequence[Media]) -> list[Part]:
        """The parts for these media; see `message_parts`."""
        name = tuple(media)
        if self._pool is None:
            self._pool = DecodePool(DecodeLimits())
        task = self._tasks.get(name)
        if task is None:
            work = self._in_thread(message_parts, media, self._config.media, self._pool)
            task = self._tasks[name] = asyncio.create_task(work)
            while len(self._tasks) > self._config.max_concurrency:
                self._tasks.popitem(last=False)
        return await asyncio.shield(task)

    def close(self) -> None:
        """End the workers that it started."""
        if self._pool and self._own_pool:
            self._pool.close()


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
                parts += [_text(f"Clip {number}: {seconds:.1f} s of sound."), _sound(decoded)]
            case _:
                parts += [_text(f"Clip {number}: an image."), _picture(decoded)]
    return parts


def _video_parts(number: int, video: Video) -> Iterator[Part]:
    times = ", ".join(f"{time:.1f}" for time in video.timestamps.tolist())
    yield _text(f"Clip {number}: a video; its frames at {times} s.")
    for frame in video.frames:
        yield _picture(Image.fromarray(frame))


def _text(text: str) -> Part:
    return {"type": "text", "text": text}


def _picture(image: Image.Image) -> Part:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=_JPEG_QUALITY)
    return {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{_base64(file)}"}}


def _sound(audio: Audio) -> Part:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(audio.rate)
        writer.writeframes(_to_16_bits(audio.samples).tobytes())
    return {"type": "input_audio", "input_audio": {"data": _base64(file), "format": "wav"}}


def _to_16_bits(samples: NDArray[np.float32]) -> NDArray[np.int16]:
    """Samples as whole numbers; a sound louder than they can say is made softer as a whole."""
    loudest = max(1.0, float(np.abs(samples).max(initial=0.0)))
    return (samples / loudest * 32767).round().astype("<i2")


def _base64(file: io.BytesIO) -> str:
    return base64.b64encode(file.getvalue()).decode()
