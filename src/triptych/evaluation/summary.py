"""Records of single items brought together: means with intervals, and paired comparisons."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from triptych.errors import DataError
from triptych.evaluation.metrics import ItemScore
from triptych.evaluation.timing import Timing
from triptych.generation.engine import NoCompletion
from triptych.statistics import Interval, bootstrap_difference, bootstrap_intervals

MAIN_KIND = "intention"
ALIGNMENTS = ("aligned", "conflict")
HIDDEN = ("tokens", "truncated", "refused", "forced", "answer.alone")
"""Metrics that are on file and in no table unless they are asked for."""
OF_GROUPS = ("answer", "answer.alone", "answer.published", "context", "reasoning", "format")
"""Metrics that are summarised by group; there may be many groups."""

Summary: TypeAlias = dict[str, dict[str, Interval]]
"""Split -> metric -> interval."""

Groups: TypeAlias = dict[str, Summary]
"""Division of the questions -> its part -> metric -> interval."""

# A name that ends in "_" or "." stands for all that begin so.
_ORDER = (
    *("answer", "answer.alone", "answer.published", "answer_"),
    *("context", "context_relevant", "context_irrelevant", "context."),
    *("reasoning", "format", "format_unenforced", "unchanged"),
)


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
    has_main = has_main_kind(records)
    summary: Summary = {}
    unscored: dict[str, dict[str, int]] = {}
    for name, members in _splits(records, split).items():
        by_name = by_metric(members, has_main)
        summary[name] = _intervals(members, by_name, seed)
        unscored[name] = {
            metric: missing
            for metric, values in by_name.items()
            if (missing := list(values.values()).count(None))
        }
    return EvaluationResult(tuple(records), summary, unscored, _groups(records, has_main, seed))


def _intervals(
    members: Sequence[ItemScore], by_name: Mapping[str, Mapping[int, float | None]], seed: int
) -> dict[str, Interval]:
    columns: dict[tuple[int, ...], dict[str, list[float]]] = {}  # by the records that have them
    for metric, values in by_name.items():
        scored = [index for index, value in values.items() if value is not None]
        columns.setdefault(tuple(scored), {})[metric] = [
            value for value in values.values() if value is not None
        ]
    found: dict[str, Interval | None] = {}
    for indices, named in columns.items():
        clusters = [members[index].cluster for index in indices]
        intervals = bootstrap_intervals(list(named.values()), clusters, seed=seed)
        found |= dict(zip(named, intervals, strict=True))
    return {metric: interval for metric in by_name if (interval := found[metric])}


def _groups(records: Sequence[ItemScore], has_main: bool, seed: int) -> Groups:
    parts: dict[str, dict[str, list[ItemScore]]] = {}
    for record in records:
        for name, value in record.groups.items():
            parts.setdefault(name, {}).setdefault(value, []).append(record)
    return {
        name: {
            value: _intervals(
                members,
                by_metric(members, has_main, OF_GROUPS),
                seed,
            )
            for value, members in sorted(values.items())
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


def has_main_kind(records: Sequence[ItemScore]) -> bool:
    """Whether there are intention questions, so that `answer` is theirs alone."""
    return any(record.kind == MAIN_KIND for record in records)


def _splits(records: Sequence[ItemScore], name: str) -> dict[str, list[ItemScore]]:
    splits = {name: list(records)}
    for alignment in ALIGNMENTS:
        members = [record for record in records if record.alignment == alignment]
        if members:
            splits[alignment] = members
    return splits


def by_metric(
    records: Sequence[ItemScore], has_main: bool, only: Sequence[str] | None = None
) -> dict[str, dict[int, float | None]]:
    """Metric -> number of the record -> score, metrics in the order of a table.

    Args:
        records: the records.
        has_main: as `has_main_kind` says of all of them.
        only: the metrics that are wanted; by default all.
    """
    values: dict[str, dict[int, float | None]] = {}
    plans: dict[tuple[str | None, tuple[str, ...]], list[tuple[str, dict[int, float | None]]]] = {}
    for index, record in enumerate(records):
        signature = (record.kind, tuple(record.scores))  # there are few of them
        if signature not in plans:
            plans[signature] = [
                (score, values.setdefault(metric, {}))
                for score in record.scores
                for metric in _metrics_of(score, record.kind, has_main)
                if only is None or metric in only
            ]
        for score, goal in plans[signature]:
            goal[index] = record.scores[score]
    return dict(sorted(values.items(), key=lambda item: _rank(item[0])))


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
