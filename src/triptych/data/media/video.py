"""Decode video: frames at evenly spaced times, upright, with square pixels.

Shapes: T sampled frames, H height, W width.
"""

from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from triptych.data.containers import check_whole, existing_file, opened, video_stream
from triptych.data.media.budget import (
    TIME_TOLERANCE,
    MediaBudget,
    cut_notice,
    end_notice,
    fit,
    late_notice,
    resize_notice,
    window,
)
from triptych.data.media.frames import (
    FrameIndex,
    UnreliableIndexError,
    decode_all,
    decode_wanted,
    pick,
    read_index,
)


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


class _Shot(NamedTuple):
    time: float
    picture: NDArray[np.uint8]
    damaged: bool


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
        seconds = budget.seconds_to_read(start, end)
        index = read_index(container, stream, path, start or 0.0, seconds)
        notices = check_whole(container, stream, path, index.end) if index.whole else []
        scaler = _Scaler(path, budget.max_pixels, stream.sample_aspect_ratio)
    targets, duration, cuts = _plan(path, index, budget, start, end)
    shots = _shoot(path, index, targets, scaler)
    notices += [*cuts, *scaler.notices]
    if damaged := sum(shot.damaged for shot in shots):
        notices.append(f"{path}: {damaged} of {len(shots)} sampled frames are damaged")
    return Video(
        frames=np.stack([shot.picture for shot in shots]),
        fps=len(shots) / duration,
        timestamps=np.array([shot.time for shot in shots]),
        duration=duration,
        notices=tuple(notices),
    )


def _plan(
    path: Path, index: FrameIndex, budget: MediaBudget, start: float | None, end: float | None
) -> tuple[NDArray[np.float64], float, list[str]]:
    """Which moments to sample, the seconds that they are spread over, and what is cut."""
    times = index.times
    first, last = window(path, "video", float(times[0]), index.end, start, end)
    notices = late_notice(path, "video", start, first)
    if index.whole:
        notices += end_notice(path, end, last)
    notices += cut_notice(path, "video", last - first, budget)
    duration = min(last - first, budget.max_seconds)
    inside = (times > first - TIME_TOLERANCE) & (times < first + duration)
    count = max(1, min(round(duration * budget.fps), int(inside.sum())))
    if count > budget.max_frames:
        notices.append(
            f"{path}: {budget.max_frames} frames at {budget.max_frames / duration:.3g} fps "
            f"instead of {count} at {budget.fps:g} fps (max_frames)"
        )
        count = budget.max_frames
    return first + duration * np.arange(count) / count, duration, notices


def _shoot(
    path: Path, index: FrameIndex, targets: NDArray[np.float64], scaler: "_Scaler"
) -> list[_Shot]:
    """The frames on screen at the `targets`, scaled at once: whole they would fill the memory."""
    if index.exact:
        # Where the index misleads, nothing less than all frames will do.
        with suppress(UnreliableIndexError), opened(path) as container:
            stream = video_stream(container, path)
            wanted = index.shown_at(targets)
            found = {
                place: _Shot(float(index.seconds[place]), scaler.scale(frame), frame.is_corrupt)
                for place, frame in decode_wanted(container, stream, path, index, wanted)
            }
            return [found[place] for place in wanted.tolist()]
    with opened(path) as container:
        frames = decode_all(container, video_stream(container, path), path)
        return [
            _Shot(time, scaler.scale(frame), frame.is_corrupt)
            for time, frame in pick(path, frames, targets, index.times)
        ]


class _Scaler:
    """Brings frames to one size within the budget, with square pixels, upright."""

    def __init__(self, path: Path, max_pixels: int, aspect: Fraction | None) -> None:
        self._path, self._max_pixels = path, max_pixels
        self._aspect = aspect or Fraction(1)
        self._size: tuple[int, int] | None = None
        self._reformatter = VideoReformatter()
        self.notices: list[str] = []

    def scale(self, frame: av.VideoFrame) -> NDArray[np.uint8]:
        """A frame as uint8 (H, W, 3)."""
        width, height = self._size = self._size or self._choose(frame.width, frame.height)
        pixels = self._reformatter.reformat(
            frame, width, height, "rgb24", interpolation="AREA", threads=1
        ).to_ndarray()
        return np.rot90(pixels, k=round(frame.rotation / 90)).astype(np.uint8, copy=False)

    def _choose(self, width: int, height: int) -> tuple[int, int]:
        """The size of all frames, from that of the first; headers may state another."""
        if self._aspect >= 1:  # a pixel is stretched to a square, never squeezed
            square = round(width * self._aspect), height
        else:
            square = width, round(height / self._aspect)
        size = fit(self._path, *square, self._max_pixels)
        self.notices += resize_notice(self._path, square, size)
        return size
