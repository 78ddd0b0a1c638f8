"""The page: what is on it, that it is inert, and that it survives what is missing."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.unit.report.conftest import completion, interval, rollout, write_lines
from tests.unit.report.pages import Page
from triptych.data.sample import Sample
from triptych.errors import DataError
from triptych.report import build_report

# Elements that a parser would run or fetch.
FOREIGN = {"script", "iframe", "object", "embed", "link", "base", "form"}


def build(folder: Path) -> tuple[str, Page]:
    path = build_report(folder)
    assert path == folder / "report.html"
    html = path.read_text(encoding="utf-8")
    return html, Page(html)


def test_everything_is_on_the_page(run_folder: Path) -> None:
    _, page = build(run_folder)
    text = page.words
    for expected in (
        *("cold start", "stage credit", "face only", "0.500", "61.2 s", "seed 7"),
        *(
            "Answer, balanced split",
            "n 3",
            "stage credit \N{MINUS SIGN} cold start",
            "selection / ",
        ),
        *("Named in the context: pitch", "Answer: emotion", "one clip only: no interval"),
        *("What does the person feel?", "reward 0.75", "unscored", "torch", "2.13.0"),
    ):
        assert expected in text, expected
    assert len(page.having("rollout")) == 20
    assert len(page.having("results")) == 1 + 1 + 2  # headline, difference, two splits
    assert len(page.having("panel")) == 3  # reward, and two kinds of loss
    assert "Never changed: beta 0.04" in text


def test_rollouts_show_frames_sound_stages_and_gold(run_folder: Path) -> None:
    _, page = build(run_folder)
    frames = [attrs for tag, attrs in page.tags if tag == "img"]
    assert len(frames) >= 20 * 4
    assert all((attrs["src"] or "").startswith("data:image/jpeg;base64,") for attrs in frames)
    assert all(attrs["alt"] for attrs in frames)
    assert len(page.having("wave")) >= 20
    for stage in ("context", "think", "answer"):
        assert len([a for a in page.having("stage") if stage in (a["class"] or "")]) >= 20
    assert len(page.having("gold")) + len(page.having("gold-answer")) >= 20


def test_rollouts_are_spread_over_arms_and_steps(run_folder: Path) -> None:
    _, page = build(run_folder)
    cards = [attrs["class"] or "" for attrs in page.having("rollout")]
    assert sum("from-0" in card for card in cards) == sum("from-1" in card for card in cards) == 10
    assert {"step 1", "step 2", "step 3", "step 4"} <= set(re.findall(r"step \d", page.text))


def test_completions_are_escaped(run_folder: Path) -> None:
    html, page = build(run_folder)
    assert "<script" not in html.lower()
    assert '<img src="https' not in html
    assert "<script>alert('x')</script>" in page.text  # as text, for the reader
    assert "name: <b>bold</b>" in page.text
    assert not [tag for tag, _ in page.tags if tag in FOREIGN]
    assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on")]


def test_arm_names_and_violations_are_escaped_too(run_folder: Path) -> None:
    bad = "</style><script>1</script>"
    record = {"phase": bad, "step": bad, "sample_id": bad, "violations": [bad], "text": bad,
              "bodies": {bad: bad}, "rewards": {bad: 1.0}, "media": [bad], "options": [bad],
              "question": bad, "answer": bad, "kind": bad, "stop_reason": bad}  # fmt: skip
    (run_folder / "rollouts.jsonl").write_text(json.dumps(record) + "\n")
    results = {
        "evaluation": {bad: {bad: {bad: {"mean": 1, "low": 0, "high": 1, "n": 2}}}},
        "differences": {bad: {bad: {bad: {"mean": 1, "low": 0, "high": 1, "n": 2}}}},
        "baselines": {bad: 0.5},
        "seconds": {bad: 1.0},
        bad: bad,
    }
    (run_folder / "results.json").write_text(json.dumps(results))
    line = {"step": 1, "phase": bad, bad: 1.0}
    metrics = [line, {**line, "step": 2, bad: 2.0}]
    (run_folder / "metrics.jsonl").write_text("".join(json.dumps(m) + "\n" for m in metrics))
    html, page = build(run_folder)
    assert "<script" not in html
    assert not [tag for tag, _ in page.tags if tag in FOREIGN]


def test_nothing_is_fetched(run_folder: Path) -> None:
    _, page = build(run_folder)
    for tag, attrs in page.tags:
        for name in ("src", "href", "srcset", "action", "data", "xlink:href"):
            value = attrs.get(name)
            assert value is None or value.startswith(("#", "data:image/jpeg;base64,")), (tag, value)
    policy = next(a for t, a in page.tags if t == "meta" and "http-equiv" in a)
    assert "default-src 'none'" in (policy["content"] or "")
    css = (run_folder / "report.html").read_text().split("<style>")[1].split("</style>")[0]
    assert "url(" not in css
    assert "@import" not in css


def test_control_characters_and_half_surrogates_do_not_break_the_page(run_folder: Path) -> None:
    record = json.loads((run_folder / "rollouts.jsonl").read_text().splitlines()[0])
    record["bodies"]["answer"] = "a\u0000b\u001b[31m\ud800\u202etxt"
    (run_folder / "rollouts.jsonl").write_text(json.dumps(record) + "\n")
    html, page = build(run_folder)
    assert "\x00" not in html
    assert "a\u2400b\u241b[31m?" in page.text


def test_a_run_that_has_just_begun_gives_a_page_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").touch()
    _, page = build(tmp_path)
    text = page.words
    for expected in (
        "No evaluation was found",
        "No baselines were recorded",
        "No phase was timed",
        "No training metrics were found",
        "No rollouts were found",
        "No environment was recorded",
        "No configuration was recorded",
        "rollouts.jsonl: No such file",
    ):
        assert expected in text, expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("results.json", "No evaluation was found"),
        ("metrics.jsonl", "No training metrics were found"),
        ("environment.json", "No environment was recorded"),
        ("config.yaml", "No configuration was recorded"),
    ],
)
def test_each_missing_file_is_named(run_folder: Path, name: str, expected: str) -> None:
    (run_folder / name).unlink()
    _, page = build(run_folder)
    assert expected in page.words
    assert f"{name}: No such file" in page.words
    assert len(page.having("rollout")) == 20


def test_without_training_rollouts_predictions_take_their_place(run_folder: Path) -> None:
    (run_folder / "rollouts.jsonl").unlink()
    _, page = build(run_folder)
    assert len(page.having("rollout")) == 20
    assert "completions of the evaluation" in page.words


def test_a_question_without_an_answer_says_why(run_folder: Path, questions: list[Sample]) -> None:
    error = {"reason": "timeout", "cause": "no reply in 30 s <b>"}
    asked: dict[str, Any] = {"sample_id": questions[0].id, "question": questions[0].question}
    lines = [{**asked, "error": error}, {**asked, "error": "lost"}]
    (run_folder / "rollouts.jsonl").unlink()
    for name, line in zip(("cold_start", "stage_credit"), lines, strict=True):
        write_lines(run_folder / "predictions" / f"{name}.jsonl", [line])
    _, page = build(run_folder)
    assert "No answer. timeout: no reply in 30 s <b>" in page.words
    assert "No answer. lost" in page.words
    assert page.words.count("unanswered") >= 2
    assert "The record holds no stages" not in page.words


def test_missing_media_are_named_without_their_folder(
    run_folder: Path, clips_folder: Path, tmp_path: Path
) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(clips_folder, moved)
    text = (run_folder / "rollouts.jsonl").read_text().replace(str(clips_folder), str(moved))
    (run_folder / "rollouts.jsonl").write_text(text)
    gone, broken, *_ = sorted(moved.glob("test-balanced/*.mp4"))
    gone.unlink()
    broken.write_bytes(b"not a video")
    html, page = build(run_folder)
    assert f"{gone.name}: the file is no longer there" in page.words
    assert f"{broken.name}: " in page.words
    assert str(tmp_path) not in html


def test_unreadable_results_are_a_notice(run_folder: Path) -> None:
    (run_folder / "results.json").write_text('{"evaluation": {')
    assert "results.json:1: not JSON" in build(run_folder)[1].words
    (run_folder / "results.json").write_text("[]")
    assert "results.json: a JSON list" in build(run_folder)[1].words


def test_a_folder_of_no_run_is_an_error_and_is_left_as_it_is(
    run_folder: Path, clips_folder: Path, tmp_path: Path
) -> None:
    for other in (clips_folder, clips_folder / "test-balanced"):
        before = set(other.iterdir())
        with pytest.raises(DataError, match="holds no file of a run"):
            build_report(other)
        assert set(other.iterdir()) == before
    for file in list(run_folder.iterdir()):
        only = tmp_path / f"only {file.name}"
        only.mkdir()
        file.rename(only / file.name)
        build_report(only)


def test_the_head_counts_each_arm_and_each_question_once(
    run_folder: Path, questions: list[Sample]
) -> None:
    assert f"2 arms evaluated · {len(questions)} questions · " in build(run_folder)[1].words
    results = json.loads((run_folder / "results.json").read_text())
    results["evaluation"] = {"model": {"balanced": {"refused": interval([0.0, 1.0])}}}
    (run_folder / "results.json").write_text(json.dumps(results))
    shutil.rmtree(run_folder / "predictions")
    line = rollout(questions[0], completion(questions[0]), 1.0)
    write_lines(run_folder / "predictions" / "model.jsonl", [line, line])
    words = build(run_folder)[1].words
    assert "1 arm evaluated · 1 question · " in words
    assert "Declined to answer" in words


def test_an_older_report_survives_a_failure_and_no_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such run folder"):
        build_report(tmp_path / "absent")
    assert not (tmp_path / "absent").exists()


def test_building_twice_gives_the_same_page(run_folder: Path) -> None:
    assert build(run_folder)[0] == build(run_folder)[0]
