"""Sound of any layout and rate, in its place."""

import tracemalloc
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from triptych.data.media import SAMPLE_RATE, MediaBudget, decode_audio, decode_video
from triptych.errors import MediaError

WIDE = MediaBudget(max_seconds=1000)


def write(
    path: Path,
    parts: Sequence[tuple[float, float]],
    *,
    codec: str = "pcm_s16le",
    layout: str = "mono",
    rate: int = 16_000,
    video: float | None = None,
    options: dict[str, str] | None = None,
) -> Path:
    """A tone of 440 Hz wherever `parts` say that there is sound, from second to second.

    With `video`, also two seconds of grey frames from that second on.
    """
    with av.open(str(path), "w", options=options or {}) as container:
        pictures = container.add_stream("libx264", rate=25) if video is not None else None
        stream = cast(Any, container.add_stream(codec, rate=rate))
        stream.layout, stream.bit_rate = layout, 128_000
        channels = stream.layout.nb_channels
        if pictures is not None and video is not None:
            pictures.width, pictures.height, pictures.pix_fmt = 64, 48, "yuv420p"
            for index in range(50):
                grey = np.full((48, 64, 3), 128, np.uint8)
                picture = av.VideoFrame.from_ndarray(grey, format="rgb24")
                picture.pts, picture.time_base = round(video * 25) + index, Fraction(1, 25)
                container.mux(pictures.encode(picture))
            container.mux(pictures.encode())
        for first, last in parts:
            times = np.arange(round(first * rate), round(last * rate)) / rate
            samples = (0.25 * np.sin(2 * np.pi * 440 * times)).astype(np.float32)
            for start in range(0, len(samples), 400):
                packed = np.repeat(samples[start : start + 400], channels)[None]
                frame = av.AudioFrame.from_ndarray(packed, "flt", layout)
                frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
                frame.pts = round(first * rate) + start
                container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def loudness(samples: NDArray[np.float32]) -> list[float]:
    """Of each tenth of a second: the root of the mean square."""
    whole = samples[: len(samples) // 1600 * 1600].reshape(-1, 1600).astype(float)
    return [round(value, 2) for value in np.sqrt(np.square(whole).mean(axis=1)).tolist()]


TONE = pytest.approx(0.25 / np.sqrt(2), abs=0.01)


def test_sound_that_begins_late_keeps_its_place(tmp_path: Path) -> None:
    path = write(tmp_path / "late.mkv", [(1.5, 2.5)], codec="flac", video=0.0)
    audio = decode_audio(path, WIDE)
    assert loudness(audio.samples) == [0.0] * 15 + [TONE] * 10
    assert audio.notices == (f"{path}: its audio begins at 1.50 s, after the wanted 0 s",)
    assert loudness(decode_audio(path, WIDE, start=1.0, end=2.0).samples) == [0.0] * 5 + [TONE] * 5
    assert decode_audio(path, WIDE, start=1.5).notices == ()
    with pytest.raises(
        MediaError, match=r"late\.mkv: the audio stream holds no samples from 0 to 1 s"
    ):
        decode_audio(path, WIDE, end=1.0)


def test_a_video_that_begins_late_says_so(tmp_path: Path) -> None:
    path = write(tmp_path / "late.mkv", [(0.0, 3.0)], codec="flac", video=1.0)
    video = decode_video(path, MediaBudget(fps=1.0))
    assert video.timestamps == pytest.approx([1, 2])
    assert video.notices == (f"{path}: its video begins at 1.00 s, after the wanted 0 s",)


def test_a_budget_of_seconds_counts_from_where_the_wanted_part_begins(tmp_path: Path) -> None:
    path = write(tmp_path / "late.mkv", [(1.5, 4.0)], codec="flac", video=0.0)
    audio = decode_audio(path, MediaBudget(max_seconds=2.0))
    assert loudness(audio.samples) == [0.0] * 15 + [TONE] * 5
    assert any("only the first 2 s of its audio (max_seconds)" in said for said in audio.notices)


def test_an_interruption_is_silence_and_said(tmp_path: Path) -> None:
    path = write(tmp_path / "gap.mkv", [(0.0, 1.0), (2.0, 3.0)])
    audio = decode_audio(path, WIDE)
    assert loudness(audio.samples) == [TONE] * 10 + [0.0] * 10 + [TONE] * 10
    assert audio.notices == (f"{path}: 1.00 s of its audio are missing, now silence",)
    late = decode_audio(path, WIDE, start=1.5, end=2.5)
    assert loudness(late.samples) == [0.0] * 5 + [TONE] * 5


def test_small_jumps_of_the_clock_change_nothing(tmp_path: Path) -> None:
    """Formats round their timestamps; a player goes on."""
    path = write(tmp_path / "jumps.mkv", [(0.0, 1.0), (1.05, 2.0)])
    audio = decode_audio(path, WIDE)
    assert loudness(audio.samples) == [TONE] * 19
    assert audio.notices == ()


@pytest.mark.parametrize(
    ("layout", "level"),
    [
        ("mono", 1.0),
        ("stereo", 1.0),
        ("5.1", 2.41),
        ("7.1", 3.12),
        ("binaural", 1.0),
        ("2 channels (FL+FC)", 1.0),
        ("3 channels (FL+LFE+BR)", 1.0),
    ],
)
def test_any_channels_become_one(tmp_path: Path, layout: str, level: float) -> None:
    """Surround is mixed as FFmpeg does; channels that it cannot place count alike."""
    path = write(tmp_path / "sound.mov", [(0.0, 1.0)], layout=layout)
    samples = decode_audio(path, WIDE).samples
    assert len(samples) == SAMPLE_RATE
    assert np.abs(samples).max() / 0.25 == pytest.approx(level, abs=0.02)


@pytest.mark.parametrize("rate", [1_000, 8_000, 11_025, 44_100, 96_000, 192_000])
def test_any_rate_becomes_16_khz(tmp_path: Path, rate: int) -> None:
    path = write(tmp_path / "sound.wav", [(0.0, 1.0)], rate=rate)
    audio = decode_audio(path, WIDE)
    assert audio.rate == SAMPLE_RATE
    assert len(audio.samples) == pytest.approx(SAMPLE_RATE, abs=20)
    if rate > 1_000:  # else the tone is near the edge of what can be stored
        spectrum = np.abs(np.fft.rfft(audio.samples))
        assert np.argmax(spectrum) == pytest.approx(440, abs=1)


@pytest.mark.parametrize("codec", ["pcm_u8", "pcm_s16be", "pcm_s32le", "pcm_f32le", "pcm_f64le"])
def test_any_kind_of_number_is_read(tmp_path: Path, codec: str) -> None:
    path = write(tmp_path / "sound.mkv", [(0.0, 1.0)], codec=codec, layout="stereo")
    assert loudness(decode_audio(path, WIDE).samples) == [TONE] * 10


def test_a_stream_that_changes_its_rate_on_the_way_is_read_on(tmp_path: Path) -> None:
    one = write(tmp_path / "one.aac", [(0.0, 1.0)], codec="aac", rate=16_000)
    other = write(tmp_path / "other.aac", [(0.0, 1.0)], codec="aac", rate=48_000, layout="stereo")
    path = tmp_path / "both.aac"
    path.write_bytes(one.read_bytes() + other.read_bytes())
    samples = decode_audio(path, WIDE).samples
    assert len(samples) / SAMPLE_RATE == pytest.approx(2.0, abs=0.2)
    halves = [samples[3200:12_800], samples[-12_800:-3200]]
    assert [int(np.abs(np.fft.rfft(half)).argmax()) for half in halves] == [264, 264]


def test_a_clock_that_stands_still_does_not_fill_the_memory(tmp_path: Path) -> None:
    """By its times all of this sound is at the beginning."""
    cluster = {"cluster_time_limit": "30000", "cluster_size_limit": "100000000"}
    path = write(tmp_path / "sound.mkv", [(0.0, 30.0)], options=cluster)
    content = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        places = [cast(int, packet.pos) for packet in container.demux() if packet.size]
    for place in places:  # of a block: its track, then two bytes of time
        head = content.index(b"\x81", place, place + 8)
        content[head + 1 : head + 3] = b"\0\0"
    path.write_bytes(content)
    with av.open(str(path)) as container:
        times = [packet.pts for packet in container.demux() if packet.size]
    assert len(times) > 1000
    assert set(times) == {0}
    tracemalloc.start()
    audio = decode_audio(path, MediaBudget(max_seconds=1.0))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(audio.samples) == SAMPLE_RATE
    assert peak < 30 * SAMPLE_RATE * 4 / 3
