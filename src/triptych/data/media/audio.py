"""Decode sound to mono at 16 kHz, on the file's clock.

Shapes: N samples.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from numpy.typing import NDArray

from triptych.data.containers import (
    audio_stream,
    check_whole,
    clock_start,
    existing_file,
    is_format,
    opened,
    packets,
    stated_end,
    time_base,
)
from triptych.data.media.budget import (
    INEXACT,
    MediaBudget,
    cut_notice,
    end_notice,
    late_notice,
    window,
)
from triptych.errors import MediaError

SAMPLE_RATE = 16_000
"""What audio encoders of the Whisper family expect."""

_RATES = range(1_000, 768_001)  # Hz; what states others is no sound, and costs memory to resample
_PADDING = 0.1  # seconds of sound beyond the stated end that are an encoder's padding
_RUN_UP = 1.0  # seconds; decoders of lossy sound need some before what is wanted
_SEEK_FROM = 2.0  # seconds; below, decoding from the start is as fast
_INDEXED = ("mp4", "matroska")  # in other formats a seek may land behind its goal


@dataclass(frozen=True, eq=False)
class Audio:
    """A sound: `samples` float32 (N,), mono, `rate` in Hz.

    They lie in [-1, 1], or beyond it where channels of surround sound add up.
    """

    samples: NDArray[np.float32]
    rate: int = SAMPLE_RATE
    notices: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class _Heard:
    """What was decoded, from `origin` on, and what the file states of the stream."""

    origin: float
    samples: NDArray[np.float32]
    stated_end: float | None
    notices: list[str]


def decode_audio(
    path: Path, budget: MediaBudget, start: float | None = None, end: float | None = None
) -> Audio:
    """Decode sound between `start` and `end` seconds (default: all of it) to mono at 16 kHz.

    Sound keeps its place: where the stream has none, before it begins or where it is interrupted,
    there is the silence that a player would play, and a notice that says so.

    Raises:
        MediaError: the file is missing, no media, truncated or broken, has no audio stream or no
            samples, or `start` lies beyond its end.
    """
    path = existing_file(path)
    begin = start or 0.0
    limit = begin + budget.seconds_to_read(start, end)
    heard = _hear(path, begin, limit, seek=begin > _SEEK_FROM)
    if begin > _SEEK_FROM and heard.origin > begin:
        heard = _hear(path, begin, limit, seek=False)  # the seek may have missed something
    origin, samples = heard.origin, heard.samples
    found_end = origin + len(samples) / SAMPLE_RATE
    if heard.stated_end is not None and 0 < found_end - heard.stated_end < _PADDING:
        found_end = heard.stated_end  # encoders fill up their last packet
    first, last = window(path, "audio", origin, found_end, start, end)
    late = late_notice(path, "audio", start, first)
    if late:
        samples = np.concatenate([np.zeros(_index(origin - begin), np.float32), samples])
        origin = first = begin
    stop = min(last, first + budget.max_seconds)
    notices = [*heard.notices, *late, *cut_notice(path, "audio", last - first, budget)]
    if last < limit:
        notices += end_notice(path, end, last)
    samples = samples[_index(first - origin) : _index(stop - origin)]
    return Audio(samples=np.ascontiguousarray(samples), notices=tuple(notices))


def _hear(path: Path, begin: float, limit: float, seek: bool) -> _Heard:
    """Decode from about `begin` to about `limit`."""
    with opened(path) as container:
        stream = audio_stream(container, path)
        if seek and is_format(container, *_INDEXED):
            target = begin - _RUN_UP + clock_start(container)
            container.seek(int(target / time_base(stream)), stream=stream)
        track = _Track()
        for time, frame in _frames(container, stream, path, begin, limit):
            track.add(time, frame)
            if track.end >= limit:  # by the clock of a broken file, this may never come
                break
        samples = track.finish()
        if not len(samples):
            raise MediaError(
                f"{path}: the audio stream holds no samples from {begin:g} to {limit:g} s"
            )
        if not np.isfinite(samples).all():
            raise MediaError(f"{path}: the audio stream holds samples that are not numbers")
        notices = []
        if track.end < limit:
            notices += check_whole(container, stream, path, track.end)
        if track.silence:
            notices.append(f"{path}: {track.silence:.2f} s of its audio are missing, now silence")
        return _Heard(track.origin, samples, stated_end(container, stream), notices)


def _frames(
    container: InputContainer, stream: av.AudioStream, path: Path, begin: float, limit: float
) -> Iterator[tuple[float, av.AudioFrame]]:
    """Decoded frames with their times, from a little before `begin` up to `limit`."""
    base, clock = time_base(stream), clock_start(container)
    due = 0.0
    for packet in packets(container, stream, path):
        for frame in packet.decode():
            if frame.sample_rate not in _RATES:
                raise MediaError(f"{path}: {frame.sample_rate} Hz is no rate of sound")
            time = due
            if frame.pts is not None:
                time = float(frame.pts * (frame.time_base or base)) - clock
            if time >= limit:
                return
            due = time + frame.samples / frame.sample_rate
            if due > begin - _RUN_UP:
                yield time, frame


class _Track:
    """Frames of sound put one behind the other, each in its place, as mono at 16 kHz."""

    def __init__(self) -> None:
        self.origin = 0.0
        self.silence = 0.0
        """Seconds that no frame has filled."""
        self._pieces: list[NDArray[np.float32]] = []
        self._length = 0
        self._due: float | None = None  # when the next frame should come
        self._setup: tuple[str, str, int] | None = None
        self._resampler: av.AudioResampler | None = None

    @property
    def end(self) -> float:
        """When the sound so far is over; what the resampler holds back is not counted."""
        return self.origin + self._length / SAMPLE_RATE

    def add(self, time: float, frame: av.AudioFrame) -> None:
        if self._due is None:
            self.origin = self._due = time
        setup = (frame.format.name, frame.layout.name, frame.sample_rate)
        interrupted = time > self._due + INEXACT
        if setup != self._setup or interrupted:
            self._drain()
            self._setup = setup
        if interrupted and time > self.end:
            self.silence += time - self.end
            self._append(np.zeros(_index(time - self.end), np.float32))
        self._due = time + frame.samples / frame.sample_rate
        for piece in self._resample(frame):
            self._append(_mono(piece))

    def finish(self) -> NDArray[np.float32]:
        """All samples (N,)."""
        self._drain()
        return np.concatenate([*self._pieces, np.zeros(0, np.float32)])

    def _resample(self, frame: av.AudioFrame) -> list[av.AudioFrame]:
        if self._resampler is not None:
            return self._resampler.resample(frame)
        # FFmpeg mixes surround down to stereo; its step to mono would add 3 dB, beyond full scale.
        self._resampler = _resampler("mono" if frame.layout.nb_channels == 1 else "stereo")
        try:
            return self._resampler.resample(frame)
        except av.ArgumentError:  # it has no rule for these channels; the mean of all will do
            self._resampler = _resampler(frame.layout)
            return self._resampler.resample(frame)

    def _drain(self) -> None:
        if self._resampler is not None:
            for piece in self._resampler.resample(None):
                self._append(_mono(piece))
        self._resampler = None

    def _append(self, samples: NDArray[np.float32]) -> None:
        self._pieces.append(samples)
        self._length += len(samples)


def _resampler(layout: str | av.AudioLayout) -> av.AudioResampler:
    return av.AudioResampler(format="flt", layout=layout, rate=SAMPLE_RATE)


def _mono(frame: av.AudioFrame) -> NDArray[np.float32]:
    channels = frame.to_ndarray().reshape(-1, frame.layout.nb_channels)
    return np.asarray(channels.mean(axis=1), dtype=np.float32)


def _index(seconds: float) -> int:
    return max(0, round(seconds * SAMPLE_RATE))
