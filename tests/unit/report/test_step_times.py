"""What the report says of the time of a step is what the metrics say."""

import re
import xml.etree.ElementTree as ET
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.unit.report.conftest import write_lines
from tests.unit.report.pages import Page
from triptych.report import build_report
from triptych.report.timeline import StepTimes, step_times


def line(number: int, **seconds: float) -> dict[str, Any]:
    return {"step": number, **{f"seconds/{name}": value for name, value in seconds.items()}}


GRPO = [
    line(1, data=0.2, rollout=0.8, reward=0.5, update=0.4, other=0.1, step=2.0),
    # Three steps, of which this is the mean.
    line(4, data=0.2, rollout=0.4, reward=0.1, update=0.2, other=0.1, step=1.0),
]
SFT = [line(step, data=0.005, update=0.895, other=0.1, step=1.0) for step in (1, 2)]


def times(**metrics: list[dict[str, Any]]) -> StepTimes:
    found = step_times(metrics)
    assert found is not None
    return found


def test_bars_are_means_over_steps_on_one_scale() -> None:
    found = times(stage_credit=GRPO, cold_start=SFT)
    assert [arm.seconds for arm in found.arms] == ["1.25", "1"]
    first, second = (ET.fromstring(arm.bar) for arm in found.arms)
    assert first.get("role") == "img"
    assert (first.get("aria-label") or "").startswith("stage_credit: waiting for data 0.2 s, ")
    ends = []
    for bar in (first, second):
        rects = [(float(r.attrib["x"][:-1]), float(r.attrib["width"][:-1])) for r in bar]
        for (x, width), (following, _) in pairwise(rects):
            assert x + width == pytest.approx(following, abs=0.01)
        ends.append(sum(rects[-1]))
    assert ends == pytest.approx([100.0, 80.0], abs=0.01)
    widths = [float(rect.attrib["width"][:-1]) for rect in first]
    means = [0.2, 0.5, 0.2, 0.25, 0.1]  # data, rollout, reward, update, other
    assert widths == pytest.approx([100 * mean / 1.25 for mean in means], abs=0.01)
    assert [key.name for key in found.keys] == [
        "waiting for data", "rollout", "rewards", "update", "other",
    ]  # fmt: skip
    styles = [rect.attrib["class"] for rect in first]
    keys = [ET.fromstring(key.swatch)[0].attrib["class"] for key in found.keys]
    assert styles == keys
    assert len(set(styles)) == 5
    shares = [share and (share.seconds, share.percent) for share in found.arms[1].shares]
    assert shares == [
        ("0.005 s", "under 1%"), None, None, ("0.895 s", "90%"), ("0.1 s", "10%"),
    ]  # fmt: skip


def test_waiting_is_said_in_words() -> None:
    found = times(a=GRPO, b=SFT, c=[{**GRPO[0], "seconds/reward_overlapped": 0.7}])
    assert [arm.waiting for arm in found.arms] == [
        "waited for data 16% and for rewards 16% of the time",
        "waited for data under 1% of the time",
        "waited for data 10% and for rewards 25% of the time; beside its work, replies were under "
        "way for 0.7 s of a step",
    ]
    (bar,) = (ET.fromstring(arm.bar) for arm in found.arms[2:])
    assert sum(float(rect.attrib["width"][:-1]) for rect in bar) == pytest.approx(100, abs=0.01)


def test_what_no_part_is_known_of_is_other() -> None:
    """Seconds of other names, and those that a line does not account for."""
    (arm,) = times(a=[line(1, update=0.5, tuning=0.2, step=1.0)]).arms
    assert [share and share.seconds for share in arm.shares] == ["0.5 s", "0.5 s"]


def test_runs_that_do_not_tell_have_no_chart() -> None:
    untimed = [line(1, update=1.0), {"step": 2, "seconds/step": None}, {"loss": 1.0}]
    assert step_times({"a": untimed, "b": []}) is None
    assert step_times({"a": [line(1, step=0.0)]}) is None


def test_the_page_shows_it(run_folder: Path) -> None:
    metrics = [{**row, "phase": "stage_<b>"} for row in GRPO]
    metrics += [{**row, "phase": "cold_start"} for row in SFT]
    write_lines(run_folder / "metrics.jsonl", metrics)
    html = build_report(run_folder).read_text(encoding="utf-8")
    page = Page(html)
    assert "Where the time of a step goes" in page.words
    assert "stage <b>: the model waited for data 16% and for rewards 16% of the time." in page.words
    assert '<span class="row-figure">1 s</span>' in html
    assert len(page.having("stacked")) == 2 + 5
    bars = [attrs for attrs in page.having("stacked") if "role" in attrs]
    assert all(re.match("(stage_<b>|cold_start): ", bar["aria-label"] or "") for bar in bars)
    write_lines(run_folder / "metrics.jsonl", [{"step": 1, "phase": "a", "loss": 1.0}])
    page = Page(build_report(run_folder).read_text(encoding="utf-8"))
    assert "Where the time of a step goes" not in page.words


def test_steps_that_were_timed_are_not_called_untimed(run_folder: Path) -> None:
    """Phases of a whole demo are in results.json; a run of one command has none."""
    (run_folder / "results.json").unlink()
    write_lines(run_folder / "metrics.jsonl", [{**row, "phase": "a"} for row in GRPO])
    assert "No phase was timed" not in Page(build_report(run_folder).read_text("utf-8")).words
