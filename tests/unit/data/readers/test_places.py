"""Where media are looked for, and what is taken from the files that are there."""

import json
import shutil
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from triptych.data.readers import read_dataset
from triptych.data.readers.base import RecordError
from triptych.data.readers.places import MediaFolder

OMNI: dict[str, Any] = {
    "problem": "Who?", "problem_type": "free-form", "solution": "Ana", "data_type": "video",
}  # fmt: skip


def media(folder: Path, record: dict[str, Any]) -> list[tuple[str, str]]:
    path = folder / "data.json"
    path.write_text(json.dumps([record]))
    dataset = read_dataset(path)
    assert dataset.problems == ()
    return [
        (item.kind, item.path.relative_to(folder).as_posix()) for item in dataset.samples[0].media
    ]


def silent_film(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=8)
        stream.width, stream.height, stream.pix_fmt = 56, 56, "yuv420p"
        for _ in range(4):
            picture = av.VideoFrame.from_ndarray(np.zeros((56, 56, 3), np.uint8), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


def test_a_video_is_heard_if_it_has_a_sound_or_is_not_there_to_tell(
    clip: Path, tmp_path: Path
) -> None:
    shutil.copy(clip, tmp_path / "loud.mp4")
    silent_film(tmp_path / "silent.mp4")
    (tmp_path / "broken.mp4").write_bytes(b"no film")
    for name, kinds in (
        ("loud", ["video", "audio"]),
        ("silent", ["video"]),
        ("absent", ["video", "audio"]),
        ("broken", ["video", "audio"]),
    ):
        path = f"{name}.mp4"
        assert media(tmp_path, {**OMNI, "path": path}) == [(kind, path) for kind in kinds]


def test_where_the_record_does_not_say_the_file_or_its_name_tells(
    clip: Path, tmp_path: Path
) -> None:
    shutil.copy(clip, tmp_path / "film.dat")
    Image.new("RGB", (8, 8)).save(tmp_path / "picture.mp4", format="PNG")
    record = {**OMNI, "data_type": None}
    assert media(tmp_path, {**record, "path": "film.dat"}) == [
        ("video", "film.dat"),
        ("audio", "film.dat"),
    ]
    assert media(tmp_path, {**record, "path": "picture.mp4"}) == [("image", "picture.mp4")]
    assert media(tmp_path, {**record, "path": "absent.wav"}) == [("audio", "absent.wav")]


def test_a_path_may_start_from_a_folder_called_videos(tmp_path: Path) -> None:
    record = {**OMNI, "path": "emer/1.mp4"}
    assert media(tmp_path, record)[0] == ("video", "emer/1.mp4")
    film = tmp_path / "videos" / "emer" / "1.mp4"
    film.parent.mkdir(parents=True)
    silent_film(film)
    assert media(tmp_path, record) == [("video", "videos/emer/1.mp4")]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (["1.jpg", "2.jpg"], [("image", "1.jpg"), ("image", "2.jpg")]),
        ({"video": "1.mp4", "audio": "1.wav"}, [("video", "1.mp4"), ("audio", "1.wav")]),
        ({"image": "1.jpg", "audio": "1.wav"}, [("image", "1.jpg"), ("audio", "1.wav")]),
        ({"video": "1.mp4"}, [("video", "1.mp4"), ("audio", "1.mp4")]),
    ],
)
def test_a_path_may_be_several(path: Any, expected: list[tuple[str, str]], tmp_path: Path) -> None:
    assert media(tmp_path, {**OMNI, "data_type": "image", "path": path}) == expected


def test_the_sound_of_daily_omni_is_a_file_of_its_own_where_that_is_there(tmp_path: Path) -> None:
    record = {"Question": "Why?", "Choice": ["so", "or so"], "Answer": "A", "video_id": "x"}
    film, sound = "Videos/x/x_video.mp4", "Videos/x/x_audio.wav"
    assert media(tmp_path, record) == [("video", film), ("audio", film)]
    (tmp_path / sound).parent.mkdir(parents=True)
    (tmp_path / sound).write_bytes(b"...")
    assert media(tmp_path, record) == [("video", film), ("audio", sound)]


def test_the_videos_of_social_iq_stand_beside_the_folder_of_its_questions(tmp_path: Path) -> None:
    answers = {f"a{i}": f"answer {i}" for i in range(4)}
    record = {"qid": "v_q1", "q": "Why?", "vid_name": "v", "answer_idx": 0, **answers}
    (tmp_path / "siq2" / "video").mkdir(parents=True)
    (tmp_path / "siq2" / "qa").mkdir()
    silent_film(tmp_path / "siq2" / "video" / "v.mp4")
    path = tmp_path / "siq2" / "qa" / "qa_val.json"
    path.write_text(json.dumps(record))
    (item,) = read_dataset(path).samples[0].media
    assert item.path == tmp_path / "siq2" / "video" / "v.mp4"


@pytest.mark.parametrize(
    "value", [None, 3, "", " ", [], {}, {"path": None}, {"path": 3, "bytes": "x"}, {"url": "x"}]
)
def test_what_is_no_path_is_refused(value: Any, tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"^film: "):
        MediaFolder(tmp_path).place(value, "film")


@pytest.mark.parametrize("value", ["\0", "x" * 5000, "a/" * 3000])
def test_what_no_file_can_be_called_is_left_for_decoding_to_name(
    value: str, tmp_path: Path
) -> None:
    folder = MediaFolder(tmp_path)
    path = folder.place(value, "film")
    assert [item["kind"] for item in folder.film(path)] == ["video", "audio"]


def test_files_may_be_written_as_file_addresses(tmp_path: Path) -> None:
    folder = MediaFolder(tmp_path)
    assert folder.place(f"file://{tmp_path}/a.mp4", "film") == tmp_path / "a.mp4"
    assert folder.place({"path": "a.mp4", "bytes": None}, "film") == tmp_path / "a.mp4"
