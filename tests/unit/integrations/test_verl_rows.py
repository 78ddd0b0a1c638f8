"""Samples as rows of verl's prompts: what is written, and what is refused."""

import json
from pathlib import Path

import pyarrow.parquet
import pytest

from triptych.cli.main import main
from triptych.data.media import MediaBudget
from triptych.data.sample import Media, MediaKind, Sample, write_samples
from triptych.errors import DataError
from triptych.integrations.verl_data import prompt_row, sample_of, write_prompts

VIDEO = Media(kind=MediaKind.VIDEO, path=Path("/clips/a.mp4"), start=1.0)
IMAGE = Media(kind=MediaKind.IMAGE, path=Path("/clips/b.png"))
AUDIO = Media(kind=MediaKind.AUDIO, path=Path("/clips/a.mp4"))


def sample(**changes: object) -> Sample:
    fields = {
        "id": "q1",
        "question": "What does the person feel?",
        "problem_type": "multiple_choice",
        "options": ("happy", "angry"),
        "answer": "B",
        "media": (VIDEO, IMAGE),
        "extra": {"source": "emer"},
    }
    return Sample.model_validate({**fields, **changes})


def test_a_row_holds_prompt_media_answer_and_the_sample() -> None:
    row = prompt_row(sample(), 7, MediaBudget(fps=1.0, max_frames=8, max_pixels=400))
    system, user = row["prompt"]
    assert system["role"] == "system"
    assert "<context>" in system["content"]
    assert user["content"].startswith("<video><image>What does the person feel?\nA. happy\n")
    assert row["videos"] == [
        {
            "video": "/clips/a.mp4",
            "fps": 1.0,
            "max_frames": 8,
            "max_pixels": 400,
            "video_start": 1.0,
        }
    ]
    assert row["images"] == [{"image": "/clips/b.png", "max_pixels": 400}]
    assert row["data_source"] == "emer"
    assert row["reward_model"]["ground_truth"] == "B"
    assert row["extra_info"]["index"] == 7
    assert sample_of(row["extra_info"]) == sample()


def test_sound_and_placeholders_are_refused_by_name() -> None:
    with pytest.raises(DataError, match=r"sample 'q1': media: has sound, .*`triptych grpo`"):
        prompt_row(sample(media=(VIDEO, AUDIO)), 0, MediaBudget())
    for changes in ({"question": "Is <image> a word?"}, {"options": ("<video>", "none")}):
        with pytest.raises(
            DataError, match=r"sample 'q1': question or options: hold <(image|video)>"
        ):
            prompt_row(sample(**changes), 0, MediaBudget())


def test_a_file_without_media_has_no_columns_of_empty_lists(tmp_path: Path) -> None:
    path = tmp_path / "new" / "prompts.parquet"
    assert write_prompts(path, [sample(media=()), sample(id="q2", media=())], MediaBudget()) == 2
    table = pyarrow.parquet.read_table(path)
    assert table.column_names == ["data_source", "prompt", "reward_model", "extra_info"]
    mixed = [sample(media=()), sample(id="q2", media=(IMAGE,))]
    write_prompts(path, mixed, MediaBudget())
    rows = pyarrow.parquet.read_table(path).to_pylist()
    assert [len(row["images"]) for row in rows] == [0, 1]
    assert "videos" not in rows[0]


def test_the_command_writes_absolute_paths_or_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = Media(kind=MediaKind.VIDEO, path=tmp_path / "clips" / "a.mp4")
    write_samples(tmp_path / "in.jsonl", [sample(media=(video,))])
    out = tmp_path / "out.parquet"
    words = ["data", "convert", str(tmp_path / "in.jsonl"), str(out), "--to", "verl"]
    assert main([*words, "--media.max-frames", "4"]) == 0
    (row,) = pyarrow.parquet.read_table(out).to_pylist()
    assert row["videos"][0]["video"] == str(tmp_path / "clips" / "a.mp4")
    assert row["videos"][0]["max_frames"] == 4
    out.unlink()
    write_samples(tmp_path / "in.jsonl", [sample(media=(video, AUDIO))])
    assert main(words) == 1
    assert "sample 'q1': media: has sound" in capsys.readouterr().err
    assert not out.exists()


def test_a_row_without_a_sample_is_refused() -> None:
    with pytest.raises(DataError, match=r"extra_info\.sample: missing .*--to verl"):
        sample_of({"index": 0})
    broken = json.dumps({"id": "q1", "question": "?"})
    with pytest.raises(DataError, match=r"extra_info\.sample: problem_type: missing"):
        sample_of({"sample": broken})
