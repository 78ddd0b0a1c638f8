"""Which form is told, what becomes of records that are no samples, and of ids."""

import json
from pathlib import Path
from typing import Any

import pytest

from triptych.data.readers import Problem, load_samples, read_dataset
from triptych.data.sample import read_samples
from triptych.errors import ConfigError, DataError

NATIVE: dict[str, Any] = {
    "id": "q1",
    "question": "What does she feel?",
    "problem_type": "multiple_choice",
    "options": ["happy", "angry"],
    "answer": "B",
    "media": [{"kind": "video", "path": "a.mp4"}],
}
OMNI: dict[str, Any] = {
    "problem": "What does she feel?",
    "problem_type": "multiple choice",
    "options": ["A. happy", "B. angry"],
    "solution": "<answer>B</answer>",
    "data_type": "video",
    "path": "a.mp4",
}
SOCIAL: dict[str, Any] = {
    "qid": "v_q1", "q": "Why?", "vid_name": "v", "ts": "0-60",
    "a0": "so", "a1": "or so", "a2": "not", "a3": "never", "answer_idx": 0,
}  # fmt: skip
DAILY: dict[str, Any] = {
    "Question": "Why?", "Choice": ["A. so", "B. or so"], "Answer": "B", "video_id": "v",
}  # fmt: skip
WORLD: dict[str, Any] = {
    "question": "Why?", "candidates": ["A. so", "B. or so"], "answer": "B", "video_path": "v.mp4",
}  # fmt: skip
VIDEO_R1: dict[str, Any] = {**OMNI, "problem_id": 1, "data_source": "X"}
CHAT: dict[str, Any] = {
    "messages": [{"role": "user", "content": "<image>Who?"}],
    "images": ["a.jpg"],
    "solution": "Ana",
}
COLUMNS: dict[str, Any] = {"question": "Who?", "answer": "Ana", "image": "a.jpg"}
FORM_OF = {
    id(NATIVE): "native", id(OMNI): "humanomni", id(VIDEO_R1): "video_r1", id(SOCIAL): "social_iq",
    id(DAILY): "daily_omni", id(WORLD): "worldsense", id(CHAT): "chat", id(COLUMNS): "columns",
}  # fmt: skip
GONE: Any = object()


