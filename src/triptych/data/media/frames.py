"""The frames of a video stream: where they are stored, and as few as possible decoded.

Shapes: F frames of the stream, T moments to sample.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from numpy.typing import NDArray

from triptych.data.containers import clock_start, is_format, packets, time_base
from triptych.data.media.budget import TIME_TOLERANCE
from triptych.errors import MediaError

_MIN_JUMP = 32  # frames left out; decoders hold back up to 16, which a shorter jump would lose
_MIN_SEEK = 500  # frames; below, reading over them is as fast
_INDEXED = ("mp4", "matroska")  # in other formats a seek may land behind its goal


class UnreliableIndexError(Exception):
    """The decoder finds other frames than the packets promise; only decoding all of them helps."""


@dataclass(frozen=True, eq=False)
class FrameIndex:
    """What the packets of a video stream tell of its frames, none of them decoded.

    Attributes:
        ticks: int64 (F,), when each frame appears, in the stream's time base, in the order in
            which they are stored and decoded.
        seconds: float64 (F,), the same in seconds from the beginning of the file.
        keys: bool (F,), the frames at which decoding can begin.
        end: when the last frame is over.
        exact: every frame has a time of its own. Old formats store none.
        whole: the stream was read to its end.
    """

    ticks: NDArray[np.int64]
    seconds: NDArray[np.float64]
    keys: NDArray[np.bool_]
    end: float
    exact: bool
    whole: bool

    @property
    def times(self) -> NDArray[np.float64]:
        """`seconds` in the order of time."""
        return np.sort(self.seconds)

    def shown_at(self, targets: NDArray[np.float64]) -> NDArray[np.int64]:
        """The frame on screen at each of the `targets`: int64 (T,), places in `ticks`."""
        ranks = np.searchsorted(self.times, targets + TIME_TOLERANCE, side="right") - 1
        return np.argsort(self.ticks)[np.maximum(ranks, 0)]

    def runs(self, wanted: NDArray[np.int64]) -> list[tuple[int, frozenset[int]]]:
        """What to decode for the `wanted` frames: where to begin, and the frames to get from there.

        A frame may be predicted from all that is stored from its keyframe on; what lies between a
        wanted frame and the keyframe of the next is left out.
        """
        keys = np.flatnonzero(self.keys)
        keys = keys[np.argsort(self.ticks[keys])]
        ranks = np.searchsorted(self.ticks[keys], self.ticks[wanted], side="right")
        starts = np.concatenate([[0], keys])[ranks]
        runs: list[tuple[int, set[int]]] = []
        for start, place in sorted(zip(starts.tolist(), wanted.tolist(), strict=True)):
            if runs and start < max(runs[-1][1]) + _MIN_JUMP:
                runs[-1][1].add(place)
            else:
                runs.append((start, {place}))
        return [(start, frozenset(places)) for start, places in runs]


def read_index(
    container: InputContainer, stream: av.VideoStream, path: Path, start: float, seconds: float
) -> FrameIndex:
    """Read where the frames are, up to `seconds` after `start`, or after the first one if later.

    Raises:
        MediaError: there are no frames.
    """
    base, clock = time_base(stream), clock_start(container)
    gap = float(1 / (stream.average_rate or stream.guessed_rate or Fraction(25)))
    ticks: list[int] = []
    keys: list[bool] = []
    times: list[float] = []
    exact = whole = True
    for packet in packets(container, stream, path):
        stamp = packet.dts if packet.pts is None else packet.pts
        if not packet.size:
            continue
        exact = exact and packet.pts is not None
        if stamp is None:
            continue
        ticks.append(stamp)
        keys.append(packet.is_keyframe)
        times.append(float(stamp * base) - clock)
        if packet.duration:
            gap = float(packet.duration * base)
        # None of the frames to come appears before this one is decoded.
        decoded = times[-1] if packet.dts is None else float(packet.dts * base) - clock
        if decoded > max(start, times[0]) + seconds:
            whole = False
            break
    if not ticks:
        raise MediaError(f"{path}: the video stream holds no frames")
    # FFmpeg makes up the times that a format like AVI does not store: in the order of decoding,
    # even where the decoder says that it will show the frames in another.
    made_up = stream.codec_context.has_b_frames and ticks == sorted(ticks)
    return FrameIndex(
        ticks=np.array(ticks, np.int64),
        seconds=np.array(times),
        keys=np.array(keys, np.bool_),
        end=max(times) + gap,
        exact=exact and not made_up and len(set(ticks)) == len(ticks),
        whole=whole,
    )


# ---------------------------------------------------------------- some frames


def decode_wanted(
    container: InputContainer,
    stream: av.VideoStream,
    path: Path,
    index: FrameIndex,
    wanted: NDArray[np.int64],
) -> Iterator[tuple[int, av.VideoFrame]]:
    """The `wanted` frames and their places; of the others only those they are predicted from.

    Raises:
        UnreliableIndexError: the file is not as its index says.
    """
    numbered, position = enumerate(_filled(container, stream, path)), 0
    for start, places in index.runs(wanted):
        if start - position > _MIN_SEEK and is_format(container, *_INDEXED):
            tick = int(index.ticks[start])
            container.seek(tick, stream=stream)
            numbered = enumerate(_after_seek(container, stream, path, tick), start)
        yield from _decode_run(stream, numbered, index, start, places)
        position = max(places)


def _filled(
    container: InputContainer, stream: av.VideoStream, path: Path
) -> Iterator["av.Packet[av.VideoStream]"]:
    """The packets that the index counts, and the empty one at the end."""
    for packet in packets(container, stream, path):
        if packet.size:
            yield packet
    yield packet


def _after_seek(
    container: InputContainer, stream: av.VideoStream, path: Path, tick: int
) -> Iterator["av.Packet[av.VideoStream]"]:
    """The packets from the keyframe at `tick` on; a seek may land well before it."""
    found = False
    for packet in _filled(container, stream, path):
        found = found or (packet.is_keyframe and packet.pts == tick)
        if found:
            yield packet


def _decode_run(
    stream: av.VideoStream,
    numbered: Iterator[tuple[int, "av.Packet[av.VideoStream]"]],
    index: FrameIndex,
    start: int,
    places: frozenset[int],
) -> Iterator[tuple[int, av.VideoFrame]]:
    context = stream.codec_context
    context.flush_buffers()
    missing = {int(index.ticks[place]): place for place in places}
    first = int(index.ticks[start])
    begun = trusted = start == 0
    for place, packet in numbered:
        if place < start:
            continue
        if not begun and place != start:
            break
        begun = True
        if place < len(index.ticks) and packet.pts != index.ticks[place]:
            break
        # Of the others those that no frame is predicted from are passed over.
        needed = place == start or place in places
        context.skip_frame = "DEFAULT" if needed else "NONREF"
        for frame in _decoded(packet, trusted):
            if not trusted and not (frame.pts == first and frame.key_frame):
                raise UnreliableIndexError
            trusted = True
            if frame.pts in missing:
                yield missing.pop(frame.pts), frame
        if not missing:
            return
    raise UnreliableIndexError


def _decoded(packet: "av.Packet[av.VideoStream]", trusted: bool) -> list[av.VideoFrame]:
    try:
        return packet.decode()
    except av.FFmpegError as error:
        if trusted:
            raise
        raise UnreliableIndexError from error


# ---------------------------------------------------------------- all frames


def decode_all(
    container: InputContainer, stream: av.VideoStream, path: Path
) -> Iterator[tuple[float, av.VideoFrame]]:
    """All frames with their times."""
    base, clock = time_base(stream), clock_start(container)
    for packet in packets(container, stream, path):
        for frame in packet.decode():
            if frame.pts is not None:
                yield float(frame.pts * base) - clock, frame


def pick(
    path: Path,
    frames: Iterable[tuple[float, av.VideoFrame]],
    targets: NDArray[np.float64],
    expected: NDArray[np.float64],
) -> Iterator[tuple[float, av.VideoFrame]]:
    """For each target time the frame on screen then; `expected` holds when frames appear.

    Raises:
        MediaError: there are none, or they end too early.
    """
    shown: tuple[float, av.VideoFrame] | None = None
    num_picked = 0
    for time, frame in frames:
        while shown and time > targets[num_picked] + TIME_TOLERANCE:
            yield shown
            num_picked += 1
            if num_picked == len(targets):
                return
        shown = (time, frame)
    if shown is None:
        raise MediaError(f"{path}: no frame of the video stream can be decoded")
    # Formats without presentation times are off by a frame or two.
    if ((expected > shown[0] + TIME_TOLERANCE) & (expected <= targets[-1])).sum() > 2:
        raise MediaError(
            f"{path}: decoding stops at {shown[0]:.2f} s, before {targets[-1]:.2f} s; is it whole?"
        )
    for _ in range(num_picked, len(targets)):
        yield shown
