"""Time and memory of `triptych data check` on 100,000 records, without decoding.

    python -m benchmarks.data_check --out benchmarks/results/data_check.json

The records are native JSONL of the kind that reinforcement needs: a multiple-choice question with
four options, a context and a reasoning of about 60 words each, three elements, video and audio of
one of 20,000 small files. All texts differ, so that no cache helps. The command runs as a user
runs it, in a process of its own; its time includes the start of Python. A second figure compares
the set with itself, which reads every file. Where other programs keep the machine busy, only the
time of the processor means something.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.harness import Spread, environment, markdown, write_json

RECORDS = 100_000
FILES = 20_000
_SYLLABLES = [first + second for first in "bcdfghlmnprstvw" for second in "aeiou"]


def main() -> None:
    """Measure, print a table, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="JSON file for the figures")
    parser.add_argument("--records", type=int, default=RECORDS)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="triptych-data-check-") as folder:
        data = make_data(Path(folder), args.records)
        tasks: dict[str, list[str]] = {"alone": [], "against itself": ["--against", str(data)]}
        runs = {
            name: [run_once(data, words, args.records) for _ in range(args.rounds)]
            for name, words in tasks.items()
        }
        size = data.stat().st_size
    spreads = {
        name: {key: Spread.of([one[key] for one in of_task]) for key in ("seconds", "cpu_seconds")}
        for name, of_task in runs.items()
    }
    peaks = {name: max(one["peak_mib"] for one in of_task) for name, of_task in runs.items()}
    rows = [[name, *map(str, spreads[name].values()), f"{peaks[name]:.0f}"] for name in runs]
    print(markdown(["data check", "seconds", "CPU seconds", "peak MiB"], rows))
    settings = {"records": args.records, "files": FILES, "file_mib": size / 2**20}
    packages = ("triptych", "pydantic", "pydantic_core")
    figures = {
        name: {key: asdict(spread) for key, spread in spreads[name].items()}
        | {"peak_mib": peaks[name]}
        for name in runs
    }
    record = {"environment": environment(packages), "settings": settings, "figures": figures}
    write_json(args.out, record)


def make_data(folder: Path, records: int) -> Path:
    """A JSONL file of sound records and their files."""
    rng = random.Random(0)
    words = ["".join(rng.choices(_SYLLABLES, k=rng.randint(1, 4))) for _ in range(20_000)]
    words += ["the", "a", "and", "is", "while", "smiles", "rises"] * 1000
    (folder / "media").mkdir()
    for number in range(FILES):
        (folder / "media" / f"{number}.mp4").write_bytes(rng.randbytes(1000 + number % 50))
    path = folder / "data.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for number in range(records):
            file.write(json.dumps(_record(number, rng, words)) + "\n")
    return path


def _record(number: int, rng: random.Random, words: list[str]) -> dict[str, Any]:
    def text(length: int) -> str:
        chosen = rng.choices(words, k=length)
        return " ".join(
            word + ("." if i % 12 == 11 else "," if i % 7 == 6 else "")
            for i, word in enumerate(chosen)
        )

    file = f"media/{number % FILES}.mp4"
    return {
        "id": f"sample-{number}",
        "question": text(12) + "?",
        "problem_type": "multiple_choice",
        "options": [text(3) for _ in range(4)],
        "answer": rng.choice("ABCD"),
        "media": [{"kind": "video", "path": file}, {"kind": "audio", "path": file}],
        "reference": {
            "context": text(60),
            "reasoning": text(60),
            "elements": [
                {"name": f"element {i}", "phrases": [text(2)], "contradictions": [text(2)]}
                for i in range(3)
            ],
        },
        "source": rng.choice(["one", "two", "three"]),
    }


def run_once(data: Path, words: list[str], records: int) -> dict[str, float]:
    """Seconds on the clock and of the processor, and peak memory, of a process of its own."""
    command = [sys.executable, "-m", "triptych", "data", "check", str(data), "--json", *words]
    report = data.with_name("report.json")
    start = time.perf_counter()
    with report.open("wb") as out:
        process = subprocess.Popen(command, stdout=out)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - start
    if json.loads(report.read_bytes())["samples"] != records:
        raise SystemExit(f"{' '.join(command)} did not read all {records} records")
    cpu_seconds = usage.ru_utime + usage.ru_stime
    return {"seconds": seconds, "cpu_seconds": cpu_seconds, "peak_mib": usage.ru_maxrss / 1024}


if __name__ == "__main__":
    main()
