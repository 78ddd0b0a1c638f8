"""Tables of figures: what the page's templates put in rows and columns."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from triptych.report import charts
from triptych.report.charts import Domain, Reference
from triptych.statistics import Interval


@dataclass(frozen=True)
class Cell:
    """A figure, its interval, and the strip that draws both."""

    mean: str
    ends: str
    n: int
    strip: Markup


@dataclass(frozen=True)
class Row:
    """A named line of a table with one cell per column; a cell may be empty."""

    name: str
    arm: int
    cells: tuple[Cell | None, ...]


@dataclass(frozen=True)
class Table:
    """Rows under column heads, each head in one or two parts."""

    title: str
    columns: tuple[tuple[str, str], ...]
    rows: tuple[Row, ...]


def interval_cell(
    interval: Interval | None,
    arm: int,
    domain: Domain = charts.UNIT_DOMAIN,
    references: Sequence[Reference] = (),
    signed: bool = False,
) -> Cell | None:
    """The cell of an interval, with a sign where it is of differences; None where there is none."""
    if interval is None:
        return None
    if signed:
        references = [Reference("no difference", 0.0)]
    sign = "+" if signed else ""
    digits = 1 if max(abs(domain.low), abs(domain.high)) > 10 else 3
    ends = "one clip only: no interval"
    if interval.low is not None and interval.high is not None:
        ends = f"{interval.low:{sign}.{digits}f} to {interval.high:{sign}.{digits}f}"
    return Cell(
        mean=f"{interval.mean:{sign}.{digits}f}".replace("-", charts.MINUS),
        ends=ends.replace("-", charts.MINUS),
        n=interval.n,
        strip=charts.interval_strip(interval, arm, domain, references),
    )


def text_cell(text: str) -> Cell:
    """A cell without an interval."""
    return Cell(text.replace("-", charts.MINUS), ends="", n=0, strip=Markup(""))


def domain_of(intervals: Sequence[Interval]) -> Domain:
    """0 to 1 for scores; for counts, from 0 to the greatest end."""
    ends = _ends(intervals)
    low, high = min(ends, default=0.0), max(ends, default=0.0)
    if low >= 0.0 and high <= 1.0:
        return charts.UNIT_DOMAIN
    return Domain(min(0.0, low), max(high, 1.0))


def domain_around_zero(intervals: Sequence[Interval]) -> Domain:
    """As far below 0 as above, for differences."""
    reach = max((abs(end) for end in _ends(intervals)), default=0.0) or 1.0
    return Domain(-reach, reach)


def _ends(intervals: Sequence[Interval]) -> list[float]:
    return [
        end
        for interval in intervals
        for end in (interval.low, interval.mean, interval.high)
        if end is not None
    ]
