"""The figures of all benchmarks in one table, made of their JSON files.

    make bench-table

Writes `benchmarks/README.md`. A figure that is not in the files is not in the table; a file that is
missing is listed as not yet measured.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.harness import markdown
from benchmarks.table_rows import BENCHMARKS, Record

HERE = Path(__file__).parent
RESULTS, README = HERE / "results", HERE / "README.md"

_HEAD = """\
# Benchmarks

Made of `results/*.json` by `make bench-table`; the head of each script says what it measures and
how. Medians with 95% intervals, or with quartiles (`a-b`) where single runs are timed. A target is
met, or missed, by the whole interval. `make bench-NAME RESULTS=benchmarks/results` writes a file;
on Linux under `chrt -r 1` (SCHED_RR), so that other programs disturb it less.
"""


def table(results: Path) -> str:
    """The whole document.

    Args:
        results: the folder with the JSON files; others than those of `BENCHMARKS` are left alone.
    """
    records = {one: _read(results / f"{one.name}.json") for one in BENCHMARKS}
    measured = {one: record for one, record in records.items() if record is not None}
    parts = [_HEAD]
    for one, record in measured.items():
        rows = [[row.what, row.figure, row.target, row.verdict] for row in one.rows(record)]
        header = ["measured", "figure", "target", ""]
        parts.append(
            f"## {one.name}\n\n{_sentence(one.asks)} (`{one.make}`). {_where(record)}\n\n"
            f"{markdown(header, rows)}\n"
        )
        if (results / f"{one.name}.svg").exists():
            parts.append(f"![{_sentence(one.asks)}](results/{one.name}.svg)\n")
    if missing := [one for one in BENCHMARKS if one not in measured]:
        lines = [f"* {one.name}: {one.asks} (`{one.make}`)" for one in missing]
        parts.append("\n".join(["## Not yet measured", "", *lines, ""]))
    return "\n".join(parts)


def _read(path: Path) -> Record | None:
    if not path.exists():
        return None
    record: Record = json.loads(path.read_text(encoding="utf-8"))
    return record


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def _where(record: Record) -> str:
    """The machine, the day and the versions."""
    environment: dict[str, Any] = record["environment"]
    machine = f"{environment['cores_used']} of {environment['cores']} cores, {environment['cpu']}"
    if "device" in record:
        machine = f"{record['device']['name']}, CUDA {record['device']['cuda']}"
    versions = ", ".join(
        f"{name} {version}" for name, version in environment["versions"].items() if version
    )
    return (
        f"{environment['date']}, {machine}, {environment['scheduler']}; "
        f"Python {environment['python']}, {versions}."
    )


def main() -> None:
    """Write the document."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.table", description="The figures of all benchmarks"
    )
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--out", type=Path, default=README)
    options = parser.parse_args()
    options.out.write_text(table(options.results), encoding="utf-8")
    print(f"Written to {options.out}")


if __name__ == "__main__":
    main()
