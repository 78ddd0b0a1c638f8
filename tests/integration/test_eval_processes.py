"""`triptych eval` in two processes."""

import json
from pathlib import Path

import pytest
from launching import launch

from triptych.cli.main import main


@pytest.mark.slow
def test_two_processes_leave_the_file_of_one(
    clips_folder: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    words = ["--model", str(tiny_folder), "--data", str(clips_folder / "test-balanced.jsonl"),
             "--max-new-tokens", "30", "--batch-size", "3", "--device", "cpu",
             "--on-bad-sample", "skip"]  # fmt: skip
    one, two = tmp_path / "one", tmp_path / "two"
    assert main(["eval", str(one), *words]) == 0
    printed = launch(2, ["eval", str(two), *words])
    assert printed.count("results: ") == 1, "the first process alone prints"
    name = Path("predictions") / "model.jsonl"
    assert (two / name).read_bytes() == (one / name).read_bytes()
    results = [json.loads((folder / "results.json").read_text()) for folder in (one, two)]
    times = [result.pop("timing") for result in results]
    assert results[0] == results[1]
    assert times[0]["answers"] == times[1]["answers"]
    notes = json.loads((two / "predictions" / "model.jsonl.timing.json").read_text())["notes"]
    assert {note["rank"] for note in notes} == {0, 1}
