"""Frames sampled without decoding all of a film are those that decoding all of it gives."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from triptych.data.containers import opened, video_stream
from triptych.data.media import MediaBudget, Video, decode_video
from triptych.data.media.frames import FrameIndex, read_index
from triptych.errors import MediaError

SIZE = (96, 64)
WIDE = MediaBudget(fps=25.0, max_frames=1000, max_seconds=1000)


def film(
    path: Path,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    pixels: str = "yuv420p",
    seconds: int = 12,
    **container_options: str,
) -> Path:
    """A window that wanders over a pattern, 25 frames a second, a keyframe every 50."""
    tiles = np.random.default_rng(0).integers(60, 190, (40, 40, 3), np.uint8)
    pattern = np.kron(tiles, np.ones((8, 8, 1), np.uint8))
    with av.open(str(path), "w", options=container_options) as container:
        stream = cast(Any, container.add_stream(codec, rate=25))
        (stream.width, stream.height), stream.pix_fmt = SIZE, pixels
        stream.options, stream.codec_context.gop_size = options or {}, 50
        stream.codec_context.thread_count = 1
        for index in range(seconds * 25):
            x, y = int(100 + 90 * np.sin(index / 17)), int(100 + 90 * np.cos(index / 13))
            window = np.ascontiguousarray(pattern[y : y + SIZE[1], x : x + SIZE[0]])
            frame = av.VideoFrame.from_ndarray(window, format="rgb24").reformat(format=pixels)
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


_ALT = {"auto-alt-ref": "1", "lag-in-frames": "16", "cpu-used": "8"}
_OPEN = {"x264-params": "open-gop=1:bframes=3"}

FILMS: dict[str, Callable[[Path], Path]] = {
    "film.mp4": film,
    "film.mkv": film,
    "film.ts": film,
    "film.flv": film,
    "film.avi": film,
    "open.mkv": lambda path: film(path, options=_OPEN),
    "open.ts": lambda path: film(path, options=_OPEN),
    "refresh.mp4": lambda path: film(path, options={"x264-params": "intra-refresh=1"}),
    "fields.mp4": lambda path: film(path, options={"flags": "+ildct+ilme"}),
    "h265.mp4": lambda path: film(path, "libx265", {"x265-params": "log-level=none"}),
    "mpeg4.mp4": lambda path: film(path, "mpeg4", {"bf": "2"}),
    "mpeg4.avi": lambda path: film(path, "mpeg4", {"bf": "2"}),
    "mpeg2.mpg": lambda path: film(path, "mpeg2video", {"bf": "2"}),
    "mpeg2.ts": lambda path: film(path, "mpeg2video", {"bf": "2"}),
    "vp8.webm": lambda path: film(path, "libvpx", _ALT),
    "vp9.webm": lambda path: film(path, "libvpx-vp9", _ALT),
    "mjpeg.mov": lambda path: film(path, "mjpeg", pixels="yuvj420p"),
    "h263.flv": lambda path: film(path, "flv"),
    "moves.gif": lambda path: film(path, "gif", pixels="rgb8"),
    "lines.mov": lambda path: film(path, "qtrle", pixels="rgb24"),
    "10-bit.mkv": lambda path: film(path, pixels="yuv420p10le"),
}
WHOLE = ("film.avi", "mpeg2.mpg", "refresh.mp4", "lines.mov")
"""Without a time for each frame, or without keyframes that the decoder confirms: decoded whole."""


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Twelve seconds each, made when they are first asked for."""
    folder = tmp_path_factory.mktemp("films")

    def get(name: str) -> Path:
        path = folder / name
        return path if path.exists() else FILMS[name](path)

    return get


def all_frames(path: Path) -> list[tuple[float, NDArray[np.uint8]]]:
    """What FFmpeg decodes from beginning to end, with times."""
    frames = []
    with av.open(str(path)) as container:
        start = (container.start_time or 0) / av.time_base
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for frame in container.decode(stream):
            pixels = cast(NDArray[np.uint8], frame.to_ndarray(format="rgb24", interpolation="AREA"))
            frames.append((frame.time - start, pixels))
    return frames


