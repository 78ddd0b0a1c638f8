"""Files in the published forms, and the samples that they stand for, both written by hand."""

import json
from pathlib import Path
from typing import Any

import pytest

from triptych.data.readers import Dataset, read_dataset
from triptych.data.sample import ProblemType, Sample, read_samples, write_samples

GOLDEN = Path(__file__).parents[3] / "golden" / "readers"
FORM_OF = {
    "native.jsonl": "native",
    "humanomni.json": "humanomni",
    "video_r1.json": "video_r1",
    "social_iq.json": "social_iq",
    "daily_omni.json": "daily_omni",
    "worldsense.json": "worldsense",
    "worldsense_table.tsv": "worldsense",
    "chat.jsonl": "chat",
    "columns.csv": "columns",
    "list.yaml": "humanomni, video_r1",
}


def expected(name: str) -> list[Sample]:
    return read_samples(GOLDEN / f"{Path(name).stem}.expected.jsonl")


def check_round_trip(dataset: Dataset, folder: Path) -> None:
    """What is written is read back identical, by both ways of reading."""
    path = folder / "converted" / "data.jsonl"
    write_samples(path, dataset.samples)
    assert read_samples(path) == list(dataset.samples)
    again = read_dataset(path)
    assert (again.samples, again.problems, again.form) == (dataset.samples, (), "native")


def test_there_is_a_golden_file_of_every_form() -> None:
    sources = {path.name for path in GOLDEN.iterdir() if ".expected." not in path.name}
    assert sources == set(FORM_OF)


@pytest.mark.parametrize("name", FORM_OF)
def test_a_golden_file_is_read_as_it_was_meant(name: str, tmp_path: Path) -> None:
    dataset = read_dataset(GOLDEN / name)
    assert dataset.problems == ()
    assert list(dataset.samples) == expected(name)
    assert dataset.form == FORM_OF[name]
    check_round_trip(dataset, tmp_path)


@pytest.mark.parametrize("name", ["humanomni.json", "video_r1.json", "daily_omni.json"])
def test_records_of_a_json_array_may_stand_one_a_line(name: str, tmp_path: Path) -> None:
    records = json.loads((GOLDEN / name).read_text(encoding="utf-8"))
    path = tmp_path / "lines.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    dataset = read_dataset(path, media_root=GOLDEN)
    assert dataset.form == FORM_OF[name]
    assert [without_id(sample) for sample in dataset.samples] == [
        without_id(sample) for sample in expected(name)
    ]


def without_id(sample: Sample) -> Sample:
    return sample.model_copy(update={"id": "x"})


def test_how_a_file_was_told_is_said() -> None:
    assert read_dataset(GOLDEN / "humanomni.json").why == (
        "a JSON array whose records have problem, problem_type, solution, path"
    )
    assert read_dataset(GOLDEN / "columns.csv").why == (
        "a CSV table whose records have question, answer, video_path"
    )
    why = read_dataset(GOLDEN / "list.yaml").why
    assert why.startswith("a list of 2 data sets: ")
    assert "video_r1.json is a JSON array whose records have problem" in why


# --- the cold start's EMER file: 150 records ------------------------------------------------------

EMOTIONS = ("happy", "worried", "angry", "helpless", "surprised", "calm", "sad", "proud")


def emer_record(index: int) -> dict[str, Any]:
    """A record as emer_rewrite.json has it: emotions with letters, one or several of them right."""
    emotions = [EMOTIONS[(index + step) % len(EMOTIONS)] for step in range(3 + index % 5)]
    letters = sorted({"ABCDEFG"[index % len(emotions)], "ABCDEFG"[(index // 3) % len(emotions)]})
    return {
        "problem": "Which emotions does the person show? Choose one or more.",
        "problem_type": "emer_ov_mc",
        "options": [f"{'ABCDEFG'[i]}. {emotion}" for i, emotion in enumerate(emotions)],
        "solution": f"<context>The brows move in clip {index}; the voice is low.</context>\n"
        f"<think>The voice of clip {index} tells.</think>\n"
        f"<answer>{','.join(letters)}</answer>",
        "data_type": "video",
        "path": f"emer/sample_{index:08d}.mp4",
    }


def write_emer(folder: Path) -> Path:
    path = folder / "emer_rewrite.json"
    path.write_text(json.dumps([emer_record(i) for i in range(150)], indent=2), encoding="utf-8")
    return path


def test_the_emer_file_of_the_published_form(tmp_path: Path) -> None:
    dataset = read_dataset(write_emer(tmp_path), media_root=tmp_path / "videos")
    assert (dataset.form, len(dataset.samples), dataset.problems) == ("humanomni", 150, ())
    for index, sample in enumerate(dataset.samples):
        record = emer_record(index)
        film = tmp_path / "videos" / record["path"]
        assert sample.id == f"emer_rewrite-{index}"
        assert sample.question == record["problem"]
        assert sample.problem_type is ProblemType.MULTI_SELECT
        assert [f"{'ABCDEFG'[i]}. {text}" for i, text in enumerate(sample.options)] == (
            record["options"]
        )
        assert f"<answer>{sample.answer}</answer>" in record["solution"]
        assert f"<context>{sample.reference.context}</context>" in record["solution"]
        assert f"<think>{sample.reference.reasoning}</think>" in record["solution"]
        assert [(item.kind, item.path) for item in sample.media] == [
            ("video", film),
            ("audio", film),
        ]
        assert sample.extra == {"problem_type": "emer_ov_mc"}
    check_round_trip(dataset, tmp_path)


def test_the_list_of_the_cold_start_takes_the_last_half(tmp_path: Path) -> None:
    write_emer(tmp_path)
    (tmp_path / "stage1.yaml").write_text(
        "datasets:\n  - json_path: emer_rewrite.json\n    data_root: videos\n"
        "    sampling_strategy: end:50%\n"
    )
    dataset = read_dataset(tmp_path / "stage1.yaml")
    assert [sample.id for sample in dataset.samples] == [
        f"emer_rewrite-{index}" for index in range(75, 150)
    ]
    assert dataset.samples[0].media[0].path == tmp_path / "videos" / "emer/sample_00000075.mp4"
    check_round_trip(dataset, tmp_path)
