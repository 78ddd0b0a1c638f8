"""Charts as inline SVG: a few marks, drawn with care, no library and no script.

Colours come from the style sheet through classes (``arm-0`` ...), so that a chart follows the
light or dark page. Two ways to scale: strips and bars place their marks in per cent and stretch
with the page without distorting; line panels have a fixed view box close to their real size, so
that their type stays readable on a telephone.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray

from triptych.statistics import Interval

MINUS = "\N{MINUS SIGN}"

_PANEL_WIDTH, _PANEL_HEIGHT = 300, 176
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 8, 10, 34
_NOTHING = 1e-100
# From this many points a line is drawn faint, with its running mean on top.
_SMOOTH_FROM = 30


@dataclass(frozen=True)
class Domain:
    """The values at the two ends of an axis."""

    low: float
    high: float

    def share(self, value: float) -> float:
        """Position of ``value`` along the axis, 0 at ``low`` and 1 at ``high``, not clipped."""
        return (value - self.low) / (self.high - self.low)

    def percent(self, value: float) -> str:
        """Position as an SVG percentage, clipped to the axis."""
        return f"{100 * min(1.0, max(0.0, self.share(value))):.2f}%"


UNIT_DOMAIN = Domain(0.0, 1.0)


@dataclass(frozen=True)
class Reference:
    """A fixed value to compare with, drawn as a thin rule."""

    label: str
    value: float


@dataclass(frozen=True)
class Line:
    """One arm's values over steps; ``arm`` is the number that picks colour and dash."""

    name: str
    arm: int
    steps: tuple[float, ...]
    values: tuple[float, ...]


def interval_strip(
    interval: Interval,
    arm: int,
    domain: Domain = UNIT_DOMAIN,
    references: Sequence[Reference] = (),
    height: int = 14,
) -> Markup:
    """A mean as a dot and its interval as a bar, on a hairline that spans the domain."""
    middle = height / 2
    marks = [f'<line class="track" x1="0" x2="100%" y1="{middle}" y2="{middle}"/>']
    for reference in references:
        x = domain.percent(reference.value)
        marks.append(f'<line class="reference" x1="{x}" x2="{x}" y1="0" y2="{height}"/>')
    if interval.low is not None and interval.high is not None:
        low, high = domain.percent(interval.low), domain.percent(interval.high)
        marks.append(f'<line class="span" x1="{low}" x2="{high}" y1="{middle}" y2="{middle}"/>')
    centre = domain.percent(interval.mean)
    marks.append(f'<circle class="mean" cx="{centre}" cy="{middle}" r="{height * 0.26:.2f}"/>')
    return Markup(
        f'<svg class="strip arm-{arm}" width="100%" height="{height}" role="img" '
        f'aria-label="{escape(str(interval))}">{"".join(marks)}</svg>'
    )


def scale(domain: Domain = UNIT_DOMAIN, references: Sequence[Reference] = ()) -> Markup:
    """The axis under a column of strips: ticks, and the names of the reference rules."""
    marks = []
    for tick in ticks(domain, 5):
        x = domain.percent(tick)
        marks.append(f'<line class="tick" x1="{x}" x2="{x}" y1="0" y2="5"/>')
        anchor = _anchor(domain.share(tick))
        marks.append(f'<text x="{x}" y="17" text-anchor="{anchor}">{number(tick)}</text>')
    rows = reference_rows(references, domain)
    for row, reference in rows:
        x, y = domain.percent(reference.value), 34 + 14 * row
        marks.append(f'<line class="reference" x1="{x}" x2="{x}" y1="0" y2="{y - 10}"/>')
        label = escape(f"{reference.label} {reference.value:.2f}")
        marks.append(f'<text class="named" x="{x}" y="{y}" text-anchor="middle">{label}</text>')
    height = 20 + 14 * (1 + max((row for row, _ in rows), default=-1))
    return Markup(f'<svg class="scale" width="100%" height="{height}" aria-hidden="true">'
                  f"{''.join(marks)}</svg>")  # fmt: skip


def reference_rows(
    references: Sequence[Reference], domain: Domain = UNIT_DOMAIN
) -> list[tuple[int, Reference]]:
    """Merge rules that coincide and stagger labels that would touch, lowest value first."""
    merged: list[Reference] = []
    for reference in sorted(references, key=lambda item: (item.value, item.label)):
        if merged and abs(domain.share(reference.value) - domain.share(merged[-1].value)) < 0.005:
            last = merged.pop()
            merged.append(Reference(f"{last.label}, {reference.label}", last.value))
        else:
            merged.append(reference)
    return list(enumerate(merged))


def bar(value: float, largest: float) -> Markup:
    """A horizontal bar, its length in proportion to the largest of its column."""
    share = 100 * value / largest if largest > 0 else 0.0
    return Markup(
        '<svg class="bar" width="100%" height="10" aria-hidden="true">'
        f'<rect width="{share:.2f}%" height="10" rx="1.5"/></svg>'
    )


@dataclass(frozen=True)
class Part:
    """A part of a stacked bar; ``style`` is the number that picks its colour."""

    name: str
    style: int
    value: float


