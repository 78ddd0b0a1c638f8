"""`triptych audit` with a tiny model on real clips: killed, gone on with, and refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from killing import kill_in_the_middle
from launching import launch

from triptych.cli.main import main
from triptych.data.media import MediaBudget, decode_video
from triptych.data.sample import read_samples, write_samples

CONDITIONS = "deaf,swapped_audio,shuffled,permuted"


@pytest.fixture(scope="module")
def words(
    tiny_folder: Path, clips_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> list[str]:
    """What follows `triptych audit OUT`: six questions about six clips."""
    questions = read_samples(clips_folder / "test-balanced.jsonl")
    data = tmp_path_factory.mktemp("questions") / "questions.jsonl"
    write_samples(data, [one for one in questions if one.extra["kind"] == "intention"])
    return [
        *("--model", str(tiny_folder), "--data", str(data), "--conditions", CONDITIONS),
        *("--max-new-tokens", "24", "--enforce", "stages+answer", "--batch-size", "2"),
        *("--media.fps", "4", "--decode.workers", "0", "--by", "alignment"),
    ]


def trials(out: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in (out / "predictions").glob("*.jsonl")}


def audit_of(out: Path) -> Any:
    return json.loads((out / "results.json").read_text())["audit"]


@pytest.fixture(scope="module")
def whole(words: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An audit that was never interrupted."""
    out = tmp_path_factory.mktemp("whole") / "run"
    assert main(["audit", str(out), *words]) == 0
    return out


def test_every_condition_is_asked_and_reported(whole: Path) -> None:
    assert set(trials(whole)) == {
        *("full.jsonl", "deaf.jsonl", "swapped_audio.jsonl", "shuffled.jsonl"),
        *("permuted-1.jsonl", "permuted-2.jsonl", "permuted-3.jsonl"),
    }
    audit = audit_of(whole)
    assert audit["items"] == audit["clips"] == 6
    assert set(audit["conditions"]) == {"full", "deaf", "swapped_audio", "shuffled"}
    assert set(audit["groups"]["alignment"]) <= {"aligned", "conflict", "other"}
    items = [json.loads(line) for line in (whole / "items.jsonl").read_text().splitlines()]
    assert len(items) == 6
    assert {"full", "permuted-3"} < set(items[0]["trials"])
    assert items[0]["trials"]["swapped_audio"]["donor"] != items[0]["sample_id"]
    (one,) = {len(decode_video(path, MediaBudget(fps=4.0)).frames) for path in films(whole)}
    assert one == 4


def films(out: Path) -> list[Path]:
    return sorted((out / "media" / "shuffled").glob("*.mp4"))


@pytest.mark.slow
def test_a_killed_audit_goes_on_to_the_same_figures(
    words: list[str], whole: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    journal = out / "predictions" / "shuffled.jsonl.ledger" / "scored.0.jsonl"
    kill_in_the_middle(journal, ["audit", str(out), *words])
    assert not (out / "results.json").exists()
    assert main(["audit", str(out), *words]) == 0
    assert audit_of(out) == audit_of(whole)
    assert (out / "items.jsonl").read_text() == (whole / "items.jsonl").read_text()
    for name, text in trials(whole).items():
        assert trials(out)[name].replace(str(out), str(whole)) == text
    assert [one.read_bytes() for one in films(out)] == [one.read_bytes() for one in films(whole)]


@pytest.mark.slow
def test_two_processes_come_to_the_figures_of_one(
    words: list[str], whole: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    printed = launch(2, ["audit", str(out), *words, "--device", "cpu"])
    assert printed.count("results: ") == 1, "the first process alone prints"
    assert audit_of(out) == audit_of(whole)
    assert (out / "items.jsonl").read_text() == (whole / "items.jsonl").read_text()
    notes = json.loads((out / "predictions" / "deaf.jsonl.timing.json").read_text())["notes"]
    assert {note["rank"] for note in notes} == {0, 1}


def test_other_settings_are_refused_and_more_conditions_are_not(
    words: list[str], whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["audit", str(whole), *words, "--seed", "1"]) == 2
    assert "seed was 0, is 1" in capsys.readouterr().err
    assert main(["audit", str(whole), *words, "--by", "nonsense"]) == 2
    assert "no question has the field 'nonsense'" in capsys.readouterr().err
    before = trials(whole)
    assert main(["audit", str(whole), *words, "--conditions", "blind"]) == 0
    assert trials(whole) == {**before, "blind.jsonl": trials(whole)["blind.jsonl"]}


def test_what_would_part_a_film_from_its_sound_is_refused(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["audit", str(tmp_path / "run"), *words, "--audio-in-video"]) == 2
    said = capsys.readouterr().err
    assert "audio_in_video: swapped_audio, shuffled would take a video and its sound" in said
    assert "--conditions full,blind,deaf,text_only,swapped,permuted" in said
    assert not (tmp_path / "run").exists()
