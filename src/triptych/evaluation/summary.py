"""Records of single items brought together: means with intervals, and paired comparisons."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from triptych.errors import DataError
from triptych.evaluation.columns import Column, ScoreColumns, by_metric, has_main_kind
from triptych.evaluation.metrics import ItemScore
from triptych.evaluation.timing import Timing
from triptych.generation.engine import NoCompletion
from triptych.statistics import Interval, bootstrap_difference, bootstrap_intervals

ALIGNMENTS = ("aligned", "conflict")
HIDDEN = ("tokens", "truncated", "refused", "forced", "answer.alone")
"""Metrics that are on file and in no table unless they are asked for."""
OF_GROUPS = ("answer", "answer.alone", "answer.published", "context", "reasoning", "format")
"""Metrics that are summarised by group; there may be many groups."""

Summary: TypeAlias = dict[str, dict[str, Interval]]
"""Split -> metric -> interval."""

Groups: TypeAlias = dict[str, Summary]
"""Division of the questions -> its part -> metric -> interval."""


@dataclass(frozen=True)
class EvaluationResult:
    """What an evaluation found.

    Attributes:
        records: one per sample that was answered, in the order of the samples.
        summary: split -> metric -> mean with interval.
        unscored: split -> metric -> items that could not be scored and are in no mean; metrics
            with none are absent.
        groups: division of the questions -> its part -> metric -> mean with interval, for the
            metrics in `OF_GROUPS`. A question that belongs to no part is in none.
        unanswered: id of each sample that the engine had no answer for -> why. They are in no mean.
        timing: how long the answers took.
        found: how many answers an earlier call had left.
    """

    records: tuple[ItemScore, ...]
    summary: Summary
    unscored: dict[str, dict[str, int]]
    groups: Groups = field(default_factory=dict)
    unanswered: dict[str, NoCompletion] = field(default_factory=dict)
    timing: Timing | None = field(default=None, compare=False)
    found: int = field(default=0, compare=False)

    def means(self, split: str) -> dict[str, float]:
        """The means of one split by metric."""
        return {metric: interval.mean for metric, interval in self.summary[split].items()}


def summarise(
    records: Sequence[ItemScore], split: str = "balanced", seed: int = 0
) -> EvaluationResult:
    """Means with 95% intervals over all records, over "aligned" and "conflict" ones, and by group.

    ``answer`` is the answer score of the intention questions, other kinds stand beside it as
    ``answer_KIND``; in data without intention questions ``answer`` is over all of them. Every
    other metric is over all questions, ``answer.published`` too. Whole clips are resampled.

    Args:
        records: what `score_items` gave.
        split: the name of all records together. The other two are there only where the data
            say which samples are which.
        seed: of the resampling.
    """
    table = ScoreColumns.of(records, has_main_kind(records))
    summary: Summary = {}
    unscored: dict[str, dict[str, int]] = {}
    for name, rows_M in _rows_of_splits(records, split).items():
        columns = table.by_metric(rows_M)
        summary[name] = _intervals(columns, table.clusters_N[rows_M], seed)
        unscored[name] = {
            metric: column.unscored for metric, column in columns.items() if column.unscored
        }
    return EvaluationResult(tuple(records), summary, unscored, _groups(records, table, seed))


def _intervals(
    columns: Mapping[str, Column], clusters_M: NDArray[np.int64], seed: int
) -> dict[str, Interval]:
    alike: dict[bytes, list[str]] = {}  # metrics by the records that have them: one draw serves all
    for metric, column in columns.items():
        alike.setdefault(column.scored_M.tobytes(), []).append(metric)
    found: dict[str, Interval | None] = {}
    for metrics in alike.values():
        scored_M = columns[metrics[0]].scored_M
        values = [columns[metric].values_M[scored_M] for metric in metrics]
        intervals = bootstrap_intervals(values, clusters_M[scored_M], seed=seed)
        found |= dict(zip(metrics, intervals, strict=True))
    return {metric: interval for metric in columns if (interval := found[metric])}


def _groups(records: Sequence[ItemScore], table: ScoreColumns, seed: int) -> Groups:
    parts: dict[str, dict[str, list[int]]] = {}
    for row, record in enumerate(records):
        for name, value in record.groups.items():
            parts.setdefault(name, {}).setdefault(value, []).append(row)
    return {
        name: {
            value: _intervals(
                table.by_metric(np.array(rows), OF_GROUPS), table.clusters_N[rows], seed
            )
            for value, rows in sorted(values.items())
        }
        for name, values in parts.items()
    }


def compare(first: EvaluationResult, second: EvaluationResult, split: str = "balanced") -> Summary:
    """Paired differences ``first - second`` on the same samples, split by split.

    Items that either of the two could not score are left out.

    Raises:
        DataError: the two did not answer the same samples in the same order.
    """
    if [one.sample_id for one in first.records] != [one.sample_id for one in second.records]:
        raise DataError(
            "the two evaluations answered different samples; evaluate both on the same file"
        )
    has_main = has_main_kind(first.records)
    theirs = _splits(second.records, split)
    differences: Summary = {}
    for name, members in _splits(first.records, split).items():
        differences[name] = {}
        others = by_metric(theirs[name], has_main)
        for metric, ours in by_metric(members, has_main).items():
            interval = _difference(members, ours, others.get(metric, {}))
            if interval:
                differences[name][metric] = interval
    return differences


def summary_to_json(summary: Summary) -> dict[str, dict[str, dict[str, float | int | None]]]:
    """A summary as plain values: split -> metric -> ``{mean, low, high, n}``."""
    return {
        split: {metric: interval.to_dict() for metric, interval in metrics.items()}
        for split, metrics in summary.items()
    }


def groups_to_json(groups: Groups) -> dict[str, Any]:
    """Results by group as plain values: division -> part -> metric -> ``{mean, low, high, n}``."""
    return {name: summary_to_json(parts) for name, parts in groups.items()}


def reasons(unanswered: Mapping[str, NoCompletion]) -> dict[str, int]:
    """How many samples have no answer, by reason, the most frequent first."""
    return dict(Counter(one.reason for one in unanswered.values()).most_common())


def _difference(
    members: Sequence[ItemScore],
    ours: Mapping[int, float | None],
    theirs: Mapping[int, float | None],
) -> Interval | None:
    first, second, clusters = [], [], []
    for index, mine in ours.items():
        other = theirs.get(index)
        if mine is not None and other is not None:
            first.append(mine)
            second.append(other)
            clusters.append(members[index].cluster)
    return bootstrap_difference(first, second, clusters)


def _splits(records: Sequence[ItemScore], name: str) -> dict[str, list[ItemScore]]:
    return {
        split: [records[row] for row in rows_M.tolist()]
        for split, rows_M in _rows_of_splits(records, name).items()
    }


def _rows_of_splits(records: Sequence[ItemScore], name: str) -> dict[str, NDArray[np.int64]]:
    splits = {name: np.arange(len(records))}
    for alignment in ALIGNMENTS:
        rows = [row for row, record in enumerate(records) if record.alignment == alignment]
        if rows:
            splits[alignment] = np.array(rows)
    return splits
