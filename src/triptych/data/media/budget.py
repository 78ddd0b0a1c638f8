"""How much of a media item is decoded, and how what is left out is said."""

import math
from dataclasses import dataclass
from pathlib import Path

from triptych.errors import ConfigError, MediaError

TIME_TOLERANCE = 1e-3
"""Seconds; Matroska rounds its timestamps to this."""

INEXACT = 0.1
"""Seconds by which the streams of a sound file may begin and end apart from each other."""

_LONGEST_SHAPE = 200  # times as long as wide; the image processors of Qwen take no longer ones


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

    def seconds_to_read(self, start: float | None, end: float | None) -> float:
        """Seconds from `start` on that are read: a little more than the budget, to know whether it
        cuts anything.
        """
        wanted = math.inf if end is None else end - (start or 0.0)
        return min(wanted, self.max_seconds + 1.0)


def window(
    path: Path, what: str, first: float, last: float, start: float | None, end: float | None
) -> tuple[float, float]:
    """The wanted part of a stream that runs from `first` to `last`."""
    if start is not None and start >= last:
        raise MediaError(f"{path}: start {start:g} s lies beyond the end of its {what}, {last:g} s")
    if end is not None and end <= first:
        raise MediaError(f"{path}: end {end:g} s lies before its {what} begins, {first:g} s")
    return max(first, start or 0.0), min(last, math.inf if end is None else end)


def fit(path: Path, width: int, height: int, max_pixels: int) -> tuple[int, int]:
    """The largest size of the same shape within `max_pixels`."""
    if max(width, height) > _LONGEST_SHAPE * min(width, height):
        raise MediaError(
            f"{path}: is {width}x{height}, a strip more than {_LONGEST_SHAPE} times as long as "
            "wide; cut it up"
        )
    if width * height <= max_pixels:
        return width, height
    scale = math.sqrt(max_pixels / (width * height))
    width, height = min(int(width * scale), max_pixels), min(int(height * scale), max_pixels)
    return max(1, width), max(1, height)


def cut_notice(path: Path, what: str, seconds: float, budget: MediaBudget) -> list[str]:
    """What `max_seconds` leaves out."""
    if seconds <= budget.max_seconds + TIME_TOLERANCE:
        return []
    return [f"{path}: only the first {budget.max_seconds:g} s of its {what} (max_seconds)"]


def late_notice(path: Path, what: str, start: float | None, first: float) -> list[str]:
    """What of the wanted part comes before a stream begins."""
    if first <= (start or 0.0) + INEXACT:
        return []
    return [f"{path}: its {what} begins at {first:.2f} s, after the wanted {start or 0.0:g} s"]


def end_notice(path: Path, end: float | None, last: float) -> list[str]:
    """What of the wanted part the file does not have."""
    if end is None or end <= last + INEXACT:
        return []
    return [f"{path}: ends at {last:.2f} s, before the wanted {end:g} s"]


def resize_notice(path: Path, old: tuple[int, int], new: tuple[int, int]) -> list[str]:
    """What `max_pixels` scales down."""
    if old == new:
        return []
    return [f"{path}: scaled from {old[0]}x{old[1]} to {new[0]}x{new[1]} (max_pixels)"]
