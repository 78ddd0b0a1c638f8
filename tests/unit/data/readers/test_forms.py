"""What single forms do with the less common things that their records hold."""

import json
from pathlib import Path
from typing import Any

import pytest

from triptych.data.readers import read_dataset
from triptych.data.sample import ProblemType, Sample

OMNI: dict[str, Any] = {
    "problem": "Who?",
    "problem_type": "free-form",
    "solution": "Ana",
    "data_type": "video",
    "path": "a.mp4",
}
VIDEO_R1: dict[str, Any] = {**OMNI, "problem_id": 3}
CHAT: dict[str, Any] = {"messages": [{"role": "user", "content": "Who?"}], "solution": "Ana"}
COLUMNS: dict[str, Any] = {"question": "Who?", "answer": "Ana", "video": "a.mp4"}
ODD = "I think: <answer>Ana</answer>"


def read(path: Path, record: Any) -> Sample:
    path.write_text(json.dumps([record]), encoding="utf-8")
    dataset = read_dataset(path)
    assert [str(problem) for problem in dataset.problems] == []
    (sample,) = dataset.samples
    return sample


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data.json"


@pytest.mark.parametrize("record", [OMNI, VIDEO_R1, CHAT, COLUMNS])
def test_a_solution_with_more_than_stages_is_kept_as_it_is(
    record: dict[str, Any], path: Path
) -> None:
    field = "answer" if "answer" in record else "solution"
    sample = read(path, {**record, field: ODD})
    assert sample.answer == "Ana"
    assert sample.extra["solution"] == ODD


def test_a_process_is_the_reasoning_and_kept_where_it_holds_more(path: Path) -> None:
    def process(written: str) -> tuple[str | None, Any]:
        sample = read(path, {**VIDEO_R1, "process": written})
        return sample.reference.reasoning, sample.extra.get("process")

    assert process("<think>A voice.</think>") == ("A voice.", None)
    assert process("A voice.") == ("A voice.", None)
    more = "<think>A voice.</think><answer>Ben</answer>"
    assert process(more) == ("A voice.", more)
    assert process("Well. <think>A voice.</think>") == ("A voice.", "Well. <think>A voice.</think>")


def test_a_path_beside_a_video_is_kept(path: Path) -> None:
    sample = read(path, {**OMNI, "video": "b.mp4"})
    assert [item.path.name for item in sample.media] == ["b.mp4", "b.mp4"]
    assert sample.extra == {"path": "a.mp4"}


def test_a_judge_may_answer_with_the_letter_of_yes_or_no(path: Path) -> None:
    record = {**OMNI, "problem_type": "judge", "options": ["A. Yes", "B. No"], "solution": "B"}
    sample = read(path, record)
    assert (sample.problem_type, sample.answer, sample.options) == (ProblemType.YES_NO, "no", ())


def test_a_video_without_an_id_is_known_by_its_key(path: Path) -> None:
    task = {"question": "Why?", "candidates": ["A. so", "B. not"], "answer": "A"}
    path.write_text(
        json.dumps({"x1": {"domain": "Music", "task0": task}, "x2": {"domain": "None"}})
    )
    dataset = read_dataset(path)
    (sample,) = dataset.samples
    assert sample.id == "x1-task0"
    assert sample.media[0].path.name == "x1.mp4"
    assert sample.extra == {"domain": "Music", "video_id": "x1"}
    (problem,) = dataset.problems  # a video without questions is not passed over
    assert problem.where == f"{path}[x2]"


# --- chat ----------------------------------------------------------------------------------------


def test_media_without_a_place_come_first_and_others_in_the_order_of_their_places(
    path: Path,
) -> None:
    record = {
        "messages": [{"role": "user", "content": "<audio>then <video> and <audio>: who?"}],
        "audios": ["1.wav", "2.wav"],
        "videos": ["1.mp4"],
        "images": ["1.jpg", "2.jpg"],
        "solution": "Ana",
    }
    sample = read(path, record)
    assert [item.path.name for item in sample.media] == [
        "1.jpg", "2.jpg", "1.wav", "1.mp4", "2.wav",
    ]  # fmt: skip
    assert sample.question == "then  and : who?"


def test_parts_of_a_message_name_their_media_or_leave_that_to_the_columns(path: Path) -> None:
    parts = [
        {"type": "video", "video": "1.mp4"},
        {"type": "audio"},
        {"type": "image", "url": "file:///pictures/1.jpg"},
        {"type": "text", "text": "Who?"},
        {"type": "text", "text": "Say a name."},
    ]
    record = {**CHAT, "messages": [{"role": "user", "content": parts}], "audios": "1.wav"}
    sample = read(path, record)
    assert [(item.kind, item.path.name) for item in sample.media] == [
        ("video", "1.mp4"), ("audio", "1.wav"), ("image", "1.jpg"),
    ]  # fmt: skip
    assert sample.question == "Who?\nSay a name."


