"""The benchmark of the slopes, run small, and its arithmetic on made-up times."""

import json
from functools import partial
from itertools import count
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks import slopes
from benchmarks.harness import write_json
from benchmarks.slopes import (
    Line,
    Record,
    Sweep,
    naive_tokens,
    report,
    run,
    shared_tokens,
)
from benchmarks.slopes_chart import chart
from benchmarks.table import table
from benchmarks.update import Shape, Update

SMALL = Sweep(Shape(24, 2, 4), (16, 24), (2, 3), (4, 6), hidden=64, rounds=1)


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Record:
    file = tmp_path_factory.mktemp("slopes") / "slopes.json"
    write_json(file, run(SMALL))
    written: Record = json.loads(file.read_text(encoding="utf-8"))
    return written


def test_each_of_the_three_is_varied_alone(record: Record) -> None:
    shapes = [(point["varied"], *point["shape"].values()) for point in record["points"]]
    assert shapes == [
        ("P", 16, 2, 4), ("P", 24, 2, 4),
        ("G", 24, 2, 4), ("G", 24, 3, 4),
        ("C", 24, 2, 4), ("C", 24, 2, 6),
    ]  # fmt: skip


def test_a_naive_row_counts_for_each_completion(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock on which every pass takes a second."""
    monkeypatch.setattr(slopes, "process_time", partial(next, count(0.0)))
    seconds = slopes._time(Update(64, Shape(8, 3, 2)), rounds=2)
    assert seconds == {"naive": [3.0, 3.0], "shared": [1.0, 1.0]}


def test_the_report_holds_all_points_and_fits(record: Record) -> None:
    assert len(record["fits"]) == 4
    text = report(record)
    assert text.count("| P  ") == text.count("| G  ") == text.count("| C  ") == 2
    assert text.count("P + G C") == 3


def test_the_table_of_benchmarks_reads_it(record: Record, tmp_path: Path) -> None:
    write_json(tmp_path / "slopes.json", record)
    assert table(tmp_path).count("| R squared of") == 4


def test_a_line_is_found_again() -> None:
    line = Line.of([1000, 2000, 5000], [0.3, 0.5, 1.1])
    assert line.ms_per_1000_tokens == pytest.approx(200)
    assert line.ms_at_0 == pytest.approx(100)
    assert line.r_squared == pytest.approx(1)


def test_times_of_one_count_are_not_a_line_of_the_other() -> None:
    shapes = [shape for _, shape in Sweep().shapes()]
    seconds = [shared_tokens(shape) / 1e4 for shape in shapes]
    assert Line.of([shared_tokens(shape) for shape in shapes], seconds).r_squared > 0.999
    assert Line.of([naive_tokens(shape) for shape in shapes], seconds).r_squared < 0.7


def test_the_chart_is_a_drawing_of_all_points(record: Record) -> None:
    points = [
        {**point, "seconds": {way: {"median": at + 1.0} for way in ("naive", "shared")}}
        for at, point in enumerate(record["points"])
    ]
    drawing = ElementTree.fromstring(chart(points))
    space = {"svg": "http://www.w3.org/2000/svg"}
    assert len(drawing.findall("svg:g", space)) == 3
    assert len(drawing.findall(".//svg:circle", space)) == 2 * len(record["points"])
    low, high = drawing.findall("svg:g", space)[0].findall("svg:circle[@class='naive']", space)
    assert float(low.attrib["cx"]) < float(high.attrib["cx"])
    assert float(low.attrib["cy"]) > float(high.attrib["cy"]), "more seconds stand higher"
