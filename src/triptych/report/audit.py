"""What the page shows of an audit: the `audit` block of results.json.

What the block lacks is "not measured", as in a report of a run that was interrupted.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from triptych.report.charts import Domain
from triptych.report.load import Json, finite_interval, is_number, items_of, object_of
from triptych.report.page import words
from triptych.report.rollouts import clean
from triptych.report.tables import (
    Cell,
    Row,
    Table,
    domain_around_zero,
    domain_of,
    interval_cell,
    text_cell,
)
from triptych.statistics import Interval

_SHOWN = (
    *("metric", "items", "clips", "verdicts"),
    *("conditions", "shortcut_index", "hallucinated_perception"),
)


@dataclass(frozen=True)
class Part:
    """A table, what the names of its rows are, and how it is to be read."""

    table: Table
    first: str
    note: str


@dataclass(frozen=True)
class AuditView:
    """An audit: what it is about, what it allows to be said, and from which figures."""

    about: str
    verdicts: tuple[str, ...]
    unanswered: tuple[str, ...]
    parts: tuple[Part, ...]


def audit_view(audit: Json) -> AuditView:
    """The audit as `triptych audit` prints it, but for the divisions of the questions."""
    conditions = {name: object_of(figures) for name, figures in items_of(audit.get("conditions"))}
    verdicts = audit.get("verdicts")
    parts = (_conditions(conditions), _index(audit), _perception(audit))
    return AuditView(
        about=clean(
            f"{audit.get('items')} questions about {audit.get('clips')} clips; accuracy is the "
            f"mean of {audit.get('metric')}."
        ),
        verdicts=tuple(map(clean, verdicts)) if isinstance(verdicts, list) else (),
        unanswered=tuple(_unanswered(conditions)),
        parts=tuple(part for part in parts if part.table.rows),
    )


def further_figures(audit: Json) -> Json:
    """What the view leaves out: the places of options, the divisions of the questions."""
    rest = {name: figures for name, figures in audit.items() if name not in _SHOWN}
    return {"audit": rest} if rest else {}


def _unanswered(conditions: dict[str, Json]) -> Iterator[str]:
    for name, figures in conditions.items():
        for reason, count in items_of(figures.get("unanswered")):
            yield clean(f"{words(name)}: {count} questions were not answered ({reason})")


def _conditions(conditions: dict[str, Json]) -> Part:
    accuracy = _column(conditions, "accuracy")
    difference = _column(conditions, "difference")
    kept = _column(conditions, "kept")
    around = domain_around_zero([one for one in difference.values() if one])
    above = domain_of([one for one in kept.values() if one])
    rows = []
    for name, figures in conditions.items():
        full = name == "full"  # what the others are compared with
        cells = (
            _text(figures.get("n")),
            _text(figures.get("left_out")),
            interval_cell(accuracy[name], 0),
            _text(figures.get("chance"), ".3f"),
            text_cell("") if full else interval_cell(difference[name], 0, around, signed=True),
            text_cell("") if full and kept[name] else _share(figures, "kept", above),
        )
        rows.append(Row(name, 0, cells))
    heads = ("Questions", "Left out", "Accuracy", "Chance", "Difference to full")
    return Part(
        _table("Conditions", *heads, "Kept above chance", rows=rows),
        "Condition",
        "The same questions, with media withheld, swapped for those of another clip, or shuffled. "
        "What is kept is the share of the accuracy above chance: 1 where a model does as well "
        "without, 0 where only luck is left.",
    )


def _index(audit: Json) -> Part:
    index = object_of(audit.get("shortcut_index"))
    media = object_of(index.get("media"))
    found = [one for one in map(finite_interval, [*media.values(), index.get("shortcut")]) if one]
    domain = domain_of(found)
    rows = [Row(name, 0, (_share(media, name, domain),)) for name, _ in items_of(media)]
    if index:
        least = index.get("least_needed")
        name = f"largest ({clean(least)})" if least else "largest"
        rows.append(Row(name, 0, (_share(index, "shortcut", domain),)))
    return Part(
        _table("Shortcut index", "Index", rows=rows),
        "Medium",
        "What is kept when a medium is swapped: 0 where every right answer depended on it, 1 where "
        "it is ignored.",
    )


def _perception(audit: Json) -> Part:
    found = {n: object_of(of) for n, of in items_of(audit.get("hallucinated_perception"))}
    described, unchanged = _column(found, "described"), _column(found, "unchanged")
    rows = [
        Row(
            name,
            0,
            (
                interval_cell(described[name], 0),
                interval_cell(unchanged[name], 0),
                _text(figures.get("without_context")),
            ),
        )
        for name, figures in found.items()
    ]
    heads = ("Describe what was withheld", "Same context as in full", "Without a context")
    return Part(
        _table("Hallucinated perception", *heads, rows=rows),
        "Condition",
        "The share of contexts that describe what was not shown.",
    )


def _column(rows: dict[str, Json], key: str) -> dict[str, Interval | None]:
    return {name: finite_interval(figures.get(key)) for name, figures in rows.items()}


def _share(figures: Json, key: str, domain: Domain) -> Cell | None:
    """A share of the accuracy above chance; null says that there is none to take a share of."""
    if key in figures and figures[key] is None:
        return text_cell("at chance")
    return interval_cell(finite_interval(figures.get(key)), 0, domain)


def _text(value: Any, form: str = "") -> Cell | None:
    return text_cell(format(value, form)) if is_number(value) else None


def _table(title: str, *heads: str, rows: Sequence[Row]) -> Table:
    return Table(title, tuple((head, "") for head in heads), tuple(rows))
