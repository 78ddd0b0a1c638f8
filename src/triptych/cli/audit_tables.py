"""What `triptych audit` prints."""

from collections.abc import Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from triptych.cli.tables import cell_text, difference_text, plain_text, wide_console
from triptych.evaluation.audit.conditions import Condition
from triptych.evaluation.audit.kept import Kept, ShortcutIndex
from triptych.evaluation.audit.options import PositionBias
from triptych.evaluation.audit.perception import Perception
from triptych.evaluation.audit.report import AuditReport, ConditionFigures

_MOST_ROWS = 30  # of one division of the questions
_AT_CHANCE = "at chance"


def print_audit(
    report: AuditReport, verdicts: Sequence[str], console: Console | None = None
) -> None:
    """The figures of an audit as tables, and what they allow to be said."""
    console = console or wide_console()
    console.print(
        f"{report.items} questions about {report.clips} clips; accuracy is the mean of "
        f"{report.metric}",
        highlight=False,
    )
    console.print(_conditions(report.conditions))
    if report.index:
        console.print(_index(report.index))
    if report.perception:
        console.print(_perception(report.perception))
    if report.position:
        console.print(_position(report.position))
    for name, parts in report.groups.items():
        if len(parts) > 1:
            _print_parts(name, parts, console)
    if report.text:
        text = report.text
        console.print(
            f"answered right from the text alone in every order of the options: "
            f"{cell_text(text.share)} (guessing {text.luck:.3f}, one guess kept to "
            f"{text.steady_luck:.3f})",
            highlight=False,
            soft_wrap=True,
        )
    for figures in report.conditions.values():
        for reason, count in figures.unanswered.items():
            line = f"{count} questions were not answered ({reason}); the same command asks again"
            console.print(plain_text(line, "yellow"), soft_wrap=True)
    for line in verdicts:
        console.print(plain_text(line, "bold"), soft_wrap=True)


def _table(title: str, first: str, *columns: str) -> Table:
    table = Table(
        box=SIMPLE_HEAD, title=plain_text(title), title_justify="left", title_style="bold"
    )
    table.add_column(plain_text(first), overflow="fold")
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _conditions(conditions: Mapping[Condition, ConditionFigures]) -> Table:
    table = _table(
        "conditions",
        "condition",
        *("n", "left out", "accuracy", "chance", "difference to full", "kept above chance"),
    )
    for condition, figures in conditions.items():
        kept = figures.kept
        if kept is None:
            table.add_row(condition, "0", str(figures.left_out), *["-"] * 4)
            continue
        full = condition is Condition.FULL
        table.add_row(
            condition,
            str(kept.accuracy.n),
            str(figures.left_out),
            cell_text(kept.accuracy),
            f"{kept.chance:.3f}",
            "-" if full else difference_text(kept.difference),
            "-" if full and kept.kept else _kept(kept),
        )
    return table


def _kept(kept: Kept) -> str:
    return cell_text(kept.kept) if kept.kept else _AT_CHANCE


def _index(index: ShortcutIndex) -> Table:
    table = _table("shortcut index (0: needed, 1: ignored)", "medium", "index")
    for kind, interval in index.media.items():
        table.add_row(kind, cell_text(interval) if interval else _AT_CHANCE)
    largest = f"largest ({index.least_needed})" if index.least_needed else "largest"
    table.add_row(largest, cell_text(index.shortcut) if index.shortcut else _AT_CHANCE)
    return table


def _perception(perception: Mapping[Condition, Perception]) -> Table:
    table = _table(
        "hallucinated perception",
        "condition",
        *("n", "describe what was withheld", "same context as in full", "without context"),
    )
    for condition, found in perception.items():
        table.add_row(
            condition,
            str(found.described.n),
            cell_text(found.described),
            cell_text(found.unchanged),
            str(found.without),
        )
    return table


def _position(bias: PositionBias) -> Table:
    table = _table(
        f"places of the options: total variation {cell_text(bias.distance)}, the same option in "
        f"all orders {cell_text(bias.consistency)}, accuracy {cell_text(bias.accuracy)}",
        "letter",
        *("chosen", "right", "difference"),
    )
    for place in bias.places:
        table.add_row(
            place.letter,
            f"{place.chosen:.3f}",
            f"{place.right:.3f}",
            difference_text(place.difference),
        )
    return table


def _print_parts(
    name: str, parts: Mapping[str, Mapping[Condition, Kept]], console: Console
) -> None:
    """Kept above chance, a row per part: the largest ones."""
    conditions = [
        condition
        for condition in Condition
        if condition is not Condition.FULL and any(condition in part for part in parts.values())
    ]
    table = _table(f"kept above chance by {name}", name, "n", "accuracy", *conditions)
    largest = sorted(parts, key=lambda part: -_size(parts[part]))[:_MOST_ROWS]
    for part in (one for one in parts if one in largest):
        found = parts[part]
        full = found.get(Condition.FULL)
        cells = [_short(found[one]) if one in found else "-" for one in conditions]
        accuracy = f"{full.accuracy.mean:.3f}" if full else "-"
        table.add_row(plain_text(part), str(_size(found)), accuracy, *cells)
    console.print(table)
    if folded := len(parts) - len(largest):
        console.print(f"{folded} smaller parts are in results.json only", highlight=False)


def _size(part: Mapping[Condition, Kept]) -> int:
    return max((kept.accuracy.n for kept in part.values()), default=0)


def _short(kept: Kept) -> str:
    share = kept.kept
    if share is None:
        return _AT_CHANCE
    if share.low is None or share.high is None:
        return f"{share.mean:.2f}"
    return f"{share.mean:.2f} ({share.low:.2f}-{share.high:.2f})"
