"""The drawing of `benchmarks.slopes`: seconds over prompt tokens, completions and their tokens."""

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

from markupsafe import escape

from triptych.report.charts import Domain, number, ticks

Record: TypeAlias = dict[str, Any]

_PANEL, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 240, 220, 34, 14, 44, 32
_VARIED = {
    "P": ("prompt", "prompt tokens"),
    "G": ("completions", "completions"),
    "C": ("tokens", "tokens of a completion"),
}
_STYLE = """
text { font: 11px system-ui, sans-serif; fill: #444 }
.title { font-size: 12px; fill: #111 }
.grid { stroke: #e4e4e4 }
.naive { stroke: #b3541e; fill: #b3541e }
.shared { stroke: #1f6f8b; fill: #1f6f8b }
polyline.naive, polyline.shared { stroke-width: 2; fill: none }
text.naive, text.shared { stroke: none }
"""


def chart(points: Sequence[Record]) -> str:
    """An SVG file with a panel for each of P, G and C, all with the same seconds."""
    longest = max(point["seconds"][way]["median"] for point in points for way in _ways(points))
    marks = []
    for place, letter in enumerate(_VARIED):
        here = [point for point in points if point["varied"] == letter]
        drawn = "".join(_panel(letter, here, Domain(0.0, longest), names=place == 0))
        marks.append(f'<g transform="translate({place * _PANEL} 0)">{drawn}</g>')
    width = _PANEL * len(_VARIED)
    title = "Seconds of an update over prompt tokens, completions and tokens of a completion"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {_HEIGHT}" '
        f'width="{width}" height="{_HEIGHT}" role="img" aria-label="{escape(title)}">'
        f'<style>{_STYLE}</style><rect width="100%" height="100%" fill="#fff"/>'
        f"{''.join(marks)}</svg>\n"
    )


def _ways(points: Sequence[Record]) -> list[str]:
    return list(points[0]["seconds"])


def _panel(letter: str, points: Sequence[Record], seconds: Domain, *, names: bool) -> Iterator[str]:
    field, title = _VARIED[letter]
    values = [point["shape"][field] for point in points]
    across = Domain(0.0, max(values))
    yield f'<text class="title" x="{_LEFT}" y="16">seconds, by {title} ({letter})</text>'
    for tick in ticks(seconds, 4):
        y = _y(seconds, tick)
        yield f'<line class="grid" x1="{_LEFT}" x2="{_PANEL - _RIGHT}" y1="{y}" y2="{y}"/>'
        yield f'<text x="{_LEFT - 6}" y="{y + 4}" text-anchor="end">{number(tick)}</text>'
    for tick in ticks(across, 4):
        x = _x(across, tick)
        yield f'<text x="{x}" y="{_HEIGHT - _BOTTOM + 16}" text-anchor="middle">{tick:g}</text>'
    for way in _ways(points):
        places = [
            (_x(across, value), _y(seconds, point["seconds"][way]["median"]))
            for value, point in zip(values, points, strict=True)
        ]
        yield f'<polyline class="{way}" points="{" ".join(f"{x},{y}" for x, y in places)}"/>'
        for x, y in places:
            yield f'<circle class="{way}" cx="{x}" cy="{y}" r="2.5"/>'
        if names:
            x, y = places[-1]
            yield f'<text class="{way}" x="{x - 6}" y="{y - 8}" text-anchor="end">{way}</text>'


def _x(domain: Domain, value: float) -> float:
    return round(_LEFT + domain.share(value) * (_PANEL - _LEFT - _RIGHT), 1)


def _y(domain: Domain, value: float) -> float:
    return round(_HEIGHT - _BOTTOM - domain.share(value) * (_HEIGHT - _TOP - _BOTTOM), 1)
