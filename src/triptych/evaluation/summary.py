"""Records of single items brought together: means with intervals, and paired comparisons."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from triptych.errors import DataError
from triptych.evaluation.metrics import ItemScore
from triptych.statistics import Interval, bootstrap_difference, bootstrap_interval

MAIN_KIND = "intention"
ALIGNMENTS = ("aligned", "conflict")
HIDDEN = ("tokens", "truncated", "forced", "answer.alone")
"""Metrics that are on file and in no table unless they are asked for."""

Summary: TypeAlias = dict[str, dict[str, Interval]]
"""Split -> metric -> interval."""

# A name that ends in "_" or "." stands for all that begin so.
_ORDER = (
    *("answer", "answer.alone", "answer_"),
    *("context", "context_relevant", "context_irrelevant", "context."),
    *("reasoning", "format", "format_unenforced", "unchanged"),
)


@dataclass(frozen=True)
class EvaluationResult:
    """What an evaluation found.

    Attributes:
        records: one per sample, in the order of the samples.
        summary: split -> metric -> mean with interval.
        unscored: split -> metric -> items that could not be scored and are in no mean; metrics
            with none are absent.
    """

    records: tuple[ItemScore, ...]
    summary: Summary
    unscored: dict[str, dict[str, int]]

    def means(self, split: str) -> dict[str, float]:
        """The means of one split by metric."""
        return {metric: interval.mean for metric, interval in self.summary[split].items()}


def summarise(records: Sequence[ItemScore], split: str = "balanced") -> EvaluationResult:
    """Means with 95% intervals over all records, and over "aligned" and "conflict" ones apart.

    ``answer`` is the answer score of the intention questions, other kinds stand beside it as
    ``answer_KIND``; in data without intention questions ``answer`` is over all of them. Every
    other metric is over all questions. Whole clips are resampled.

    Args:
        records: what `score_items` gave.
        split: the name of all records together. The other two are there only where the data
            say which samples are which.
    """
    has_main = has_main_kind(records)
    summary: Summary = {}
    unscored: dict[str, dict[str, int]] = {}
    for name, members in _splits(records, split).items():
        summary[name], unscored[name] = {}, {}
        for metric, values in by_metric(members, has_main).items():
            scored = {index: value for index, value in values.items() if value is not None}
            clusters = [members[index].cluster for index in scored]
            if interval := bootstrap_interval(list(scored.values()), clusters):
                summary[name][metric] = interval
            if missing := len(values) - len(scored):
                unscored[name][metric] = missing
    return EvaluationResult(tuple(records), summary, unscored)


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


def by_metric(records: Sequence[ItemScore], has_main: bool) -> dict[str, dict[int, float | None]]:
    """Metric -> number of the record -> score, metrics in the order of a table."""
    values: dict[str, dict[int, float | None]] = {}
    for index, record in enumerate(records):
        for score, value in record.scores.items():
            for metric in _metrics_of(score, record.kind, has_main):
                values.setdefault(metric, {})[index] = value
    return dict(sorted(values.items(), key=lambda item: _rank(item[0])))


def _metrics_of(score: str, kind: str | None, has_main: bool) -> Iterator[str]:
    """The metrics that a score of a question of this kind goes into."""
    if not score.startswith("answer") or not has_main or kind == MAIN_KIND:
        yield score
    if score == "answer" and kind not in (None, MAIN_KIND):
        yield f"answer_{kind}"


def _rank(metric: str) -> int:
    if metric in _ORDER:
        return _ORDER.index(metric)
    for rank, name in enumerate(_ORDER):
        if name.endswith(("_", ".")) and metric.startswith(name):
            return rank
    # Rewards of the user's own, then what is measured and not judged.
    return len(_ORDER) + (metric in ("truncated", "forced", "tokens"))
