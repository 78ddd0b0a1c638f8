"""Files are what they hold: names lie, FFmpeg guesses, Pillow knows films that it cannot read."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import cast

import av
import numpy as np
import pytest
from av.stream import Disposition
from PIL import Image

from triptych.data import MediaBudget, decode_audio, decode_image, decode_video
from triptych.data.detect import detect
from triptych.data.sample import MediaKind
from triptych.errors import MediaError


def greys() -> list[Image.Image]:
    """Five frames; new ones each time, since Pillow leaves the settings of a writer on them."""
    return [Image.new("RGB", (64, 48), (shade, shade, shade)) for shade in range(0, 250, 50)]


def video_frame(picture: Image.Image) -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(np.asarray(picture), format="rgb24")


def write(path: Path, video: str | None = None, audio: str | None = None) -> Path:
    """A fifth of a second of film, half a second of silence, in the codecs given."""
    with av.open(str(path), "w") as container:
        pictures = cast(av.VideoStream, container.add_stream(video, rate=25)) if video else None
        sound = container.add_stream(audio, rate=16_000, layout="mono") if audio else None
        if pictures:
            pictures.width, pictures.height, pictures.pix_fmt = 64, 48, "yuv420p"
            for grey in greys():
                container.mux(pictures.encode(video_frame(grey)))
            container.mux(pictures.encode())
        if sound:
            silence = np.zeros((1, 8_000), np.int16)
            frame = av.AudioFrame.from_ndarray(silence, "s16", "mono")
            frame.sample_rate, frame.pts = 16_000, 0
            container.mux(cast(av.AudioStream, sound).encode(frame))
            container.mux(cast(av.AudioStream, sound).encode())
    return path


def animation(path: Path) -> Path:
    first, *others = greys()
    first.save(path, save_all=True, append_images=others, duration=100)
    return path


def pages(path: Path) -> Path:
    first, *others = greys()
    first.save(path, save_all=True, append_images=others)
    return path


def still(path: Path) -> Path:
    greys()[1].save(path)
    return path


def song_with_cover(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        sound = container.add_stream("mp3", rate=16_000, layout="mono")
        cover = container.add_stream("mjpeg")
        cover.width, cover.height, cover.pix_fmt = 64, 48, "yuvj420p"
        cover.disposition = Disposition.attached_pic
        container.start_encoding()
        container.mux(cover.encode(video_frame(greys()[2])))
        container.mux(cover.encode())
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8_000), np.int16), "s16", "mono")
        frame.sample_rate, frame.pts = 16_000, 0
        container.mux(sound.encode(frame))
        container.mux(sound.encode())
    return path


def two_pictures(path: Path) -> Path:
    """As phones with two lenses write them."""
    left, right, *_ = greys()
    left.save(path, format="MPO", save_all=True, append_images=[right])
    return path


FILES: dict[str, tuple[Callable[[Path], Path], tuple[MediaKind, ...]]] = {
    **{f"a.{end}": (still, (MediaKind.IMAGE,)) for end in ("jpg", "png", "gif", "webp", "tiff")},
    "two.mpo": (two_pictures, (MediaKind.IMAGE,)),
    "moves.gif": (animation, (MediaKind.VIDEO,)),
    "moves.png": (animation, (MediaKind.VIDEO,)),
    "pages.tiff": (pages, (MediaKind.IMAGE,)),
    "silent.mp4": (lambda path: write(path, video="libx264"), (MediaKind.VIDEO,)),
    "elementary.m1v": (lambda path: write(path, video="mpeg1video"), (MediaKind.VIDEO,)),
    "film.mkv": (
        lambda path: write(path, "libx264", "aac"), (MediaKind.VIDEO, MediaKind.AUDIO)
    ),
    "film.mp4": (
        lambda path: write(path, "libx264", "aac"), (MediaKind.VIDEO, MediaKind.AUDIO)
    ),
    "sound.wav": (lambda path: write(path, audio="pcm_s16le"), (MediaKind.AUDIO,)),
    "sound.m4a": (lambda path: write(path, audio="aac"), (MediaKind.AUDIO,)),
    "song.mp3": (song_with_cover, (MediaKind.AUDIO,)),
}  # fmt: skip

DECODE: dict[MediaKind, Callable[..., object]] = {
    MediaKind.IMAGE: decode_image,
    MediaKind.VIDEO: decode_video,
    MediaKind.AUDIO: decode_audio,
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_what_it_holds_and_can_be_decoded_as_that(name: str, tmp_path: Path) -> None:
    make, kinds = FILES[name]
    path = make(tmp_path / name)
    assert detect(path) == kinds
    for kind in kinds:
        DECODE[kind](path, MediaBudget(fps=10))


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("alias", ["nothing", "notes.txt", "a.jpg", "a.wav"])
def test_the_name_says_nothing(name: str, alias: str, tmp_path: Path) -> None:
    make, kinds = FILES[name]
    shutil.move(make(tmp_path / name), tmp_path / alias)
    assert detect(tmp_path / alias) == kinds


def test_the_frames_of_an_animation_are_all_there(tmp_path: Path) -> None:
    for name in ("moves.gif", "moves.png"):
        assert len(decode_video(animation(tmp_path / name), MediaBudget(fps=10)).frames) == 5


@pytest.mark.parametrize("name", ["moves.webp", "moves.avif"])
def test_an_animation_of_which_only_the_first_picture_could_be_seen_is_refused(
    name: str, tmp_path: Path
) -> None:
    with pytest.raises(MediaError, match=rf"{name}: an animated (WEBP|AVIF) cannot be decoded"):
        detect(animation(tmp_path / name))


def test_a_picture_that_only_ffmpeg_can_open_is_no_film(tmp_path: Path) -> None:
    """FFmpeg sees a phone's HEIC photo, and an SVG, as a film of one frame."""
    photo = still(tmp_path / "a.avif")
    as_heic = tmp_path / "photo.heic"
    as_heic.write_bytes(photo.read_bytes().replace(b"avif", b"heic").replace(b"avis", b"heis"))
    drawing = tmp_path / "drawing.svg"
    drawing.write_text('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"></svg>')
    for path in (as_heic, drawing):
        with pytest.raises(MediaError, match=rf"{path.name}: is a picture that cannot be decoded"):
            detect(path)


@pytest.mark.parametrize("name", ["notes", "notes.txt", "movie.nfo", "sound.ub", "a.jpg", "a.mp4"])
def test_text_is_no_media_whatever_its_name_is(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text("What does he want?\n" * 50)
    with pytest.raises(MediaError, match=rf"{name}: cannot be decoded"):
        detect(path)


def test_subtitles_are_no_media(tmp_path: Path) -> None:
    path = tmp_path / "film.srt"
    path.write_text("1\n00:00:00,000 --> 00:00:02,000\nHello\n\n")
    with pytest.raises(MediaError, match=r"film.srt: holds neither pictures nor sound"):
        detect(path)


def test_missing_and_empty_files_and_folders_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    for name, cause in (("gone.mp4", "no such file"), ("empty.mp4", "is empty"), ("", "a folder")):
        with pytest.raises(MediaError, match=cause):
            detect(tmp_path / name)


@pytest.mark.parametrize(("name", "size"), [("a.jpg", 10), ("a.png", 20), ("film.mp4", 900)])
def test_a_file_that_is_cut_off_in_its_head_is_named(name: str, size: int, tmp_path: Path) -> None:
    path = FILES[name][0](tmp_path / name)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(MediaError, match=name):
        detect(path)
