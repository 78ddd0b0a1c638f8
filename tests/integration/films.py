"""Sound media files of many kinds that say what must be decoded from them.

Every picture is `picture` of its time and every sound `sound` of its times, whatever the codec,
the container, the size or the rate, so that what is decoded can be compared with what was meant.
"""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple, cast

import av
import numpy as np
from numpy.typing import NDArray

from triptych.data.media import SAMPLE_RATE, MediaBudget, decode_audio, decode_video

BUDGET = MediaBudget(fps=8.0, max_frames=100, max_pixels=200_000, max_seconds=30.0)

_TICK = Fraction(1, 1000)
_LAG = 800  # samples, 50 ms: what encoders of lossy sound may shift it by


SECOND = tuple(index / 25 for index in range(25))
"""When the frames of a second at a constant rate appear."""


class Film(NamedTuple):
    """A file to be made; the ending of its name tells the container."""

    name: str
    video: str | None = "libx264"
    audio: str | None = None
    size: tuple[int, int] = (64, 48)
    shown: tuple[float, ...] = SECOND
    """When each frame appears."""
    pixels: str = "yuv420p"
    options: dict[str, str] = {}  # noqa: RUF012
    aspect: Fraction = Fraction(1)
    turned: int = 0
    """Degrees by which players are told to turn it."""
    layout: str = "stereo"
    rate: int = 44_100
    heard: tuple[float, float] = (0.0, 1.0)
    format: str | None = None
    psnr: float = 28.0
    """Decibels between what was meant and what is decoded, at least."""


def picture(time: float, width: int, height: int) -> NDArray[np.uint8]:
    """Smooth shades whose blue tells the time: uint8 (height, width, 3)."""
    x = np.linspace(20, 200, width)[None, :]
    y = np.linspace(30, 180, height)[:, None]
    blue = 60 + 120 * abs(time % 2 - 1)
    layers = np.broadcast_arrays(x, y, np.float64(blue))
    return np.stack(layers, axis=-1).round().astype(np.uint8)


def sound(times: NDArray[np.float64]) -> NDArray[np.float64]:
    """A tone that rises from second to second."""
    return 0.4 * np.sin(2 * np.pi * (300 * times + 60 * times**2))


def write(film: Film, folder: Path) -> Path:
    """Make the file."""
    path = folder / film.name
    with av.open(str(path), "w", format=film.format) as container:
        seen = cast(Any, container.add_stream(film.video, rate=25)) if film.video else None
        heard = cast(Any, container.add_stream(film.audio, rate=film.rate)) if film.audio else None
        if seen:
            seen.width, seen.height = film.size
            seen.pix_fmt, seen.options = film.pixels, film.options
            seen.codec_context.thread_count = 1
            seen.codec_context.sample_aspect_ratio = film.aspect
            seen.sample_aspect_ratio = film.aspect
            if film.turned:
                seen.set_display_rotation(film.turned)
            regular = film.shown == SECOND[: len(film.shown)]
            seen.codec_context.time_base = Fraction(1, 25) if regular else _TICK
        if heard:
            heard.layout, heard.bit_rate = film.layout, 256_000
        if seen:
            for frame in _frames(film, seen.codec_context.time_base):
                container.mux(seen.encode(frame))
            container.mux(seen.encode(None))
        if heard:
            for piece in _pieces(film):
                container.mux(heard.encode(piece))
            container.mux(heard.encode(None))
    return path


def _frames(film: Film, tick: Fraction) -> Iterator[av.VideoFrame]:
    for time in film.shown:
        shades = picture(time, *film.size)
        frame = av.VideoFrame.from_ndarray(shades, format="rgb24").reformat(format=film.pixels)
        frame.pts, frame.time_base = round(time / tick), tick
        yield frame


