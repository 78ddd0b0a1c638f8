"""Marks stand where the numbers say."""

import math
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triptych.report.charts import (
    Domain,
    Line,
    Reference,
    bar,
    interval_strip,
    line_panel,
    number,
    reference_rows,
    running_mean,
    scale,
    swatch,
    ticks,
    waveform,
)
from triptych.statistics import Interval


def parts(svg: str, tag: str, name: str) -> list[ET.Element]:
    return [
        element
        for element in ET.fromstring(svg).iter(tag)
        if name in element.get("class", "").split()
    ]


def points(polyline: ET.Element) -> list[tuple[float, float]]:
    return [
        (float(x), float(y))
        for x, y in re.findall(r"([\d.-]+),([\d.-]+)", polyline.attrib["points"])
    ]


def test_a_strip_spans_its_interval() -> None:
    svg = interval_strip(Interval(0.5, 0.4, 0.75, 9), 2, references=[Reference("prior", 0.25)])
    (span,) = parts(svg, "line", "span")
    assert (span.get("x1"), span.get("x2")) == ("40.00%", "75.00%")
    (mean,) = parts(svg, "circle", "mean")
    assert mean.get("cx") == "50.00%"
    (rule,) = parts(svg, "line", "reference")
    assert rule.get("x1") == "25.00%"
    assert ET.fromstring(svg).get("aria-label") == "0.500 [0.400, 0.750]"


def test_a_strip_without_interval_has_no_bar() -> None:
    assert not parts(interval_strip(Interval(0.5, None, None, 1), 0), "line", "span")


def test_a_strip_on_its_own_domain_clips_at_the_ends() -> None:
    svg = interval_strip(Interval(0.0, -0.3, 0.1, 9), 0, Domain(-0.2, 0.2))
    (span,) = parts(svg, "line", "span")
    assert (span.get("x1"), span.get("x2")) == ("0.00%", "75.00%")


def test_equal_references_share_a_label_and_all_are_named() -> None:
    references = [Reference("voice", 0.5), Reference("face", 0.5), Reference("prior", 0.25)]
    merged = [(row, item.label, item.value) for row, item in reference_rows(references)]
    assert merged == [(0, "prior", 0.25), (1, "face, voice", 0.5)]
    assert "face, voice 0.50" in scale(references=references)


def test_labels_are_escaped() -> None:
    assert "<b>" not in scale(references=[Reference("<b>", 0.5)])
    assert "<b>" not in line_panel("<b>", "", [Line("<b>", 0, (0.0, 1.0), (0.0, 1.0))])


def test_a_panel_draws_each_arm_from_its_first_to_its_last_step() -> None:
    svg = line_panel(
        "reward",
        "0 to 1",
        [Line("a", 0, (0, 5, 10), (0.0, 0.5, 1.0)), Line("b", 1, (0, 10), (1, 1))],
    )
    first, second = ET.fromstring(svg).iter("polyline")
    (x0, y0), (x1, y1), (x2, y2) = points(first)
    assert x0 < x1 < x2
    assert y0 > y1 > y2  # up the page
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2)
    assert points(second) == [(x0, y2), (x2, y2)]
    assert "arm-1" in second.get("class", "")


def test_scores_are_drawn_from_zero_to_one_and_other_figures_to_fit() -> None:
    def labels(unit: str, values: tuple[float, ...]) -> set[str | None]:
        svg = line_panel("m", unit, [Line("a", 0, (0, 1), values)])
        return {element.text for element in ET.fromstring(svg).iter("text")}

    assert {"0", "0.5", "1"} <= labels("0 to 1", (0.6, 0.7))
    assert "0.6" in labels("nats", (0.6, 0.7))
    assert "0.01" in labels("0 to 1", (0.0, 0.01))  # on the floor it could not be read
    assert "\N{MINUS SIGN}2" in labels("", (-2.0, 3.0))