def write_lines(path: Path, *records: Any) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def changed(record: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {key: value for key, value in {**record, **changes}.items() if value is not GONE}


@pytest.mark.parametrize(
    ("record", "form"),
    [
        (NATIVE, "native"),
        (OMNI, "humanomni"),
        (changed(OMNI, path=GONE, video="a.mp4"), "humanomni"),
        (VIDEO_R1, "video_r1"),
        (SOCIAL, "social_iq"),
        (DAILY, "daily_omni"),
        (WORLD, "worldsense"),
        (CHAT, "chat"),
        (COLUMNS, "columns"),
        ({"Question": "Who?", "ANSWER": "Ana", "Image_Path": "a.jpg"}, "columns"),
    ],
)
def test_a_form_is_told_by_the_fields_of_its_records(
    record: dict[str, Any], form: str, tmp_path: Path
) -> None:
    other = {**record, "id": "q2"} if form != "social_iq" else {**record, "qid": "v_q2"}
    dataset = read_dataset(write_lines(tmp_path / "data.jsonl", record, other))
    assert dataset.form == form
    assert [str(problem) for problem in dataset.problems] == []
    assert len(dataset.samples) == 2
    assert dataset.why.startswith("a JSONL file whose records have ")


def test_the_form_of_most_records_counts(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "data.jsonl", NATIVE, OMNI, OMNI)
    dataset = read_dataset(path)
    assert dataset.form == "humanomni"
    assert "of which 2 of the first 3 records have problem" in dataset.why
    (problem,) = dataset.problems
    assert problem == Problem(f"{path}:1", "q1", "problem", "missing; add it")


def test_a_form_that_is_named_is_not_told(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "data.jsonl", VIDEO_R1)
    assert [item.kind for item in read_dataset(path).samples[0].media] == ["video"]
    dataset = read_dataset(path, form="humanomni")
    assert (dataset.form, dataset.why) == ("humanomni", "a JSONL file whose form was given")
    assert [item.kind for item in dataset.samples[0].media] == ["video", "audio"]


def test_an_unknown_form_is_a_wrong_setting(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "data.jsonl", NATIVE)
    with pytest.raises(ConfigError, match=r"form 'humanomny' is unknown.*humanomni"):
        read_dataset(path, form="humanomny")
    with pytest.raises(ConfigError, match=r"'squad' is unknown; use one of native, video_r1, "):
        read_dataset(path, form="squad")


def test_records_of_no_known_form_are_refused_with_their_fields(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "data.jsonl", {"context": "c", "text": "t"})
    with pytest.raises(DataError, match=r"have the fields context, text; name one by --form"):
        read_dataset(path)


def test_every_field_that_is_not_understood_is_kept(tmp_path: Path) -> None:
    odd = {"note": "n", "scores": [1, None, {"a": 0.5}], "extra": {"deep": True}, "Ünï": None}
    for record in (OMNI, VIDEO_R1, SOCIAL, DAILY, WORLD, CHAT, COLUMNS):
        dataset = read_dataset(write_lines(tmp_path / "data.jsonl", {**record, **odd}))
        (sample,) = dataset.samples
        assert {**odd, **sample.extra} == sample.extra, dataset.form


# --- records that are no samples -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("sound", "changes", "field", "cause"),
    [
        (NATIVE, dict(answer="C"), "answer", "'C' in 'C' is no letter of the 2 options"),
        (NATIVE, dict(options=GONE), "options", "needs at least two options"),
        (NATIVE, dict(media=GONE), "media", "missing; add it"),
        (NATIVE, dict(media=[{"kind": "video"}]), "media.0.path", "missing; add it"),
        (NATIVE, dict(media="a.mp4"), "media", "tuple"),
        (OMNI, dict(problem=GONE), "problem", "missing; add it"),
        (OMNI, dict(problem=["Who?"]), "problem", "not a text"),
        (OMNI, dict(problem_type="essay"), "problem_type", "'essay' is unknown; use one of"),
        (OMNI, dict(options=[]), "options", "needs at least two options, not 0"),
        (OMNI, dict(options=5), "options", "no list of options (found 5)"),
        (OMNI, dict(solution="<think>t</think>"), "solution", "no <answer>; add it"),
        (OMNI, dict(solution="<answer></answer>"), "answer", "at least 1 character"),
        (OMNI, dict(solution="<answer>E</answer>"), "answer", "no letter of the 2 options"),
        (OMNI, dict(solution="B. happy"), "answer", "'B. happy' is not option B, 'angry'"),
        (OMNI, dict(path=""), "path", "not the path of a file (found '')"),
        (OMNI, dict(path=7), "path", "not the path of a file (found 7)"),
        (OMNI, dict(path={"smell": "a"}), "path", "not all of them image, video or audio"),
        (OMNI, dict(path="https://x.org/a.mp4"), "path", "download it, name the file"),
        (OMNI, dict(data_type="smell"), "data_type", "'smell' is none of image, video, audio"),
        (OMNI, dict(data_type=GONE, path="a.x"), "path", "say it in data_type"),
        (VIDEO_R1, dict(solution="<think>t</think>"), "solution", "no <answer>; add it"),
        (VIDEO_R1, dict(process=["x"]), "process", "not a text"),
        (SOCIAL, dict(answer_idx=GONE), "answer_idx", "missing; add it"),
        (SOCIAL, dict(answer_idx=4), "answer_idx", "4 is no index of the four answers, 0 to 3"),
        (SOCIAL, dict(a2=GONE), "a2", "missing; add it"),
        (DAILY, dict(Answer="E"), "answer", "no letter of the 2 options"),
        (DAILY, dict(Choice=None), "Choice", "missing; add it"),
        (WORLD, dict(answer=""), "answer", "at least 1 character"),
        (CHAT, dict(images=[]), "images", "0 of them, but 1 places <image>; match them"),
        (CHAT, dict(solution=GONE), "solution", "the assistant says nothing"),
        (CHAT, dict(messages=[]), "messages", "the user asks nothing"),
        (CHAT, dict(messages="hi"), "messages", "no list of messages (found 'hi')"),
        (
            CHAT,
            dict(messages=GONE, prompt=False),
            "prompt",
            "neither a text nor a list of messages",
        ),
        (CHAT, dict(messages=GONE, prompt="hi", completion=3), "completion", "neither a text"),
        (CHAT, dict(messages=["hi"]), "messages.0", "not a message (found 'hi')"),
        (CHAT, dict(messages=[{"role": "tool", "content": ""}]), "messages.0", "role 'tool'"),
        (CHAT, dict(messages=[{"role": "user", "content": 1}]), "messages.0", "content is"),
        (
            CHAT,
            dict(messages=[{"role": "user", "content": [{"type": "box"}]}]),
            "messages.0",
            "no part of a message that is known",
        ),
        (CHAT, dict(messages=CHAT["messages"] * 2), "messages", "2 turns of the user"),
        (COLUMNS, dict(image=GONE, media="x"), "media", "no column names a file; add one of"),
        (COLUMNS, dict(answer=GONE, answer_idx=0), "answer_idx", "no index of 0 options"),
        (COLUMNS, dict(A="x", C="y"), "options", "option 'b' is empty, but a later one is not"),
        (
            COLUMNS,
            dict(image={"bytes": "x", "path": None}),
            "image",
            "the table holds the file itself",
        ),
    ],
)
def test_a_record_that_is_no_sample_is_named_with_place_field_and_way_out(
    sound: dict[str, Any], changes: dict[str, Any], field: str, cause: str, tmp_path: Path
) -> None:
    path = write_lines(tmp_path / "data.jsonl", sound, changed(sound, **changes))
    dataset = read_dataset(path, form=FORM_OF[id(sound)])
    (problem,) = dataset.problems
    assert (problem.where, problem.field) == (f"{path}:2", field)
    assert cause in problem.cause
    assert not problem.repairable
    assert len(dataset.samples) == 1