def _pieces(film: Film) -> Iterator[av.AudioFrame]:
    """Sound in pieces of 20 ms."""
    first, last = film.heard
    samples = sound(np.arange(round(first * film.rate), round(last * film.rate)) / film.rate)
    channels = av.AudioLayout(film.layout).nb_channels
    for start in range(0, len(samples), film.rate // 50):
        part = samples[start : start + film.rate // 50].astype(np.float32)
        packed = np.repeat(part, channels)[None]
        frame = av.AudioFrame.from_ndarray(packed, "flt", film.layout)
        frame.sample_rate, frame.time_base = film.rate, Fraction(1, film.rate)
        frame.pts = round(first * film.rate) + start
        yield frame


# ---------------------------------------------------------------- what must come out


def judge(film: Film, path: Path) -> list[str]:
    """What is wrong with what is decoded from the file of a film."""
    findings = []
    if film.video:
        findings += _judge_video(film, path)
    if film.audio:
        findings += _judge_audio(film, path)
    return findings


def _judge_video(film: Film, path: Path) -> list[str]:
    video = decode_video(path, BUDGET)
    begin, length = film.shown[0], video.duration
    wanted = max(1, min(round(length * BUDGET.fps), len(film.shown)))
    due = begin + length * np.arange(wanted) / wanted
    shown = [max(time for time in film.shown if time <= moment + 0.02) for moment in due]
    if len(video.frames) != wanted:
        return [f"{len(video.frames)} frames instead of {wanted}"]
    if np.abs(video.timestamps - np.array(shown)).max() > 0.1:
        return [f"frames of {video.timestamps.tolist()} instead of {shown}"]
    width, height = film.size
    if film.aspect > 1:
        width = round(width * film.aspect)
    else:
        height = round(height / film.aspect)
    findings = []
    for frame, time in zip(video.frames, video.timestamps.tolist(), strict=True):
        exact = min(film.shown, key=lambda moment, time=time: abs(moment - time))  # type: ignore[misc]
        meant = np.rot90(picture(exact, width, height), film.turned // 90)
        if frame.shape != meant.shape:
            return [f"frames of shape {frame.shape} instead of {meant.shape}"]
        error = np.square(frame.astype(float) - meant).mean()
        psnr = 10 * np.log10(255**2 / max(error, 1e-9))
        if psnr < film.psnr:
            findings.append(f"PSNR {psnr:.1f} at {time:.2f} s")
    return findings


def _judge_audio(film: Film, path: Path) -> list[str]:
    samples = decode_audio(path, BUDGET).samples.astype(np.float64)
    first, last = film.heard
    findings = []
    if abs(len(samples) / SAMPLE_RATE - last) > 0.1:
        findings.append(f"{len(samples) / SAMPLE_RATE:.2f} s of sound instead of {last:g}")
    if first > 0.2 and np.abs(samples[: round((first - 0.1) * SAMPLE_RATE)]).max() > 0:
        findings.append("sound where there should be silence")
    likeness = _likeness(samples, sound(np.arange(len(samples)) / SAMPLE_RATE), first)
    if likeness < 0.98:
        findings.append(f"sound with a correlation of {likeness:.3f}")
    return findings


def _likeness(decoded: NDArray[np.float64], meant: NDArray[np.float64], first: float) -> float:
    """The correlation of two sounds, shifted by as much as encoders may."""
    # Edges apart: there encoders fade.
    part = slice(round((first + 0.1) * SAMPLE_RATE), -round(0.1 * SAMPLE_RATE))
    one, other = decoded[part], meant[part]
    spectrum = np.fft.rfft(one, 2 * len(one)) * np.conj(np.fft.rfft(other, 2 * len(one)))
    shifts = np.fft.irfft(spectrum)
    shift = int(np.argmax(np.concatenate([shifts[-_LAG:], shifts[:_LAG]]))) - _LAG
    one, other = one[max(shift, 0) :], other[max(-shift, 0) :]
    one, other = one[: len(other)], other[: len(one)]
    return float(one @ other) / max(float(np.linalg.norm(one) * np.linalg.norm(other)), 1e-9)


# ---------------------------------------------------------------- the films


_VARIABLE = tuple(
    np.cumsum([0, 0.04, 0.2, 0.04, 0.5, 0.04, 0.04, 0.3, 0.1, 0.04]).round(3).tolist()
)
_LATE = tuple(2 + index / 25 for index in range(25))
_LONG = tuple(index / 25 for index in range(150))

FILMS = (
    Film("h264.mp4", audio="aac"),
    Film("h264.mkv", audio="aac"),
    Film("h264.mov", audio="pcm_s16le"),
    Film("h264.ts", audio="aac"),
    Film("h264.flv", audio="aac"),
    Film("h265.mp4", "libx265", "aac", options={"x265-params": "log-level=none"}),
    Film("h265.mkv", "libx265", "libopus", rate=48_000, options={"x265-params": "log-level=none"}),
    Film("mpeg4.avi", "mpeg4", "mp3", options={"qmin": "2", "qmax": "4"}),
    Film("mpeg4.mp4", "mpeg4", "aac", options={"bf": "2", "qmin": "2", "qmax": "4"}),
    Film("mpeg2.mpg", "mpeg2video", "mp2", options={"bf": "2", "qmin": "2", "qmax": "4"}),
    Film("mpeg2.ts", "mpeg2video", "mp2", options={"qmin": "2", "qmax": "4"}),
    Film("vp8.webm", "libvpx", "libopus", rate=48_000, options={"crf": "4", "b": "2M"}),
    Film("vp9.webm", "libvpx-vp9", "libopus", rate=48_000, options={"cpu-used": "8"}),
    Film("mjpeg.avi", "mjpeg", "pcm_s16le", pixels="yuvj420p", options={"qmin": "2", "qmax": "4"}),
    Film("wmv.wmv", "wmv2", "wmav2", options={"qmin": "2", "qmax": "4"}),
    Film("prores.mov", "prores_ks", pixels="yuv422p10le"),
    Film("ffv1.mkv", "ffv1", "flac", pixels="yuv444p"),
    Film("gif.gif", "gif", pixels="rgb8", psnr=12),
    Film("apng.png", "apng", pixels="rgb24", format="apng"),
    Film("fragments.mp4", audio="aac", options={"movflags": "frag_keyframe+empty_moov"}),
    Film("1x1.mkv", "ffv1", size=(1, 1), pixels="yuv444p"),
    Film("1x1.mov", "png", size=(1, 1), pixels="rgb24"),
    Film("odd.mp4", size=(65, 49), pixels="yuv444p"),
    Film("odd.mkv", "ffv1", size=(63, 47), pixels="yuv420p"),
    Film("2x2.mp4", size=(2, 2), psnr=10),
    Film("wide.mkv", "ffv1", size=(640, 4), pixels="yuv444p"),
    Film("10bit.mp4", pixels="yuv420p10le"),
    Film("10bit.mkv", "libx265", pixels="yuv420p10le", options={"x265-params": "log-level=none"}),
    Film("422.mp4", pixels="yuv422p"),
    Film("grey.mkv", "ffv1", pixels="gray", psnr=8),
    Film("alpha.mov", "png", pixels="rgba"),
    Film("one-frame.mp4", shown=(0.0,)),
    Film("one-frame.mkv", shown=(0.0,)),
    Film("two-frames.mp4", shown=(0.0, 0.04)),
    Film("variable.mp4", shown=_VARIABLE),
    Film("variable.mkv", shown=_VARIABLE, audio="aac", heard=(0.0, 1.3)),
    Film("interlaced.mp4", options={"flags": "+ildct+ilme"}),
    Film("interlaced.ts", "mpeg2video", options={"flags": "+ildct+ilme", "qmax": "4"}),
    Film("wide-pixels.mp4", aspect=Fraction(16, 11)),
    Film("tall-pixels.mkv", aspect=Fraction(2, 3)),
    Film("wide-pixels.ts", "mpeg2video", aspect=Fraction(4, 3), options={"qmax": "4"}),
    Film("turned-90.mp4", turned=90),
    Film("turned-180.mp4", turned=180),
    Film("turned-270.mov", turned=270),
    Film("turned-wide.mp4", turned=90, aspect=Fraction(2)),
    Film("open.mkv", options={"x264-params": "open-gop=1:keyint=10:bframes=3"}, shown=_LONG),
    Film("refresh.mp4", options={"x264-params": "intra-refresh=1:keyint=20"}, shown=_LONG),
    Film("keys.mp4", options={"x264-params": "keyint=5"}, shown=_LONG, audio="aac"),
    Film("slow-sound.mp4", audio="aac", heard=(0.0, 3.0)),
    Film("short-sound.mp4", audio="aac", shown=_LONG, heard=(0.0, 2.0)),
    Film("late-sound.mkv", audio="flac", shown=_LONG, heard=(1.5, 4.0)),
    Film("late-sound.mp4", audio="aac", shown=_LONG, heard=(1.5, 4.0)),
    Film("late-video.mkv", audio="flac", shown=_LATE, heard=(0.0, 3.0)),
    Film("8k.wav", None, "pcm_s16le", rate=8_000, layout="mono"),
    Film("8-bit.wav", None, "pcm_u8", rate=11_025, layout="mono"),
    Film("24-bit.wav", None, "pcm_s24le", rate=96_000),
    Film("float.wav", None, "pcm_f32le", rate=48_000),
    Film("double.wav", None, "pcm_f64le", rate=22_050),
    Film("8-channels.wav", None, "pcm_s16le", rate=48_000, layout="7.1"),
    Film("5.1.mka", None, "flac", rate=48_000, layout="5.1"),
    Film("5.1.mp4", audio="aac", rate=48_000, layout="5.1"),
    Film("16-channels.wav", None, "pcm_s16le", rate=32_000, layout="hexadecagonal"),
    Film("mu-law.wav", None, "pcm_mulaw", rate=8_000, layout="mono"),
    Film("adpcm.wav", None, "adpcm_ima_wav", rate=22_050, layout="mono"),
    Film("flac.flac", None, "flac"),
    Film("mp3.mp3", None, "mp3"),
    Film("aac.m4a", None, "aac", rate=32_000, layout="mono"),
    Film("aac.aac", None, "aac", format="adts"),
    Film("alac.m4a", None, "alac"),
    Film("opus.ogg", None, "libopus", rate=48_000),
    Film("aiff.aiff", None, "pcm_s16be"),
    Film("ac3.mkv", None, "ac3", rate=48_000, layout="5.1"),
)  # fmt: skip
