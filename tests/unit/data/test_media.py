from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import cast

import av
import numpy as np
import pytest
from av.container import OutputContainer
from av.stream import Disposition
from numpy.typing import NDArray
from PIL import Image

from triptych.data.media import (
    SAMPLE_RATE,
    Audio,
    MediaBudget,
    Video,
    decode_audio,
    decode_image,
    decode_video,
)
from triptych.errors import ConfigError, MediaError

WIDE = MediaBudget(fps=2.0, max_frames=1000, max_seconds=1000)


def write_media(
    path: Path,
    *,
    seconds: float = 10.0,
    video: str | None = "mpeg4",
    audio: str | None = "aac",
    layout: str = "stereo",
    options: dict[str, str] | None = None,
) -> Path:
    """A film at 25 fps whose grey level rises by 20 a second, with a tone whose peak is 0.05 in the
    first second, 0.10 in the next: picture and sound both tell what time it is.
    """
    with av.open(str(path), "w", options=options or {}) as container:
        pictures = cast(av.VideoStream, container.add_stream(video, rate=25)) if video else None
        sound = container.add_stream(audio, rate=44_100, layout=layout) if audio else None
        if pictures:
            pictures.width, pictures.height, pictures.pix_fmt = 64, 48, "yuv420p"
            pictures.bit_rate = 4_000_000
            for index in range(round(seconds * 25)):
                grey = np.full((48, 64, 3), int(index / 25 * 20), np.uint8)
                container.mux(pictures.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
            container.mux(pictures.encode())
        if sound:
            write_sound(container, cast(av.AudioStream, sound), tone(seconds, layout))
    return path


def write_sound(
    container: OutputContainer, stream: av.AudioStream, samples: NDArray[np.int16]
) -> None:
    frame = av.AudioFrame.from_ndarray(samples, "s16", stream.layout.name)
    frame.sample_rate, frame.pts = 44_100, 0
    container.mux(stream.encode(frame))
    container.mux(stream.encode())


def tone(seconds: float, layout: str) -> NDArray[np.int16]:
    times = np.arange(round(seconds * 44_100)) / 44_100
    wave = np.sin(2 * np.pi * 440 * times) * 0.05 * np.floor(times + 1) * 32767
    return np.repeat(wave.astype(np.int16), 2 if layout == "stereo" else 1)[None]


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten seconds, as mp4 (index at the end, or at the start), Matroska, AVI, transport stream."""
    folder = tmp_path_factory.mktemp("films")
    write_media(folder / "film.mp4", video="libx264")
    write_media(folder / "fast.mp4", video="libx264", options={"movflags": "+faststart"})
    write_media(folder / "film.mkv", video="libx264")
    write_media(folder / "film.avi", audio="mp3")
    write_media(folder / "film.ts", video="libx264")
    write_media(folder / "silent.mp4", audio=None, seconds=2)
    write_media(folder / "sound.m4a", video=None, seconds=2)
    write_media(folder / "sound.wav", video=None, audio="pcm_s16le", seconds=2, layout="mono")
    return folder


def shown_at(video: Video) -> NDArray[np.float64]:
    """When each frame was on screen, read from its grey level."""
    return video.frames[:, 10, 10, 0] / 20


def heard_at(audio: Audio) -> list[int]:
    """Which second of the film each whole second of sound comes from, read from its peak."""
    whole = audio.samples[: len(audio.samples) // SAMPLE_RATE * SAMPLE_RATE]
    middles = np.abs(whole.reshape(-1, SAMPLE_RATE))[:, 4000:12000].max(axis=1)
    return [round(peak / 0.05) - 1 for peak in middles.tolist()]


# ---------------------------------------------------------------- video


def test_a_clip_gives_four_frames_spread_over_it_at_fps_4(clip: Path) -> None:
    video = decode_video(clip, MediaBudget(fps=4.0))
    assert video.frames.shape == (4, 56, 56, 3)
    assert video.frames.dtype == np.uint8
    assert video.timestamps.tolist() == [0.0, 0.25, 0.5, 0.75]
    assert (video.fps, video.duration, video.notices) == (4.0, 1.0, ())
    every = decode_video(clip, MediaBudget(fps=8.0)).frames
    assert (video.frames == every[::2]).all()


@pytest.mark.parametrize("name", ["film.mp4", "film.mkv", "film.avi", "film.ts"])
@pytest.mark.parametrize(("start", "end"), [(None, None), (0.5, 1.5), (5.0, 7.0), (9.0, None)])
def test_frames_come_from_the_wanted_times(
    films: Path, name: str, start: float | None, end: float | None
) -> None:
    video = decode_video(films / name, WIDE, start, end)
    first, last = start or 0.0, end or 10.0
    wanted = np.arange(first, last, 0.5)
    assert video.notices == ()
    assert len(video.frames) == len(wanted)
    assert video.duration == pytest.approx(last - first, abs=0.05)
    # One frame lasts 0.04 s; a transport stream's first one appears a little later.
    assert video.timestamps == pytest.approx(wanted, abs=0.06)
    assert shown_at(video) == pytest.approx(wanted, abs=0.16)


def test_too_many_frames_are_thinned_over_the_whole_length_and_said(films: Path) -> None:
    video = decode_video(films / "film.mp4", MediaBudget(fps=2.0, max_frames=5))
    assert video.timestamps == pytest.approx([0, 2, 4, 6, 8])
    assert video.fps == pytest.approx(0.5)
    (notice,) = video.notices
    assert "5 frames at 0.5 fps instead of 20 at 2 fps (max_frames)" in notice
    assert "film.mp4" in notice


def test_no_frame_is_invented_where_the_file_has_fewer(clip: Path) -> None:
    video = decode_video(clip, MediaBudget(fps=30.0, max_frames=100))
    assert len(video.frames) == 8
    assert video.fps == 8.0
    assert video.notices == ()


def test_a_short_stretch_has_at_least_one_frame(films: Path) -> None:
    video = decode_video(films / "film.mp4", MediaBudget(fps=1.0), start=3.3, end=3.4)
    assert shown_at(video) == pytest.approx([3.28], abs=0.06)


def test_large_frames_are_scaled_down_and_said(films: Path) -> None:
    video = decode_video(films / "film.mp4", MediaBudget(max_pixels=800))
    height, width = video.frames.shape[1:3]
    assert height * width <= 800
    assert width / height == pytest.approx(64 / 48, rel=0.05)
    assert any("scaled from 64x48 to 32x24 (max_pixels)" in notice for notice in video.notices)


def test_only_the_first_seconds_of_a_long_film_are_taken_and_said(films: Path) -> None:
    budget = MediaBudget(fps=2.0, max_seconds=3)
    video = decode_video(films / "film.mp4", budget, start=2.0)
    audio = decode_audio(films / "film.mp4", budget, start=2.0)
    assert video.timestamps == pytest.approx([2, 2.5, 3, 3.5, 4, 4.5], abs=0.04)
    assert heard_at(audio) == [2, 3, 4]
    for notice in (*video.notices, *audio.notices):
        assert "only the first 3 s of its" in notice
    assert len(video.notices) == len(audio.notices) == 1


def test_an_end_beyond_the_film_is_said(films: Path) -> None:
    for decode in (decode_video, decode_audio):
        (notice,) = decode(films / "film.mp4", WIDE, 9.0, 12.0).notices
        assert "ends at 10.00 s, before the wanted 12 s" in notice


def test_a_film_that_is_stored_sideways_is_turned_upright(tmp_path: Path) -> None:
    path = tmp_path / "phone.mp4"
    picture = np.zeros((32, 64, 3), np.uint8)
    picture[:, :32] = 255  # the left half is white
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt = 64, 32, "yuv420p"
        for _ in range(5):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    content = bytearray(path.read_bytes())
    matrix = content.index(b"tkhd") + 44
    quarter_turn = [0, 1 << 16, 0, -(1 << 16), 0, 0, 32 << 16, 0, 1 << 30]  # clockwise
    content[matrix : matrix + 36] = b"".join(
        v.to_bytes(4, "big", signed=True) for v in quarter_turn
    )
    path.write_bytes(content)

    frames = decode_video(path, WIDE).frames
    assert frames.shape[1:] == (64, 32, 3)
    assert frames[:, :28].min() > 200  # the left side has become the top
    assert frames[:, 36:].max() < 50


# ---------------------------------------------------------------- audio


def test_a_clip_gives_one_second_of_sound(clip: Path) -> None:
    audio = decode_audio(clip, MediaBudget())
    assert audio.samples.shape == (SAMPLE_RATE,)
    assert audio.samples.dtype == np.float32
    assert audio.samples.flags["C_CONTIGUOUS"]
    assert audio.rate == SAMPLE_RATE
    assert audio.notices == ()


@pytest.mark.parametrize("name", ["film.mp4", "film.mkv", "film.avi", "film.ts"])
@pytest.mark.parametrize(("start", "end"), [(None, None), (1.0, 2.0), (5.0, 7.0), (9.0, None)])
def test_sound_comes_from_the_wanted_times(
    films: Path, name: str, start: float | None, end: float | None
) -> None:
    audio = decode_audio(films / name, WIDE, start, end)
    first, last = start or 0.0, end or 10.0
    assert len(audio.samples) / SAMPLE_RATE == pytest.approx(last - first, abs=0.1)
    assert heard_at(audio) == list(range(round(first), round(last)))[: len(heard_at(audio))]
    assert audio.notices == ()


@pytest.mark.parametrize("name", ["sound.m4a", "sound.wav"])
def test_files_with_sound_alone_are_heard_and_not_seen(films: Path, name: str) -> None:
    audio = decode_audio(films / name, WIDE)
    assert len(audio.samples) == 2 * SAMPLE_RATE
    assert heard_at(audio) == [0, 1]
    with pytest.raises(MediaError, match=rf"{name}: has no video stream"):
        decode_video(films / name, WIDE)


def test_a_silent_film_is_seen_and_not_heard(films: Path) -> None:
    assert len(decode_video(films / "silent.mp4", WIDE).frames) == 4
    with pytest.raises(MediaError, match=r"silent\.mp4: has no audio stream"):
        decode_audio(films / "silent.mp4", WIDE)


def test_the_cover_picture_of_a_song_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "song.mp3"
    with av.open(str(path), "w") as container:
        sound = container.add_stream("mp3", rate=44_100, layout="mono")
        cover = container.add_stream("png", rate=1)
        cover.width = cover.height = 16
        cover.pix_fmt = "rgb24"
        cover.disposition = Disposition.attached_pic
        picture = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")
        container.mux(cover.encode(picture))
        container.mux(cover.encode())
        write_sound(container, sound, tone(1, "mono"))
    assert len(decode_audio(path, WIDE).samples) == pytest.approx(SAMPLE_RATE, abs=1600)
    with pytest.raises(MediaError, match="has no video stream"):
        decode_video(path, WIDE)


# ---------------------------------------------------------------- images


def test_a_photo_is_turned_upright(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    stored = Image.new("RGB", (64, 32), "black")
    stored.paste("white", (0, 0, 32, 32))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    stored.save(path, exif=exif)
    image = decode_image(path, MediaBudget())
    assert (image.size, image.mode) == ((32, 64), "RGB")
    assert np.asarray(image)[:24].min() > 200
    assert np.asarray(image)[40:].max() < 50
    assert image.info["notices"] == ()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16"])
def test_images_of_any_mode_become_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("image.tiff" if mode in ("CMYK", "I;16") else "image.png")
    Image.new(mode, (20, 10)).save(path)
    image = decode_image(path, MediaBudget())
    assert (image.size, image.mode) == ((20, 10), "RGB")
    transparent = mode in ("LA", "RGBA")
    assert image.getpixel((0, 0)) in ([(255,) * 3] if transparent else [(0,) * 3, (255,) * 3])


def test_a_large_image_is_scaled_down_and_said(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    Image.new("RGB", (400, 100)).save(path)
    image = decode_image(path, MediaBudget(max_pixels=10_000))
    assert image.size == (200, 50)
    assert image.info["notices"] == (f"{path}: scaled from 400x100 to 200x50 (max_pixels)",)


# ---------------------------------------------------------------- what cannot be decoded

Decode = Callable[[Path, MediaBudget], object]
DECODERS: list[Decode] = [decode_video, decode_audio, decode_image]
decoders = pytest.mark.parametrize("decode", DECODERS)


@decoders
def test_missing_files_folders_and_empty_files_are_named(tmp_path: Path, decode: Decode) -> None:
    empty = tmp_path / "empty.mp4"
    empty.touch()
    for path, cause in (
        (tmp_path / "absent.mp4", "no such file"),
        (tmp_path, "is a folder"),
        (empty, "is empty"),
    ):
        with pytest.raises(MediaError) as caught:
            decode(path, WIDE)
        assert str(caught.value).startswith(f"{path}: ")
        assert cause in str(caught.value)


@decoders
def test_garbage_is_named(tmp_path: Path, decode: Decode) -> None:
    path = tmp_path / "garbage.mp4"
    for content in (Random(0).randbytes(5000), b"<html>404 Not Found</html>" * 50):
        path.write_bytes(content)
        with pytest.raises(MediaError, match=r"garbage\.mp4: .*decoded"):
            decode(path, WIDE)


@decoders
def test_a_film_or_photo_cut_in_half_is_named(tmp_path: Path, films: Path, decode: Decode) -> None:
    if decode is decode_image:
        whole = tmp_path / "whole.png"
        Image.effect_noise((64, 64), 50).save(whole)
    else:
        whole = films / "film.mp4"
    cut = tmp_path / f"cut{whole.suffix}"
    content = whole.read_bytes()
    for share in (0.2, 0.5, 0.9):
        cut.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(MediaError, match=r"cut.*decoded"):
            decode(cut, WIDE)


@pytest.mark.parametrize("share", [0.3, 0.5, 0.7])
def test_a_film_with_its_index_in_front_is_found_to_be_cut(
    tmp_path: Path, films: Path, share: float
) -> None:
    content = (films / "fast.mp4").read_bytes()
    start = content.index(b"mdat")
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(content[: start + int((len(content) - start) * share)])
    for decode in (decode_video, decode_audio):
        with pytest.raises(MediaError, match=r"cut\.mp4: .*(truncated|is it whole)"):
            decode(cut, WIDE)


def test_a_matroska_file_that_may_be_cut_is_said(tmp_path: Path, films: Path) -> None:
    content = (films / "film.mkv").read_bytes()
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(content[: len(content) // 2])
    for decode in (decode_video, decode_audio):
        assert any("truncated?" in notice for notice in decode(cut, WIDE).notices)


def test_damaged_frames_are_never_passed_over_in_silence(clip: Path, tmp_path: Path) -> None:
    budget = MediaBudget(fps=8)
    intact = decode_video(clip, budget)
    with av.open(str(clip)) as container:
        packets = [(p.pos, p.size) for p in container.demux(video=0) if p.size and p.pos]
    position, size = packets[3]
    content = bytearray(clip.read_bytes())
    content[position + size // 4 : position + size] = bytes(size - size // 4)
    path = tmp_path / "damaged.mp4"
    path.write_bytes(content)
    video = decode_video(path, budget)
    assert not np.array_equal(video.frames, intact.frames)
    assert any("sampled frames are damaged" in notice for notice in video.notices)


def test_a_stretch_outside_the_film_is_refused(films: Path) -> None:
    for decode in (decode_video, decode_audio):
        with pytest.raises(MediaError, match=r"film\.mp4: (start 30 s lies beyond|.*no samples)"):
            decode(films / "film.mp4", WIDE, 30.0, 40.0)


def test_nothing_but_media_errors_comes_out_of_damaged_files(clip: Path, tmp_path: Path) -> None:
    content, path = clip.read_bytes(), tmp_path / "damaged.mp4"
    failures = 0
    for seed in range(25):
        rng, damaged = Random(seed), bytearray(content)
        for _ in range(30):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        path.write_bytes(damaged)
        for decode in (decode_video, decode_audio):
            with suppress(MediaError):
                decode(path, WIDE)
                failures -= 1
            failures += 1
    assert failures > 10


@pytest.mark.parametrize("field", ["fps", "max_frames", "max_pixels", "max_seconds"])
def test_a_budget_of_nothing_is_refused(field: str) -> None:
    with pytest.raises(ConfigError, match=rf"media\.{field} is 0"):
        MediaBudget(**{field: 0})
