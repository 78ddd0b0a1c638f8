"""`triptych eval`, killed at random moments and started again, ends as if nothing had happened."""

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from triptych.cli.main import main
from triptych.data.sample import Sample, read_samples, write_samples

SETTINGS = [
    "--enforce",
    "off",
    "--max-new-tokens",
    "8",
    "--batch-size",
    "8",
    "--decode.workers",
    "0",
]


def questions(clips_folder: Path, count: int) -> list[Sample]:
    """So many questions about a few clips: the same ones again, under other ids."""
    samples = read_samples(clips_folder / "test-balanced.jsonl")
    return [
        samples[number % len(samples)].model_copy(update={"id": f"q{number}"})
        for number in range(count)
    ]


def kill_at(out: Path, words: Sequence[str], lines: int, delay: float) -> bool:
    """SIGKILL `triptych WORDS` some seconds after it has scored so many more lines.

    Whether it was still running.
    """
    ledger = out / "predictions" / "model.jsonl.ledger" / "scored.0.jsonl"

    def scored() -> int:
        return ledger.read_bytes().count(b"\n") if ledger.exists() else 0

    before = scored()
    with subprocess.Popen(
        [sys.executable, "-m", "triptych", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as process:
        while lines and process.poll() is None and scored() < before + lines:
            time.sleep(0.002)
        time.sleep(delay)
        running = process.poll() is None
        process.kill()
    return running


def figures(out: Path) -> dict[str, Any]:
    """All that is found, times left out."""
    results: dict[str, Any] = json.loads((out / "results.json").read_text())
    assert results.pop("timing")["answers"] > 0
    return results


def check_killed(
    clips_folder: Path, tiny_folder: Path, folder: Path, count: int, kills: int
) -> None:
    data = folder / "questions.jsonl"
    write_samples(data, questions(clips_folder, count))
    command = ["--model", str(tiny_folder), "--data", str(data), *SETTINGS]
    whole, killed = folder / "whole", folder / "killed"
    assert main(["eval", str(whole), *command]) == 0
    draw = random.Random(0)
    most = max(2, count // kills)  # so that every kill finds it at work
    running = 0
    for number in range(kills):
        early = number % 4 == 3  # while it is still starting, wherever that is
        lines, delay = (0, draw.uniform(0, 6)) if early else (draw.randrange(1, most), 0.05)
        words = ["eval", str(killed), *command]
        running += kill_at(killed, words, lines, draw.uniform(0, delay))
    assert running >= kills // 2
    assert main(["eval", str(killed), *command]) == 0
    name = Path("predictions") / "model.jsonl"
    assert (killed / name).read_bytes() == (whole / name).read_bytes()
    assert figures(killed) == figures(whole)
    left = [sorted(str(p.relative_to(f)) for p in f.rglob("*")) for f in (whole, killed)]
    assert [one for one in left[1] if not one.endswith(".tmp")] == left[0]


@pytest.mark.slow
def test_four_kills_change_nothing(clips_folder: Path, tiny_folder: Path, tmp_path: Path) -> None:
    check_killed(clips_folder, tiny_folder, tmp_path, count=40, kills=4)


@pytest.mark.slow
def test_twenty_kills_change_nothing(clips_folder: Path, tiny_folder: Path, tmp_path: Path) -> None:
    check_killed(clips_folder, tiny_folder, tmp_path, count=300, kills=20)