def test_values_that_are_not_finite_leave_a_gap() -> None:
    steps = tuple(range(6))
    svg = line_panel("m", "", [Line("a", 0, steps, (1, 2, math.nan, 4, 5, math.inf))])
    runs = [points(polyline) for polyline in ET.fromstring(svg).iter("polyline")]
    assert [len(run) for run in runs] == [2, 2]
    lone = line_panel("m", "", [Line("a", 0, steps[:3], (1, math.nan, 4))])
    assert len(list(ET.fromstring(lone).iter("circle"))) == 2
    with pytest.raises(ValueError, match="no finite"):
        line_panel("m", "", [Line("a", 0, (0,), (math.nan,))])


def test_long_lines_get_a_running_mean() -> None:
    steps = tuple(range(40))
    svg = line_panel("m", "", [Line("a", 0, steps, tuple(float(s % 2) for s in steps))])
    faint, mean = ET.fromstring(svg).iter("polyline")
    assert "faint" in faint.get("class", "")
    heights = [y for _, y in points(mean)]
    assert max(heights) - min(heights) < 0.6 * (
        max(y for _, y in points(faint)) - min(y for _, y in points(faint))
    )


def test_running_mean_is_the_mean_of_neighbours() -> None:
    assert running_mean([1.0, 2.0, 6.0, 2.0], 3) == [1.5, 3.0, pytest.approx(10 / 3), 4.0]
    gap = running_mean([1.0, math.nan, 3.0], 3)
    assert gap[0] == 1.0
    assert math.isnan(gap[1])


def test_waveform_shows_loud_and_quiet() -> None:
    samples = np.concatenate([np.zeros(800), np.sin(np.arange(800))]).astype(np.float32)
    (outline,) = ET.fromstring(waveform(samples, columns=16)).iter("polygon")
    upper = points(outline)[:16]
    assert {y for _, y in upper[:8]} == {20.0}
    assert all(y < 5 for _, y in upper[8:])


@pytest.mark.parametrize("samples", [[0.0], [0.0] * 500, [float("nan"), 0.5]])
def test_waveform_of_little_or_silent_sound(samples: list[float]) -> None:
    assert "nan" not in waveform(np.array(samples, dtype=np.float32))


def test_waveform_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no audio"):
        waveform(np.zeros(0, dtype=np.float32))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (0.25, "0.25"),
        (12.0, "12"),
        (1500.0, "1.5k"),
        (-0.05, "\N{MINUS SIGN}0.05"),
        (1.5e-4, "1.5e\N{MINUS SIGN}4"),
        (2e6, "2e6"),
    ],
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert number(value) == text


@settings(deadline=None, max_examples=100)
@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_ticks_are_few_round_and_within(low: float, width: float) -> None:
    domain = Domain(low, low + max(width, abs(low) * 1e-6))
    marks = ticks(domain, 4)
    assert 1 <= len(marks) <= 6
    slack = 1e-6 * (domain.high - domain.low) + 1e-9
    assert all(domain.low - slack <= mark <= domain.high + slack for mark in marks)
    assert marks == sorted(marks)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.one_of(st.floats(-1e9, 1e9), st.just(math.nan)), min_size=1, max_size=60).filter(
        lambda values: any(math.isfinite(value) for value in values)
    ),
    st.sampled_from(["0 to 1", "nats", ""]),
)
def test_any_curve_stays_within_its_panel(values: list[float], unit: str) -> None:
    svg = line_panel("m", unit, [Line("a", 0, tuple(range(len(values))), tuple(values))])
    root = ET.fromstring(svg)
    places = [place for line in root.iter("polyline") for place in points(line)]
    places += [(float(c.attrib["cx"]), float(c.attrib["cy"])) for c in root.iter("circle")]
    assert places
    assert all(-0.1 <= x <= 300.1 and -0.1 <= y <= 176.1 for x, y in places)


def test_bars_and_swatches() -> None:
    assert 'width="50.00%"' in bar(1.0, 2.0)
    assert 'width="0.00%"' in bar(0.0, 0.0)
    assert "arm-3" in swatch(3)
