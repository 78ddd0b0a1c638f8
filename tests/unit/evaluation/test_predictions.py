"""Predictions are read as they were written, and what is wrong with them is named."""

import json
from pathlib import Path
from typing import Any

import pytest

from triptych.errors import DataError
from triptych.evaluation.predictions import read_predictions

LINE: dict[str, Any] = {
    "sample_id": "q1",
    "cluster": "clip-1",
    "kind": "intention",
    "alignment": None,
    "media": [{"kind": "video", "path": "clips/1.mp4"}],
    "question": "Why?",
    "problem_type": "multiple_choice",
    "options": ["a", "b"],
    "answer": "A",
    "text": "<context>",
    "scores": {"answer": 1, "context": 0.5, "reasoning": None},
}


def written(path: Path, *lines: dict[str, Any] | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("\n".join(texts), encoding="utf-8")
    return path


def test_a_line_says_scores_and_what_they_are_of(tmp_path: Path) -> None:
    predictions = read_predictions(
        written(tmp_path / "p.jsonl", LINE, "", {**LINE, "sample_id": "0"})
    )
    assert list(predictions.by_id) == ["q1", "0"]
    one = predictions.by_id["q1"]
    assert one.item.scores == {"answer": 1.0, "context": 0.5, "reasoning": None}
    assert (one.item.cluster, one.item.kind, one.item.alignment) == ("clip-1", "intention", None)
    assert one.labels["problem_type"] == "multiple_choice"
    assert "alignment" not in one.labels
    assert "text" not in one.labels


def test_groups_are_labels(tmp_path: Path) -> None:
    groups = {"task_type": "counting", "kind": "of the benchmark", "year": 2024}
    predictions = read_predictions(written(tmp_path / "p.jsonl", {**LINE, "groups": groups}))
    labels = predictions.by_id["q1"].labels
    assert labels["task_type"] == "counting"
    assert labels["kind"] == "of the benchmark"
    assert labels["year"] == "2024"
    assert labels["problem_type"] == "multiple_choice"


def test_a_sample_without_an_answer_has_no_scores(tmp_path: Path) -> None:
    line = {name: LINE[name] for name in LINE if name not in ("text", "scores")}
    error = {"reason": "timeout", "cause": "no reply within 60 s"}
    path = written(tmp_path / "p.jsonl", LINE, {**line, "sample_id": "q2", "error": error})
    predictions = read_predictions(path)
    assert predictions.by_id["q2"].item.scores == {}
    assert predictions.by_id["q2"].item.cluster == "clip-1"


def test_half_a_character_that_a_model_wrote_does_no_harm(tmp_path: Path) -> None:
    assert read_predictions(written(tmp_path / "p.jsonl", {**LINE, "text": "\ud800"})).by_id


@pytest.mark.parametrize(
    ("change", "cluster"),
    [({}, "clip-1"), ({"cluster": None}, "clips/1.mp4"), ({"cluster": None, "media": []}, "q1")],
)
def test_questions_share_a_clip_or_a_file(
    tmp_path: Path, change: dict[str, Any], cluster: str
) -> None:
    predictions = read_predictions(written(tmp_path / "p.jsonl", {**LINE, **change}))
    assert predictions.by_id["q1"].item.cluster == cluster


@pytest.mark.parametrize("name", ["question", "options", "answer"])
def test_what_is_asked_is_question_options_and_answer(tmp_path: Path, name: str) -> None:
    other = {**LINE, "sample_id": "q2", name: "C"}
    same = {**LINE, "sample_id": "q3", "text": "other"}
    by_id = read_predictions(written(tmp_path / "p.jsonl", LINE, other, same)).by_id
    assert by_id["q1"].asked != by_id["q2"].asked
    assert by_id["q1"].asked == by_id["q3"].asked


def test_a_run_folder_knows_its_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = written(tmp_path / "run" / "predictions" / "model.jsonl", LINE)
    assert read_predictions(tmp_path / "run").data is None
    (tmp_path / "run" / "environment.json").write_text('{"data": {"test.jsonl": "ab12"}}')
    assert read_predictions(tmp_path / "run").data == ("ab12",)
    monkeypatch.chdir(file.parent)
    assert read_predictions(Path("model.jsonl")).data == ("ab12",)
    # A file elsewhere is of no run, whatever lies beside its folder.
    assert read_predictions(written(tmp_path / "run" / "kept" / "a.jsonl", LINE)).data is None


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ((), "p.jsonl: holds no predictions"),
        ((LINE, LINE), r"p.jsonl:2: sample_id: 'q1' stands twice"),
        ((LINE, '{"sample_id": "q2", "sco'), r"p.jsonl:2: not JSON"),
        (("[1]",), r"p.jsonl:1: a JSON list"),
        (({"scores": {}},), "p.jsonl:1: sample_id: None is no id"),
        (({**LINE, "sample_id": 3},), "p.jsonl:1: sample_id: 3 is no id"),
        (({"sample_id": "a"},), "p.jsonl:1: scores: must be an object"),
        (({"sample_id": "a", "scores": {}},), "p.jsonl:1: scores: must be an object"),
        (({**LINE, "scores": {"answer": True}},), "p.jsonl:1: scores.answer: True is neither"),
        (({**LINE, "scores": {"answer": "1"}},), "p.jsonl:1: scores.answer: '1' is neither"),
    ],
)
def test_a_wrong_file_is_named_with_its_line(
    tmp_path: Path, lines: tuple[dict[str, Any] | str, ...], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read_predictions(written(tmp_path / "p.jsonl", *lines))


def test_a_file_or_folder_without_predictions_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere: No such file.*triptych eval"):
        read_predictions(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"no predictions/model.jsonl there; name a run"):
        read_predictions(tmp_path)
    written(tmp_path / "predictions" / "uniform.jsonl", LINE)
    with pytest.raises(DataError, match=r"name one of its files: .*uniform.jsonl"):
        read_predictions(tmp_path)
    (tmp_path / "p.jsonl").write_bytes(b"\xff\xfe{}")
    with pytest.raises(DataError, match=r"p.jsonl: not UTF-8"):
        read_predictions(tmp_path / "p.jsonl")