def stacked_bar(title: str, parts: Sequence[Part], largest: float, unit: str) -> Markup:
    """Parts one behind the other, their lengths in proportion to the largest bar of the chart."""
    marks, begin = [], 0.0
    for part in parts:
        x, width = (f"{100 * value / largest:.3f}%" for value in (begin, part.value))
        begin += part.value
        marks.append(
            f'<rect class="arm-{part.style}" x="{x}" width="{width}" height="22">'
            f"<title>{escape(part.name)}: {number(part.value)} {escape(unit)}</title></rect>"
        )
    said = ", ".join(f"{part.name} {number(part.value)} {unit}" for part in parts)
    return Markup(
        f'<svg class="stacked" width="100%" height="22" role="img" '
        f'aria-label="{escape(f"{title}: {said}")}">{"".join(marks)}</svg>'
    )


def part_key(style: int) -> Markup:
    """The key of a part for a legend: its colour."""
    return Markup(
        f'<svg class="stacked" width="14" height="10" aria-hidden="true">'
        f'<rect class="arm-{style}" width="14" height="10"/></svg>'
    )


def line_panel(title: str, unit: str, lines: Sequence[Line]) -> Markup:
    """One metric over training steps, a line per arm; x in steps, y in ``unit``.

    Values that are not finite leave a gap. Raises ValueError when no value is finite.
    """
    finite = [value for line in lines for value in line.values if math.isfinite(value)]
    if not finite:
        raise ValueError(f"no finite value to draw for {title!r}")
    x_domain = _padded(step for line in lines for step in line.steps)
    y_domain, y_ticks = _y_range(finite, unit)
    marks = [*_y_axis(y_domain, y_ticks), *_x_axis(x_domain)]
    for line in lines:
        points = [
            (_x(x_domain, step), _y(y_domain, value) if math.isfinite(value) else math.nan)
            for step, value in zip(line.steps, line.values, strict=True)
        ]
        marks.extend(_line_marks(points, line.arm))
    names = ", ".join(line.name for line in lines)
    return Markup(
        f'<svg class="panel" viewBox="0 0 {_PANEL_WIDTH} {_PANEL_HEIGHT}" role="img" '
        f'aria-label="{escape(f"{title} over steps: {names}")}">{"".join(marks)}</svg>'
    )


def waveform(samples_N: NDArray[np.float32], columns: int = 240) -> Markup:
    """The envelope of mono audio in [-1, 1]: least and greatest sample of each column.

    Drawn to the loudest sample of the clip, so that quiet speech can still be seen.
    """
    samples_N = np.nan_to_num(np.asarray(samples_N, dtype=np.float64))
    if not len(samples_N):
        raise ValueError("no audio samples to draw")
    parts = np.array_split(samples_N, min(columns, len(samples_N)))
    peak = float(np.abs(samples_N).max()) or 1.0
    tops = [20 - 19 * float(part.max()) / peak for part in parts]
    bottoms = [20 - 19 * float(part.min()) / peak for part in parts]
    xs = np.linspace(0, 300, len(parts)).tolist() if len(parts) > 1 else [0.0]
    upper = [f"{x:.1f},{y:.1f}" for x, y in zip(xs, tops, strict=True)]
    lower = [f"{x:.1f},{y:.1f}" for x, y in zip(xs, bottoms, strict=True)]
    outline = " ".join([*upper, *reversed(lower)])
    return Markup(
        '<svg class="wave" viewBox="0 0 300 40" preserveAspectRatio="none" role="img" '
        'aria-label="waveform of the audio"><line x1="0" x2="300" y1="20" y2="20"/>'
        f'<polygon points="{outline}"/></svg>'
    )


def swatch(arm: int) -> Markup:
    """The key of an arm for a legend: its colour and dash."""
    return Markup(
        f'<svg class="swatch arm-{arm}" width="26" height="10" aria-hidden="true">'
        '<line class="curve" x1="1" x2="25" y1="5" y2="5"/></svg>'
    )


def number(value: float) -> str:
    """A figure in few digits: 0.25, 12, 3.4, 1.5k, 2e-5."""
    magnitude = abs(value)
    if value == 0:
        return "0"
    if magnitude >= 1_000_000 or magnitude < 0.001:
        mantissa, exponent = f"{value:.1e}".split("e")
        text = f"{mantissa.removesuffix('.0')}e{int(exponent)}"
    elif magnitude >= 1000:
        text = f"{value / 1000:.4g}k"
    else:
        text = f"{value:.3g}"
    return text.replace("-", MINUS)


def ticks(domain: Domain, about: int) -> list[float]:
    """Round values within the domain, near ``about`` of them, 1, 2 or 5 times a power of ten."""
    step = _round_step(domain, about)
    first = math.ceil(domain.low / step - 1e-9)
    last = math.floor(domain.high / step + 1e-9)
    return [float(f"{index * step:.12g}") for index in range(first, last + 1)]


