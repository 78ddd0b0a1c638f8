"""`triptych data check`: what is printed, which files are written, the exit code."""

import gc
import json
from pathlib import Path
from typing import Any

import pytest

from triptych.cli.main import main
from triptych.data.sample import read_samples


@pytest.fixture
def sound(clips_folder: Path) -> Path:
    return clips_folder / "cold-start.jsonl"


@pytest.fixture
def faulty(sound: Path, tmp_path: Path) -> Path:
    """Sound samples, one that asks for a file that is not there, one twice, one without answer."""
    records = [sample.model_dump(mode="json") for sample in read_samples(sound)[:4]]
    gone = {**records[0], "id": "gone", "media": [{"kind": "video", "path": "gone.mp4"}]}
    twin = {**records[1], "id": "twin"}
    unanswered = {**records[2], "id": "unanswered", "answer": ""}
    path = tmp_path / "faulty.jsonl"
    lines = [*records, gone, twin, unanswered]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def words_of(output: str) -> str:
    return " ".join(output.split())


def test_a_sound_data_set_exits_0(sound: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", str(sound), "--strict"]) == 0
    printed = words_of(capsys.readouterr().out)
    assert "0 errors, 0 warnings" in printed
    assert f"all samples {len(read_samples(sound))}" in printed
    assert gc.isenabled()


def test_errors_exit_1_and_are_shown_with_examples(
    faulty: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "check", str(faulty)]) == 1
    printed = words_of(capsys.readouterr().out)
    assert "unreadable records 1" in printed
    assert "error media_missing 1 a media file is missing or empty - gone: " in printed
    assert "warning duplicate_sample 1 the same question, media and answer stand twice" in printed
    assert f"{faulty}:7" in printed.replace(" ", ""), "a long path is folded"
    assert "2 errors, 1 warnings" in printed


def test_warnings_fail_only_if_strict(
    sound: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "twice.jsonl"
    record = read_samples(sound)[0].model_dump(mode="json")
    path.write_text("".join(json.dumps({**record, "id": name}) + "\n" for name in "ab"))
    assert main(["data", "check", str(path)]) == 0
    assert main(["data", "check", str(path), "--strict"]) == 1
    assert "0 errors, 1 warnings" in capsys.readouterr().out


def test_json_is_one_object_and_nothing_else(
    faulty: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "check", str(faulty), "--json", "--examples", "0"]) == 1
    captured = capsys.readouterr()
    record = json.loads(captured.out)
    assert captured.err == ""
    assert (record["path"], record["samples"], record["unreadable"]) == (str(faulty), 6, 1)
    kinds = {one["kind"]: (one["count"], one["examples"]) for one in record["findings"]}
    assert kinds["no_answer"] == kinds["media_missing"] == kinds["duplicate_sample"] == (1, [])
    assert "fix" not in record


def test_fix_writes_what_is_sound_and_lists_the_rest(
    faulty: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "fixed.jsonl"
    assert main(["data", "check", str(faulty), "--json", "--fix", str(out)]) == 1
    fixed = json.loads(capsys.readouterr().out)["fix"]
    assert fixed == {"path": str(out), "samples": 4, "repaired": {}, "rejected": 3}
    assert read_samples(out) == read_samples_of(faulty)[:4]
    lines = out.with_name("fixed.jsonl.rejected.jsonl").read_text().splitlines()
    rejected: dict[str, Any] = {line["where"]: line for line in map(json.loads, lines)}
    assert set(rejected) == {"gone", "twin", f"{faulty}:7"}
    assert rejected["gone"]["causes"][0]["kind"] == "media_missing"
    assert main(["data", "check", str(out), "--strict"]) == 0
    # A second run says nothing of what the first one rejected.
    assert main(["data", "check", str(out), "--fix", str(out.with_name("again.jsonl"))]) == 0
    assert out.with_name("again.jsonl.rejected.jsonl").read_text() == ""


def read_samples_of(faulty: Path) -> list[Any]:
    """The samples of a file whose last lines cannot be read."""
    whole = faulty.with_name("whole.jsonl")
    whole.write_text("".join(faulty.read_text().splitlines(keepends=True)[:6]))
    return read_samples(whole)


def test_what_is_checked_is_not_overwritten(
    faulty: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = faulty.read_bytes()
    other = str(faulty.parent / ".." / faulty.parent.name / faulty.name)
    assert main(["data", "check", str(faulty), "--fix", other]) == 2
    assert "is being checked; name another file" in capsys.readouterr().err
    assert main(["data", "check", "x.jsonl", "--against", str(faulty), "--fix", other]) == 2
    assert faulty.read_bytes() == before


def test_against_names_what_leaks(
    clips_folder: Path, sound: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    others = [str(clips_folder / "validation.jsonl"), str(sound)]
    assert main(["data", "check", str(sound), "--json", "--against", *others]) == 1
    record = json.loads(capsys.readouterr().out)
    count = len(read_samples(sound))
    leaked = next(one for one in record["findings"] if one["kind"] == "leaked_sample")
    assert leaked["count"] == count
    assert set(record["against"]) == set(others)
    assert main(["data", "check", str(sound), "--against", others[0]]) == 0
    assert f"compared with {others[0]}: " in words_of(capsys.readouterr().out)


def test_decoding_in_worker_processes_finds_what_is_broken(
    sound: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = read_samples(sound)[0].model_dump(mode="json")
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    path = tmp_path / "data.jsonl"
    bad = {**record, "id": "bad", "media": [{"kind": "video", "path": str(broken)}]}
    path.write_text(json.dumps(record) + "\n" + json.dumps(bad) + "\n")
    words = ["--decode", "--jobs", "2", "--json", "--media.max-frames", "1"]
    assert main(["data", "check", str(path), *words]) == 1
    kinds = {one["kind"]: one for one in json.loads(capsys.readouterr().out)["findings"]}
    assert kinds["media_undecodable"]["examples"][0]["where"] == "bad"
    assert "1 frames" in kinds["media_cut"]["examples"][0]["detail"]
    assert main(["data", "check", str(path)]) == 0


def test_no_markup_and_no_control_character_of_the_data_reaches_the_terminal(
    sound: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = read_samples(sound)[0].model_dump(mode="json")
    record = {**record, "id": "[red]\x1b[31mx", "source": "[link=evil]\x07", "media": []}
    path = tmp_path / "data.jsonl"
    path.write_text(json.dumps(record) + "\n")
    assert main(["data", "check", str(path)]) == 0
    printed = capsys.readouterr().out
    assert "[red]\N{REPLACEMENT CHARACTER}[31mx" in printed
    assert "[link=evil]\N{REPLACEMENT CHARACTER}" in printed
    assert "\x1b" not in printed


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        (["--jobs", "0"], "jobs is 0; use 1 or more"),
        (["--examples", "-1"], "examples is -1; use 0 or more"),
    ],
)
def test_settings_that_cannot_be(
    words: list[str], cause: str, sound: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "check", str(sound), *words]) == 2
    assert cause in capsys.readouterr().err