def on_screen(
    frames: list[tuple[float, NDArray[np.uint8]]], time: float
) -> tuple[float, NDArray[np.uint8]]:
    """The frame before the first one that comes too late."""
    late = [place for place, (shown, _) in enumerate(frames) if shown > time + 1e-3]
    return frames[max(late[0] - 1, 0) if late else -1]


def check(video: Video, path: Path, moments: list[float]) -> None:
    frames = all_frames(path)
    shown = [on_screen(frames, moment) for moment in moments]
    assert video.timestamps.tolist() == pytest.approx([time for time, _ in shown])
    assert len(video.frames) == len(shown)
    for got, (_, meant) in zip(video.frames, shown, strict=True):
        assert (got == meant).all()


@pytest.fixture
def never_whole(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Forbids to fall back on decoding all."""

    def forbid() -> None:
        monkeypatch.setattr("triptych.data.media.video.decode_all", None)

    return forbid


@pytest.mark.parametrize("name", FILMS)
@pytest.mark.parametrize(("fps", "start", "end"), [(0.5, None, None), (1.1, 3.3, 9.7)])
def test_sampled_frames_are_the_same_bits_as_those_of_a_film_decoded_whole(
    films: Callable[[str], Path],
    never_whole: Callable[[], None],
    name: str,
    fps: float,
    start: float | None,
    end: float | None,
) -> None:
    path = films(name)
    if name not in WHOLE:
        never_whole()
    video = decode_video(path, MediaBudget(fps=fps, max_seconds=100), start, end)
    # The times that FFmpeg makes up for an AVI begin at one frame, those it decodes at another.
    first = start or (0.04 if name == "film.avi" else all_frames(path)[0][0])
    moments = [first + video.duration * k / len(video.frames) for k in range(len(video.frames))]
    assert len(moments) >= 6
    check(video, path, moments)


def thin_out_cues(path: Path) -> None:
    """Void most entries of a Matroska index: a seek lands far before its goal."""
    content = bytearray(path.read_bytes())
    place = content.rindex(b"\x1c\x53\xbb\x6b")
    place = content.index(b"\xbb", place + 4)
    for number in range(40):
        assert content[place] == 0xBB
        if number % 10:
            content[place] = 0xEC
        place += 2 + (content[place + 1] & 0x7F)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("long.mp4", {}),
        pytest.param("long.mkv", {}, marks=pytest.mark.slow),
        pytest.param("long.ts", {}, marks=pytest.mark.slow),
        pytest.param(
            "pieces.mp4", {"movflags": "frag_keyframe+empty_moov"}, marks=pytest.mark.slow
        ),
        pytest.param("live.mkv", {"live": "1"}, marks=pytest.mark.slow),
        pytest.param("sparse.mkv", {}, marks=pytest.mark.slow),
    ],
)
def test_frames_far_apart_are_sought(
    tmp_path: Path, never_whole: Callable[[], None], name: str, options: dict[str, str]
) -> None:
    """More than 500 frames lie between them, so that formats with an index are not read through;
    of the last three the index is incomplete.
    """
    codec = "mpeg2video" if name == "long.ts" else "mpeg4"
    path = film(tmp_path / name, codec, {"bf": "2"}, seconds=80, **options)
    if name == "sparse.mkv":
        thin_out_cues(path)
    never_whole()
    video = decode_video(path, MediaBudget(fps=0.04, max_seconds=100))
    begin = all_frames(path)[0][0]
    check(video, path, [begin + video.duration * k / 3 for k in range(3)])


@pytest.mark.parametrize("name", ["film.mp4", "film.ts", "open.mkv", "mpeg4.avi"])
def test_every_frame_of_a_film_can_be_had(films: Callable[[str], Path], name: str) -> None:
    path = films(name)
    video = decode_video(path, WIDE)
    assert len(video.frames) == 300
    for got, (_, meant) in zip(video.frames, all_frames(path), strict=True):
        assert (got == meant).all()


@pytest.mark.parametrize("name", ["mpeg4.mp4", "lines.mov"])
def test_keyframes_that_are_none_are_not_believed(
    films: Callable[[str], Path], tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    path.write_bytes(films(name).read_bytes().replace(b"stss", b"free"))
    with av.open(str(path)) as container:
        assert all(packet.is_keyframe for packet in container.demux(video=0) if packet.size)
    budget = MediaBudget(fps=0.7)
    assert (decode_video(path, budget).frames == decode_video(films(name), budget).frames).all()


def test_what_no_sampled_frame_needs_is_not_decoded(
    films: Callable[[str], Path], tmp_path: Path
) -> None:
    path, budget = films("film.mp4"), MediaBudget(fps=0.25)
    intact = decode_video(path, budget)
    assert intact.timestamps.tolist() == [0, 4, 8]  # each the beginning of a scene of 50 frames
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    content = bytearray(path.read_bytes())
    for number in [*range(60, 90), *range(130, 190)]:
        place, size = cast(int, packets[number].pos), packets[number].size
        content[place : place + size] = bytes(size)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(content)
    video = decode_video(broken, budget)
    assert (video.frames == intact.frames).all()
    assert video.notices == intact.notices == ()
    with pytest.raises(MediaError, match=r"broken\.mp4: .*decod"):
        decode_video(broken, WIDE)


# ---------------------------------------------------------------- the index


def index_of(path: Path, start: float = 0.0, seconds: float = 1000.0) -> FrameIndex:
    with opened(path) as container:
        return read_index(container, video_stream(container, path), path, start, seconds)


def test_the_index_holds_all_frames_in_the_order_of_decoding(films: Callable[[str], Path]) -> None:
    index = index_of(films("film.mp4"))
    assert index.times.tolist() == pytest.approx([place / 25 for place in range(300)])
    assert index.end == pytest.approx(12)
    assert index.ticks.tolist() != sorted(index.ticks.tolist())
    assert np.flatnonzero(index.keys).tolist() == [0, 50, 100, 150, 200, 250]
    assert index.exact
    assert index.whole
    targets = np.array([0.0, 0.1, 5.0, 11.99])
    assert index.seconds[index.shown_at(targets)] == pytest.approx([0, 0.08, 5.0, 11.96])


def test_times_that_the_format_does_not_store_are_not_exact(films: Callable[[str], Path]) -> None:
    assert not index_of(films("film.avi")).exact
    assert not index_of(films("mpeg2.mpg")).exact
    assert index_of(films("mpeg4.mp4")).exact


def test_of_a_long_film_only_the_wanted_part_is_read(films: Callable[[str], Path]) -> None:
    index = index_of(films("film.mp4"), start=2.0, seconds=3.0)
    assert not index.whole
    assert 5.0 < index.end < 5.3
    video = decode_video(films("film.mp4"), MediaBudget(max_seconds=2), start=2.0, end=9.0)
    assert video.timestamps == pytest.approx([2, 2.5, 3, 3.5], abs=0.03)
    (notice,) = video.notices
    assert "only the first 2 s of its video (max_seconds)" in notice


def test_runs_leave_out_what_lies_before_the_next_keyframe() -> None:
    index = FrameIndex(
        ticks=np.arange(1000),
        seconds=np.arange(1000) / 25,
        keys=np.arange(1000) % 100 == 0,
        end=40.0,
        exact=True,
        whole=True,
    )

    def runs(*wanted: int) -> list[tuple[int, list[int]]]:
        return [(start, sorted(places)) for start, places in index.runs(np.array(wanted))]

    assert runs(0, 50, 99) == [(0, [0, 50, 99])]
    assert runs(150, 350, 360) == [(100, [150]), (300, [350, 360])]
    assert runs(340, 60, 340) == [(0, [60]), (300, [340])]
    # The next scene begins so soon that jumping there would gain nothing.
    assert runs(90, 210) == [(0, [90]), (200, [210])]
    assert runs(90, 110, 290, 300) == [(0, [90, 110]), (200, [290, 300])]