def _round_step(domain: Domain, about: int) -> float:
    rough = (domain.high - domain.low) / about
    power: float = 10.0 ** math.floor(math.log10(rough))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)


def _anchor(share: float) -> str:
    if share < 0.02:
        return "start"
    return "end" if share > 0.98 else "middle"


def _y_range(values: Sequence[float], unit: str) -> tuple[Domain, list[float]]:
    """Domain and ticks: scores from 0 to 1, so that panels compare at a glance, else to fit.

    Shares that stay tiny would lie on the floor of such a panel, so they are fitted too.
    """
    if unit == "0 to 1" and min(values) >= 0.0 and 0.2 < max(values) <= 1.0:
        return UNIT_DOMAIN, [0.0, 0.25, 0.5, 0.75, 1.0]
    fitted = _padded(values)
    step = _round_step(fitted, 4)
    first = math.floor(fitted.low / step + 1e-9)
    last = math.ceil(fitted.high / step - 1e-9)
    marks = [float(f"{index * step:.12g}") for index in range(first, last + 1)]
    return Domain(marks[0], marks[-1]), marks


def _padded(values: Iterable[float]) -> Domain:
    """The range of the finite values, widened where they hardly differ."""
    known = [value for value in values if math.isfinite(value)]
    low, high = min(known), max(known)
    size = max(abs(low), abs(high))
    if size < _NOTHING:
        return Domain(-1.0, 1.0)
    if high - low < 1e-9 * size:  # below what the ticks could tell apart
        return Domain(low - size / 2, high + size / 2)
    return Domain(low, high)


def _x(domain: Domain, value: float) -> float:
    return _LEFT + domain.share(value) * (_PANEL_WIDTH - _LEFT - _RIGHT)


def _y(domain: Domain, value: float) -> float:
    return _PANEL_HEIGHT - _BOTTOM - domain.share(value) * (_PANEL_HEIGHT - _TOP - _BOTTOM)


def _y_axis(domain: Domain, at: Sequence[float]) -> list[str]:
    marks = []
    for tick in at:
        y = _y(domain, tick)
        marks.append(
            f'<line class="grid" x1="{_LEFT}" x2="{_PANEL_WIDTH - _RIGHT}" '
            f'y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text x="{_LEFT - 6}" y="{y + 3.5:.1f}" text-anchor="end">{number(tick)}</text>'
        )
    return marks


def _x_axis(domain: Domain) -> list[str]:
    floor = _PANEL_HEIGHT - _BOTTOM
    whole = [tick for tick in ticks(domain, 4) if tick == int(tick) and tick >= 0]
    marks = [f'<line class="axis" x1="{_LEFT}" x2="{_PANEL_WIDTH - _RIGHT}" y1="{floor}" '
             f'y2="{floor}"/>']  # fmt: skip
    for tick in whole:
        x = _x(domain, tick)
        marks.append(
            f'<line class="tick" x1="{x:.1f}" x2="{x:.1f}" y1="{floor}" y2="{floor + 4}"/>'
            f'<text x="{x:.1f}" y="{floor + 15}" text-anchor="middle">{number(tick)}</text>'
        )
    marks.append(f'<text class="label" x="{_PANEL_WIDTH - _RIGHT}" y="{_PANEL_HEIGHT - 4}" '
                 'text-anchor="end">step</text>')  # fmt: skip
    return marks


def _line_marks(points: Sequence[tuple[float, float]], arm: int) -> list[str]:
    if len(points) < _SMOOTH_FROM:
        return _polylines(points, f"curve arm-{arm}")
    heights = [y for _, y in points]
    smooth = running_mean(heights, max(3, len(points) // 12) | 1)
    averaged = [(x, y) for (x, _), y in zip(points, smooth, strict=True)]
    return [
        *_polylines(points, f"curve faint arm-{arm}"),
        *_polylines(averaged, f"curve arm-{arm}"),
    ]


def running_mean(values: Sequence[float], window: int) -> list[float]:
    """Centred mean over ``window`` (odd) neighbours, fewer at both ends.

    A value that is not finite stays so and is left out of its neighbours' means.
    """
    reach = window // 2
    means = []
    for index, value in enumerate(values):
        around = values[max(0, index - reach) : index + reach + 1]
        near = [near for near in around if math.isfinite(near)]
        means.append(sum(near) / len(near) if math.isfinite(value) else math.nan)
    return means


def _polylines(points: Sequence[tuple[float, float]], classes: str) -> list[str]:
    """Unbroken runs of finite points as polylines; a run of one is a dot."""
    marks: list[str] = []
    run: list[tuple[float, float]] = []
    for x, y in [*points, (math.nan, math.nan)]:
        if math.isfinite(y):
            run.append((x, y))
            continue
        if len(run) == 1:
            marks.append(f'<circle class="{classes} dot" cx="{run[0][0]:.1f}" '
                         f'cy="{run[0][1]:.1f}" r="2"/>')  # fmt: skip
        elif run:
            places = " ".join(f"{px:.1f},{py:.1f}" for px, py in run)
            marks.append(f'<polyline class="{classes}" points="{places}"/>')
        run = []
    return marks
