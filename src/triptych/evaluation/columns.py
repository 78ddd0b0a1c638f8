"""Scores of many records as columns by metric.

Shapes: N records, K scores of one record, M records of a part.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from triptych.errors import DataError
from triptych.evaluation.metrics import ItemScore
from triptych.statistics.clusters import number_clusters

MAIN_KIND = "intention"

# A name that ends in "_" or "." stands for all that begin so.
_ORDER = (
    *("answer", "answer.alone", "answer.published", "answer_"),
    *("context", "context_relevant", "context_irrelevant", "context."),
    *("reasoning", "format", "format_unenforced", "unchanged"),
)


@dataclass(frozen=True)
class Column:
    """One metric of M records.

    Attributes:
        applies_M: whether the metric applies to a record.
        values_M: the score; NaN where the record has none.
    """

    applies_M: NDArray[np.bool_]
    values_M: NDArray[np.float64]

    @property
    def scored_M(self) -> NDArray[np.bool_]:
        """Whether a record has a score."""
        return ~np.isnan(self.values_M)

    @property
    def unscored(self) -> int:
        """How many records could not be scored."""
        return int(self.applies_M.sum() - self.scored_M.sum())


@dataclass(frozen=True)
class ScoreColumns:
    """The scores of N records.

    Attributes:
        kinds: for each kind of record, which of its scores goes into which metrics.
        kind_N: the kind of each record: those of one kind have the same scores.
        values_NK: the scores of each record in its own order; NaN where it could not be scored.
        clusters_N: number of the cluster of each record.
    """

    kinds: tuple[tuple[tuple[int, str], ...], ...]
    kind_N: NDArray[np.int64]
    values_NK: NDArray[np.float64]
    clusters_N: NDArray[np.int64]

    @classmethod
    def of(cls, records: Sequence[ItemScore], has_main: bool) -> Self:
        """Bring the scores of records together; `has_main` is as `has_main_kind` says of all.

        Raises:
            DataError: a score is no number; None is right where there is none.
        """
        numbers: dict[tuple[str | None, tuple[str, ...]], int] = {}  # there are few of them
        kind_N = np.array(
            [numbers.setdefault((one.kind, tuple(one.scores)), len(numbers)) for one in records],
            dtype=np.int64,
        )
        values_NK = np.full((len(records), max((len(n) for _, n in numbers), default=0)), np.nan)
        for (_, names), number in numbers.items():
            rows = np.flatnonzero(kind_N == number)
            scores = [list(records[row].scores.values()) for row in rows.tolist()]
            values = np.array(scores, dtype=np.float64)  # None becomes NaN
            if np.isnan(values).sum() != sum(row.count(None) for row in scores):
                raise DataError(f"a score is NaN, among: {', '.join(names)}; leave it out, or null")
            values_NK[rows, : len(names)] = values
        kinds = tuple(
            tuple(
                (position, metric)
                for position, score in enumerate(names)
                for metric in _metrics_of(score, kind, has_main)
            )
            for kind, names in numbers
        )
        return cls(kinds, kind_N, values_NK, number_clusters([one.cluster for one in records]))

    def by_metric(
        self, rows_M: NDArray[np.int64] | None = None, only: Sequence[str] | None = None
    ) -> dict[str, Column]:
        """The columns of some of the records, metrics in the order of a table.

        Args:
            rows_M: the records; by default all.
            only: the metrics that are wanted; by default all.
        """
        rows_M = np.arange(len(self.kind_N)) if rows_M is None else rows_M
        kind_M = self.kind_N[rows_M]
        columns: dict[str, Column] = {}
        present, first = np.unique(kind_M, return_index=True)
        for number in present[np.argsort(first)]:
            own = np.flatnonzero(kind_M == number)
            for position, metric in self.kinds[number]:
                if only is not None and metric not in only:
                    continue
                if metric not in columns:
                    columns[metric] = Column(
                        np.zeros(len(rows_M), dtype=np.bool_), np.full(len(rows_M), np.nan)
                    )
                columns[metric].applies_M[own] = True
                columns[metric].values_M[own] = self.values_NK[rows_M[own], position]
        return dict(sorted(columns.items(), key=lambda item: _rank(item[0])))


def by_metric(records: Sequence[ItemScore], has_main: bool) -> dict[str, dict[int, float | None]]:
    """Metric -> number of the record -> score, metrics in the order of a table.

    Args:
        records: the records.
        has_main: as `has_main_kind` says of all of them.
    """
    return {
        metric: {
            row: None if missing else value
            for row, applies, missing, value in zip(
                range(len(records)),
                column.applies_M.tolist(),
                np.isnan(column.values_M).tolist(),
                column.values_M.tolist(),
                strict=True,
            )
            if applies
        }
        for metric, column in ScoreColumns.of(records, has_main).by_metric().items()
    }


def has_main_kind(records: Sequence[ItemScore]) -> bool:
    """Whether there are intention questions, so that `answer` is theirs alone."""
    return any(record.kind == MAIN_KIND for record in records)


def _metrics_of(score: str, kind: str | None, has_main: bool) -> tuple[str, ...]:
    """The metrics that a score of a question of this kind goes into."""
    own = score not in ("answer", "answer.alone") or not has_main or kind == MAIN_KIND
    of_kind = score == "answer" and kind not in (None, MAIN_KIND)
    return ((score,) if own else ()) + ((f"answer_{kind}",) if of_kind else ())


def _rank(metric: str) -> int:
    if metric in _ORDER:
        return _ORDER.index(metric)
    for rank, name in enumerate(_ORDER):
        if name.endswith(("_", ".")) and metric.startswith(name):
            return rank
    # Rewards of the user's own, then what is measured and not judged.
    return len(_ORDER) + (metric in ("truncated", "refused", "forced", "tokens"))
