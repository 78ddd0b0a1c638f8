"""Decode images, video and sound within a budget.

A file that cannot be decoded is an error that names it and the cause; it is never replaced by
blank frames or silence. What the budget cuts is said in `notices`, one sentence each.

Shapes: T frames, H height, W width, N sound samples.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from triptych.data.containers import (
    audio_stream,
    check_whole,
    clock_start,
    existing_file,
    is_format,
    opened,
    stated_end,
    time_base,
    video_stream,
)
from triptych.errors import ConfigError, MediaError

SAMPLE_RATE = 16_000
"""What audio encoders of the Whisper family expect."""

_TIME_TOLERANCE = 1e-3  # seconds; Matroska rounds its timestamps to this
_PADDING = 0.1  # seconds of sound beyond the stated end that are an encoder's padding
_SEEK_FROM = 2.0  # seconds; below, decoding from the start is as fast
_INDEXED = ("mp4", "matroska")  # transport streams land behind the keyframe that they should hit


@dataclass(frozen=True)
class MediaBudget:
    """How much of a media item is decoded.

    Attributes:
        fps: video frames taken per second. Two suit people in conversation.
        max_frames: most frames of one video; a longer one is sampled more thinly over its whole
            length.
        max_pixels: most pixels of one frame or image. Larger ones are scaled down, aspect kept.
            The default is 768 merged patches of 28 x 28, as in Qwen's video recipes.
        max_seconds: most seconds of one video or sound. Of a longer one the beginning is taken,
            of video and sound alike, so that both speak of the same stretch of time.
    """

    fps: float = 2.0
    max_frames: int = 32
    max_pixels: int = 768 * 28 * 28
    max_seconds: float = 120.0

    def __post_init__(self) -> None:
        for name in ("fps", "max_seconds"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise ConfigError(f"media.{name} is {getattr(self, name)}; use a number above 0")
        for name in ("max_frames", "max_pixels"):
            if getattr(self, name) < 1:
                raise ConfigError(f"media.{name} is {getattr(self, name)}; use 1 or more")


@dataclass(frozen=True, eq=False)
class Video:
    """Sampled frames.

    Attributes:
        frames: uint8 (T, H, W, 3), RGB.
        fps: rate of the sampled frames, T / duration.
        timestamps: float64 (T,), seconds from the beginning of the file.
        duration: seconds of video that the frames are spread over.
        notices: what the budget cut.
    """

    frames: NDArray[np.uint8]
    fps: float
    timestamps: NDArray[np.float64]
    duration: float
    notices: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Audio:
    """A sound: `samples` float32 (N,), mono, in [-1, 1] or a little beyond; `rate` in Hz."""

    samples: NDArray[np.float32]
    rate: int = SAMPLE_RATE
    notices: tuple[str, ...] = ()


def decode_image(path: Path, budget: MediaBudget) -> Image.Image:
    """Decode an image to upright RGB, transparency over white.

    ``image.info["notices"]`` holds what the budget cut.

    Raises:
        MediaError: the file is missing, no image, or broken.
    """
    path = existing_file(path)
    try:
        with Image.open(path) as stored:
            # Phones store pictures sideways, with the rotation beside them.
            image = _to_rgb(ImageOps.exif_transpose(stored))
    except UnidentifiedImageError as error:
        raise MediaError(f"{path}: is no image that can be decoded") from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise MediaError(f"{path}: image cannot be decoded ({error})") from error
    width, height = _fit(image.width, image.height, budget.max_pixels)
    notices = _resize_notice(path, (image.width, image.height), (width, height))
    if notices:
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    image.info = {"notices": notices}
    return image


def _to_rgb(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")


def decode_video(
    path: Path, budget: MediaBudget, start: float | None = None, end: float | None = None
) -> Video:
    """Sample frames evenly by time between `start` and `end` seconds (default: all of it).

    The k-th of T frames is the one on screen at ``start + k * duration / T``. T is at
    most the number of frames that the file has there.

    Raises:
        MediaError: the file is missing, no video, truncated or broken, has no video stream or no
            frames, or `start` lies beyond its end.
    """
    path = existing_file(path)
    with opened(path) as container:
        stream = video_stream(container, path)
        times = _frame_times(container, stream, path)
        notices = check_whole(container, stream, path, float(times[-1]))
    targets, duration, cuts = _plan(path, times, budget, start, end)
    with opened(path) as container:
        stream = video_stream(container, path)
        stored = (stream.width, stream.height)
        size = _fit(*stored, budget.max_pixels)
        timestamps, pictures, damaged = [], [], 0
        for time, frame in _pick(path, _frames(container, stream, targets[0]), targets, times[:-1]):
            # Scaled at once: held back, the frames of a large video would fill the memory.
            timestamps.append(time)
            pictures.append(_picture(frame, size))
            damaged += frame.is_corrupt
    notices += [*cuts, *_resize_notice(path, stored, size)]
    if damaged:
        notices.append(f"{path}: {damaged} of {len(pictures)} sampled frames are damaged")
    return Video(
        frames=np.stack(pictures),
        fps=len(pictures) / duration,
        timestamps=np.array(timestamps),
        duration=duration,
        notices=tuple(notices),
    )


def decode_audio(
    path: Path, budget: MediaBudget, start: float | None = None, end: float | None = None
) -> Audio:
    """Decode sound between `start` and `end` seconds (default: all of it) to mono at 16 kHz.

    Raises:
        MediaError: the file is missing, no media, truncated or broken, has no audio stream or no
            samples, or `start` lies beyond its end.
    """
    path = existing_file(path)
    with opened(path) as container:
        stream = audio_stream(container, path)
        begin = start or 0.0
        wanted = math.inf if end is None else end - begin
        # A little more than the budget is decoded, to know whether it cuts anything.
        limit = begin + min(wanted, budget.max_seconds + 1.0)
        origin, samples = _sound(container, stream, begin, limit)
        if not len(samples):
            raise MediaError(f"{path}: the audio stream holds no samples from {begin:g} s on")
        found_end = origin + len(samples) / SAMPLE_RATE
        notices = [] if found_end >= limit else check_whole(container, stream, path, found_end)
        stated = stated_end(container, stream)
    if stated is not None and 0 < found_end - stated < _PADDING:
        found_end = stated  # encoders fill up their last packet
    first, last = _window(path, "audio", origin, found_end, start, end)
    stop = min(last, first + budget.max_seconds)
    notices += _cut_notice(path, "audio", last - first, budget)
    if last < limit:
        notices += _end_notice(path, end, last)
    samples = samples[_index(first - origin) : _index(stop - origin)]
    return Audio(samples=np.ascontiguousarray(samples), notices=tuple(notices))


# ---------------------------------------------------------------- the wanted part


def _window(
    path: Path, what: str, first: float, last: float, start: float | None, end: float | None
) -> tuple[float, float]:
    """The wanted part of a stream that runs from `first` to `last`."""
    if start is not None and start >= last:
        raise MediaError(f"{path}: start {start:g} s lies beyond the end of its {what}, {last:g} s")
    if end is not None and end <= first:
        raise MediaError(f"{path}: end {end:g} s lies before its {what} begins, {first:g} s")
    return max(first, start or 0.0), min(last, math.inf if end is None else end)


def _cut_notice(path: Path, what: str, seconds: float, budget: MediaBudget) -> list[str]:
    if seconds <= budget.max_seconds + _TIME_TOLERANCE:
        return []
    return [f"{path}: only the first {budget.max_seconds:g} s of its {what} (max_seconds)"]


def _end_notice(path: Path, end: float | None, last: float) -> list[str]:
    if end is None or end <= last + 0.1:  # closer than that, files are merely inexact
        return []
    return [f"{path}: ends at {last:.2f} s, before the wanted {end:g} s"]


# ---------------------------------------------------------------- video


def _plan(
    path: Path,
    times: NDArray[np.float64],
    budget: MediaBudget,
    start: float | None,
    end: float | None,
) -> tuple[NDArray[np.float64], float, list[str]]:
    """Which moments to sample, the seconds that they are spread over, and what is cut."""
    first, last = _window(path, "video", float(times[0]), float(times[-1]), start, end)
    notices = [*_end_notice(path, end, last), *_cut_notice(path, "video", last - first, budget)]
    duration = min(last - first, budget.max_seconds)
    inside = (times[:-1] > first - _TIME_TOLERANCE) & (times[:-1] < first + duration)
    count = max(1, min(round(duration * budget.fps), int(inside.sum())))
    if count > budget.max_frames:
        notices.append(
            f"{path}: {budget.max_frames} frames at {budget.max_frames / duration:.3g} fps "
            f"instead of {count} at {budget.fps:g} fps (max_frames)"
        )
        count = budget.max_frames
    return first + duration * np.arange(count) / count, duration, notices


def _frame_times(
    container: InputContainer, stream: av.VideoStream, path: Path
) -> NDArray[np.float64]:
    """When each frame appears and, last, when the video ends; read from packets, not decoded."""
    base = time_base(stream)
    gap = float(1 / (stream.average_rate or stream.guessed_rate or Fraction(25)))
    times = []
    for packet in container.demux(stream):
        stamp = packet.dts if packet.pts is None else packet.pts
        if packet.size and stamp is not None:
            times.append(float(stamp * base) - clock_start(container))
            if packet.duration:
                gap = float(packet.duration * base)
    if not times:
        raise MediaError(f"{path}: the video stream holds no frames")
    times.sort()
    return np.array([*times, times[-1] + gap])


def _frames(
    container: InputContainer, stream: av.VideoStream, first: float
) -> Iterator[tuple[float, av.VideoFrame]]:
    """Decoded frames with their times, from the keyframe before `first` on."""
    base, clock = time_base(stream), clock_start(container)
    if first > _SEEK_FROM and is_format(container, *_INDEXED):
        container.seek(int((first + clock) / base), stream=stream)
    for frame in container.decode(stream):
        if frame.pts is not None:
            yield float(frame.pts * base) - clock, frame


def _pick(
    path: Path,
    frames: Iterable[tuple[float, av.VideoFrame]],
    targets: NDArray[np.float64],
    expected: NDArray[np.float64],
) -> Iterator[tuple[float, av.VideoFrame]]:
    """For each target time the frame on screen then; `expected` holds when frames appear."""
    shown: tuple[float, av.VideoFrame] | None = None
    num_picked = 0
    for time, frame in frames:
        while shown and time > targets[num_picked] + _TIME_TOLERANCE:
            yield shown
            num_picked += 1
            if num_picked == len(targets):
                return
        shown = (time, frame)
    if shown is None:
        raise MediaError(f"{path}: no frame of the video stream can be decoded")
    # Formats without presentation times are off by a frame or two.
    if ((expected > shown[0] + _TIME_TOLERANCE) & (expected <= targets[-1])).sum() > 2:
        raise MediaError(
            f"{path}: decoding stops at {shown[0]:.2f} s, before {targets[-1]:.2f} s; is it whole?"
        )
    for _ in range(num_picked, len(targets)):
        yield shown


def _picture(frame: av.VideoFrame, size: tuple[int, int]) -> NDArray[np.uint8]:
    """A frame scaled to (width, height) and turned upright: uint8 (H, W, 3)."""
    pixels = frame.to_ndarray(
        format="rgb24", width=size[0], height=size[1], interpolation="AREA"
    ).astype(np.uint8, copy=False)
    return np.rot90(pixels, k=round(frame.rotation / 90))


def _fit(width: int, height: int, max_pixels: int) -> tuple[int, int]:
    """The largest size of the same shape within `max_pixels`."""
    if width * height <= max_pixels:
        return width, height
    scale = math.sqrt(max_pixels / (width * height))
    return max(1, int(width * scale)), max(1, int(height * scale))


def _resize_notice(path: Path, old: tuple[int, int], new: tuple[int, int]) -> tuple[str, ...]:
    if old == new:
        return ()
    return (f"{path}: scaled from {old[0]}x{old[1]} to {new[0]}x{new[1]} (max_pixels)",)


# ---------------------------------------------------------------- audio


def _sound(
    container: InputContainer, stream: av.AudioStream, begin: float, limit: float
) -> tuple[float, NDArray[np.float32]]:
    """Samples from at or before `begin` up to `limit` seconds, and the time of the first one."""
    base, clock = time_base(stream), clock_start(container)
    if begin > _SEEK_FROM and is_format(container, *_INDEXED):
        # A second early: decoders of lossy sound need a run-up.
        container.seek(int((begin - 1.0 + clock) / base), stream=stream)
    first: float | None = None
    resampler: av.AudioResampler | None = None
    pieces: list[NDArray[np.float32]] = []
    for frame in container.decode(stream):
        time = 0.0 if frame.pts is None else float(frame.pts * (frame.time_base or base)) - clock
        first = time if first is None else first
        if time >= limit:
            break
        resampler = resampler or _resampler(frame)
        pieces += map(_mono, resampler.resample(frame))
    if resampler is not None:
        pieces += map(_mono, resampler.resample(None))
    return first or 0.0, np.concatenate([*pieces, np.zeros(0, np.float32)])


def _resampler(frame: av.AudioFrame) -> av.AudioResampler:
    """FFmpeg mixes surround down to stereo; its step to mono would add 3 dB, beyond full scale."""
    layout = "mono" if frame.layout.nb_channels == 1 else "stereo"
    return av.AudioResampler(format="fltp", layout=layout, rate=SAMPLE_RATE)


def _mono(frame: av.AudioFrame) -> NDArray[np.float32]:
    return np.asarray(frame.to_ndarray().mean(axis=0), dtype=np.float32)


def _index(seconds: float) -> int:
    return max(0, round(seconds * SAMPLE_RATE))
