"""What docs/benchmarks.md says is what the code does."""

import re
from pathlib import Path

import pytest

from triptych.evaluation import published_scores
from triptych.evaluation.benchmarks import BENCHMARKS, Benchmark

DOCUMENT = (Path(__file__).parents[4] / "docs" / "benchmarks.md").read_text(encoding="utf-8")
FIGURES = [
    (benchmark, result)
    for benchmark in BENCHMARKS.values()
    for result in benchmark.known
    if result.group is None or benchmark.name == "intent_bench"
]


@pytest.mark.parametrize("benchmark", BENCHMARKS.values(), ids=list(BENCHMARKS))
def test_groups_questions_and_commands_are_those_of_the_benchmark(benchmark: Benchmark) -> None:
    (row,) = re.findall(rf"^\| `{benchmark.name}` \|.*$", DOCUMENT, re.MULTILINE)
    _, _, _, questions, groups, _ = (cell.strip() for cell in row.split("|"))
    assert groups == ", ".join(benchmark.groups)
    if benchmark.questions is not None:
        assert questions == f"{benchmark.questions:,}"
    for command in benchmark.source.commands if benchmark.source else ():
        assert f"\n{command}\n" in DOCUMENT


def test_every_known_figure_is_shown_and_no_other() -> None:
    table = DOCUMENT.partition("## Known results\n")[2].partition("\n## ")[0]
    shown = re.findall(r"^\|[^|\n]*\|[^|\n]*\| ([\d.]+) \|", table, re.MULTILINE)
    known = [result.percent for _, result in FIGURES]
    assert sorted(map(float, shown)) == sorted(known)


def test_the_mistakes_are_those_that_the_metric_leaves_out() -> None:
    listed = re.findall(r"^\* \*\*(.+?)\*\*", published_scores.__doc__ or "", re.MULTILINE)
    shown = re.findall(r"^\| \*\*(.+?)\*\*", DOCUMENT, re.MULTILINE)
    assert shown == listed