def test_load_samples_raises_the_first_problem(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "data.jsonl", NATIVE, {**NATIVE, "id": "q2", "answer": "C"})
    with pytest.raises(DataError, match=rf"^{path}:2: answer: 'C' in 'C' is no letter"):
        load_samples(path)
    write_lines(path, NATIVE, {**NATIVE, "id": "q2"})
    assert load_samples(path) == read_samples(path)


def test_native_files_are_read_as_by_read_samples_and_refused_alike(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    cases: list[dict[str, Any]] = [
        {"answer": "C"}, {"id": ""}, {"options": ["A. x", "B. y"]}, {"media": []}, {"extra": 3},
        {"media": [{"kind": "video", "path": "a", "fps": 2}]}, {"note": 1, "extra": {"note": 2}},
    ]  # fmt: skip
    for changes in cases:
        write_lines(path, {**NATIVE, **changes})
        try:
            strict: Any = read_samples(path)
        except DataError as error:
            strict = str(error)
        try:
            read: Any = load_samples(path)
        except DataError as error:
            read = str(error)
        assert read == strict


def test_media_paths_start_from_the_file_or_from_the_media_root(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    path = write_lines(tmp_path / "set" / "data.jsonl", NATIVE)
    assert load_samples(path)[0].media[0].path == tmp_path / "set" / "a.mp4"
    root = tmp_path / "films"
    assert load_samples(path, media_root=root)[0].media[0].path == root / "a.mp4"


# --- ids -----------------------------------------------------------------------------------------


def test_an_id_that_stands_twice_or_not_at_all_is_a_problem_that_a_new_one_mends(
    tmp_path: Path,
) -> None:
    path = write_lines(tmp_path / "data.jsonl", NATIVE, NATIVE, changed(NATIVE, id=GONE))
    dataset = read_dataset(path)
    assert [sample.id for sample in dataset.samples] == ["q1"]
    assert [problem.where for problem in dataset.problems] == [f"{path}:2", f"{path}:3"]
    assert [problem.field for problem in dataset.problems] == ["id", "id"]
    assert f"'q1' already stands at {path}:1" in dataset.problems[0].cause
    assert "missing" in dataset.problems[1].cause
    assert all(problem.repairable for problem in dataset.problems)

    mended = read_dataset(path, new_ids=True)
    assert [sample.id for sample in mended.samples] == ["q1", "data-2", "data-3"]
    assert mended.problems == ()


def test_a_new_id_that_is_taken_is_not_given(tmp_path: Path) -> None:
    taken = {**NATIVE, "id": "data-3"}
    path = write_lines(tmp_path / "data.jsonl", NATIVE, taken, NATIVE)
    dataset = read_dataset(path, new_ids=True)
    assert [sample.id for sample in dataset.samples] == ["q1", "data-3"]
    assert [problem.field for problem in dataset.problems] == ["id"]


def test_more_than_the_id_is_not_mended_by_a_new_one(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "data.jsonl", NATIVE, changed(NATIVE, id="", answer="C"))
    (problem,) = read_dataset(path).problems
    assert not problem.repairable
    assert len(read_dataset(path, new_ids=True).problems) == 1
