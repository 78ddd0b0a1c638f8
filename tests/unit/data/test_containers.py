"""What FFmpeg is kept from: names, addresses, other files, sizes and loops that never end."""

import io
import socket
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
import pytest
from PIL import Image

from triptych.data.containers import LARGEST_FRAME
from triptych.data.media import MediaBudget, decode_audio, decode_image, decode_video
from triptych.errors import MediaError

BUDGET = MediaBudget()


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "film.mp4"
    with av.open(str(path), "w") as container:
        stream = cast(Any, container.add_stream("mpeg4", rate=25))
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(5):
            grey = np.full((48, 64, 3), 128, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize("name", ["film.txt", "film.jpg", "film", "100%d.png", "film.m3u8"])
def test_the_name_of_a_file_does_not_matter(film: Path, tmp_path: Path, name: str) -> None:
    film.rename(tmp_path / name)
    assert len(decode_video(tmp_path / name, MediaBudget(fps=25)).frames) == 5


def test_a_text_is_no_film(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("what was seen and heard\n" * 100)
    with pytest.raises(MediaError, match=r"notes\.txt: cannot be decoded"):
        decode_video(path, BUDGET)


@pytest.mark.parametrize("name", ["list.mp4", "list.m3u8"])
def test_a_playlist_fetches_nothing(tmp_path: Path, name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        address = f"http://127.0.0.1:{server.getsockname()[1]}/clip.ts"
        path = tmp_path / name
        path.write_text(
            f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{address}\n#EXT-X-ENDLIST\n"
        )
        for decode in (decode_video, decode_audio):
            with pytest.raises(MediaError, match=rf"{name}: cannot be decoded"):
                decode(path, BUDGET)
        with pytest.raises(TimeoutError):
            server.accept()


def test_a_list_of_files_opens_none_of_them(film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(film.parent)
    path = film.with_name("list.mp4")
    path.write_text("ffconcat version 1.0\nfile film.mp4\n")
    with pytest.raises(MediaError, match=r"list\.mp4: cannot be decoded"):
        decode_video(path, BUDGET)


def test_frames_larger_than_8k_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "huge.y4m"
    assert LARGEST_FRAME == 8192 * 4320
    path.write_bytes(b"YUV4MPEG2 W8192 H4321 F25:1 C420jpeg\nFRAME\n" + bytes(100_000))
    with pytest.raises(MediaError, match=r"huge\.y4m: its frames are 8192x4321, more than"):
        decode_video(path, BUDGET)


def test_frames_that_turn_out_larger_than_8k_are_refused(tmp_path: Path) -> None:
    """A header says little; the decoder finds out."""
    png = io.BytesIO()
    Image.new("1", (8192, 4321)).save(png, "png")
    path = tmp_path / "huge.png"
    path.write_bytes(png.getvalue())
    with pytest.raises(MediaError, match=r"huge\.png: cannot be decoded"):
        decode_video(path, BUDGET)
    assert decode_image(path, BUDGET).size == (1068, 563)
