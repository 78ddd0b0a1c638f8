"""Published figures beside one's own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from triptych.evaluation.benchmarks.base import KnownResult


@dataclass(frozen=True)
class KnownRow:
    """A published figure, and the own one of the same questions.

    Attributes:
        part: the questions: "all", or a group and its value.
        system: whose figure it is.
        percent: that figure.
        own: the own one, in percent; None where there is none.
        source: where the figure is published.
    """

    part: str
    system: str
    percent: float
    own: float | None
    source: str


def beside_known(
    known: Sequence[KnownResult], own: Callable[[str | None, str | None], float | None]
) -> list[KnownRow]:
    """One row per published figure: all questions first, then by group; the best first.

    Args:
        known: published figures.
        own: the own mean score in [0, 1] of a value of a group, or of all questions (None, None);
            None where there is none.
    """
    parts = dict.fromkeys((result.group, result.value) for result in known)
    rows = []
    for group, value in sorted(parts, key=lambda part: part[0] is not None):
        score = own(group, value)
        part = "all" if group is None else f"{group} {value}"
        of_part = [result for result in known if (result.group, result.value) == (group, value)]
        rows += [
            KnownRow(
                part,
                result.system,
                result.percent,
                None if score is None else 100 * score,
                result.source,
            )
            for result in sorted(of_part, key=lambda result: -result.percent)
        ]
    return rows
