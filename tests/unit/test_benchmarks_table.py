"""The table of the benchmarks is what their JSON files say, no more and no less."""

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import log_probs, necessity, rollout, score, towers, update
from benchmarks.harness import write_json
from benchmarks.table import README, RESULTS, table
from benchmarks.table_rows import BENCHMARKS, Record, at_least, at_most
from benchmarks.update import Shape
from triptych.models.tiny import TinyConfig

ROOT = Path(__file__).parents[2]


def test_the_table_is_made_of_the_files_that_are_there() -> None:
    assert README.read_text(encoding="utf-8") == table(RESULTS), "run make bench-table"


def test_each_script_with_results_has_a_place_in_it() -> None:
    names = {path.stem for path in RESULTS.glob("*.json")}
    assert names <= {one.name for one in BENCHMARKS}


def test_each_command_is_a_target_of_the_makefile() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {one.make.split()[1] for one in BENCHMARKS} <= targets


def test_a_missing_file_is_not_yet_measured(tmp_path: Path) -> None:
    shutil.copy(RESULTS / "media.json", tmp_path)
    text = table(tmp_path)
    assert "## media" in text
    assert "* grammar: holding a model to the format (`make bench-grammar`)" in text
    assert text.count("\n* ") == len(BENCHMARKS) - 1


def test_another_figure_is_another_table(tmp_path: Path) -> None:
    record = json.loads((RESULTS / "media.json").read_text(encoding="utf-8"))
    record["verdicts"][0] |= {"value": 4.321, "met": False}
    (tmp_path / "media.json").write_text(json.dumps(record), encoding="utf-8")
    (line,) = [line for line in table(tmp_path).splitlines() if "4.32" in line]
    assert "missed" in line


def score_of_few(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Record:
    out = folder / "score.json"
    words = ["--predictions", "40", "--questions", "4", "--rounds", "1", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["score", *words])
    score.main()
    written: Record = json.loads(out.read_text(encoding="utf-8"))
    return written


def update_of_a_small_group(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Record:
    monkeypatch.setattr(update, "HIDDEN_SIZES", (64,))
    monkeypatch.setattr(update, "SHAPES", (Shape(16, 8, 2),))
    monkeypatch.setattr(update, "_in_a_process", lambda *_: 1.0)
    return update.run(rounds=1)


def towers_of_a_tiny_model(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Record:
    monkeypatch.setattr(towers, "WIDTHS", {"tiny": TinyConfig()})
    monkeypatch.setattr(towers, "CLIPS_PER_PROMPT", (1,))
    return towers.run(1, 1, 1)


def rollout_of_a_small_group(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Record:
    monkeypatch.setattr(rollout, "SETTINGS", (rollout.Setting(64, 2, 3, 64),))
    return rollout.run([1])


LOGITS = log_probs.Setting(100, 8, 16, rounds=1)
SMALL: dict[str, Callable[[pytest.MonkeyPatch, Path], Record]] = {
    "log_probs": lambda *_: log_probs.run([LOGITS], LOGITS, [1]),
    "necessity": lambda *_: necessity.run(1, [4]),
    "rollout": rollout_of_a_small_group,
    "score": score_of_few,
    "towers": towers_of_a_tiny_model,
    "update": update_of_a_small_group,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_what_a_script_writes_is_read(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Run small; what the others write is read in their own tests, or committed."""
    write_json(tmp_path / f"{name}.json", SMALL[name](monkeypatch, tmp_path))
    text = table(tmp_path)
    assert f"## {name}\n" in text
    assert len([line for line in text.splitlines() if line.startswith("| ")]) >= 2


@pytest.mark.parametrize(
    ("low", "high", "most", "least"),
    [(1.0, 2.0, "met", "missed"), (4.0, 5.0, "missed", "met"), (2.0, 4.0, *["not certain"] * 2)],
)
def test_a_target_is_met_by_the_whole_interval(
    low: float, high: float, most: str, least: str
) -> None:
    interval = {"low": low, "high": high}
    assert at_most("", "", interval, 3.0).verdict == most
    assert at_least("", "", interval, 3.0).verdict == least