def test_a_plain_prompt_with_its_completion(path: Path) -> None:
    sample = read(path, {"prompt": "<image>Who?", "completion": "Ana", "image": "1.jpg"})
    assert (sample.question, sample.answer) == ("Who?", "Ana")
    assert read(path, {"prompt": "Who?", "solution": "Ana"}).media == ()


def test_the_stages_of_a_reply_are_the_reference_of_a_given_solution(path: Path) -> None:
    reply = "<context>c</context><think>t</think><answer>Ben</answer>"
    turns = [*CHAT["messages"], {"role": "assistant", "content": reply}]
    sample = read(path, {**CHAT, "messages": turns})
    assert (sample.answer, sample.reference.context, sample.reference.reasoning) == (
        "Ana", "c", "t",
    )  # fmt: skip


def test_a_reply_that_is_more_than_the_solution_is_kept(path: Path) -> None:
    turns = [*CHAT["messages"], {"role": "assistant", "content": "It is Ana."}]
    assert read(path, {**CHAT, "messages": turns}).extra == {"response": "It is Ana."}
    turns[-1] = {"role": "assistant", "content": "Ana"}
    assert read(path, {**CHAT, "messages": turns}).extra == {}


@pytest.mark.parametrize(
    ("said", "answer", "question", "options"),
    [
        ("Who?\nA. Ana\nB. Ben", "B", "Who?", ("Ana", "Ben")),
        ("Who?\nChoices:\n(A) Ana\n(B) Ben\nAnswer.", "Ben", "Who?\nAnswer.", ("Ana", "Ben")),
        ("A. Milne wrote it?\nA. yes\nB. no", "Milne", "A. Milne wrote it?\nA. yes\nB. no", ()),
        ("Who?\nA. Ana\nB. Ben", "the tall one", "Who?\nA. Ana\nB. Ben", ()),
        ("Who?\nA. Ana", "A", "Who?\nA. Ana", ()),
        ("Who?\nA. Ana\nC. Ben", "A", "Who?\nA. Ana\nC. Ben", ()),
    ],
)
def test_options_are_taken_out_of_a_question_when_the_answer_names_them(
    said: str, answer: str, question: str, options: tuple[str, ...], path: Path
) -> None:
    sample = read(path, {"messages": [{"role": "user", "content": said}], "solution": answer})
    assert (sample.question, sample.options) == (question, options)


# --- columns -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "names",
    [
        ("A", "B", "C"),
        ("a", "b", "c"),
        ("option_a", "option_b", "option_c"),
        ("Option A", "Option B", "Option C"),
        ("choiceA", "choiceB", "choiceC"),
        ("option_1", "option_2", "option_3"),
        ("option0", "option1", "option2"),
        ("a0", "a1", "a2"),
        ("a1", "a2", "a3"),
    ],
)
def test_options_may_have_a_column_each(names: tuple[str, ...], path: Path) -> None:
    columns = dict(zip(names, ("Ana", "Ben", "Cem"), strict=True))
    sample = read(path, {**COLUMNS, **columns, "answer": "Cem"})
    assert (sample.options, sample.answer, sample.extra) == (("Ana", "Ben", "Cem"), "C", {})


def test_one_column_with_a_letter_is_no_option(path: Path) -> None:
    for more in ({"a": 1}, {"x": 2, "y": 3}, {"b": 1, "c": 2}):
        assert read(path, {**COLUMNS, **more}).extra == more


def test_the_answer_may_be_an_index(path: Path) -> None:
    record = {"question": "Who?", "options": "Ana|Ben", "answer_idx": 1, "image": "1.jpg"}
    assert read(path, record).answer == "B"


def test_a_type_of_question_counts_only_where_it_is_one(path: Path) -> None:
    sample = read(path, {**COLUMNS, "question_type": "free-form", "answer": "7"})
    assert (sample.problem_type, sample.extra) == (ProblemType.FREE_FORM, {})
    sample = read(path, {**COLUMNS, "question_type": "causal", "answer": "7"})
    assert (sample.problem_type, sample.extra) == (
        ProblemType.NUMERICAL, {"question_type": "causal"},
    )  # fmt: skip


def test_a_reference_may_have_columns(path: Path) -> None:
    sample = read(path, {**COLUMNS, "context": "A voice.", "Rationale": "It is hers."})
    assert sample.reference.context == "A voice."
    assert sample.reference.reasoning == "It is hers."


def test_a_path_with_its_kind_and_other_media_beside_it(path: Path) -> None:
    record = {"query": "Who?", "label": "Ana", "path": "1.jpg", "data_type": "image"}
    sample = read(path, {**record, "audio_path": "1.wav", "audio": "loud"})
    assert [(item.kind, item.path.name) for item in sample.media] == [
        ("image", "1.jpg"), ("audio", "1.wav"),
    ]  # fmt: skip
    assert sample.extra == {"audio": "loud"}


def test_a_column_whose_name_is_taken_in_lower_case_is_kept(path: Path) -> None:
    assert read(path, {**COLUMNS, "Question": "What?"}).extra == {"Question": "What?"}
