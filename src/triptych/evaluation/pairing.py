"""The questions that runs share, and two scores of each: what a comparison is made from."""

import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from typing import TypeAlias

from triptych.errors import ConfigError, DataError
from triptych.evaluation.columns import by_metric, has_main_kind
from triptych.evaluation.metrics import ItemScore
from triptych.evaluation.predictions import Predictions
from triptych.evaluation.summary import HIDDEN
from triptych.settings import did_you_mean

LABELS = string.ascii_uppercase
"""What runs are called, in the order they are named."""
NO_GROUP = "(none)"
"""The group of questions that lack the field that they are grouped by."""

_NAMED = 3  # ids that a message names

_Scores: TypeAlias = Mapping[str, Mapping[int, float | None]]
"""Metric -> number of the question -> score."""


@dataclass(frozen=True)
class Paired:
    """One metric of two runs, on the questions that both have it for.

    Attributes:
        baseline: label of the run that is compared with.
        run: label of the other one.
        group: the questions' value of the field that they are grouped by; None: all questions.
        metric: its name.
        first: the baseline's scores.
        second: the other run's, of the same questions.
        clusters: the clips of these questions.
        unscored: questions that are left out because one of the two could not be scored.
    """

    baseline: str
    run: str
    group: str | None
    metric: str
    first: Sequence[float]
    second: Sequence[float]
    clusters: Sequence[str]
    unscored: int

    @cached_property
    def differences(self) -> Sequence[float]:
        """The run's score less the baseline's, question by question."""
        return [other - one for one, other in zip(self.first, self.second, strict=True)]

    @property
    def differ(self) -> bool:
        """Whether the two differ on any question."""
        return any(self.differences)

    @property
    def num_clusters(self) -> int:
        """How many clips the questions are about."""
        return len(set(self.clusters))

    @property
    def first_mean(self) -> float:
        """Mean of the baseline."""
        return sum(self.first) / len(self.first)

    @property
    def second_mean(self) -> float:
        """Mean of the other run."""
        return sum(self.second) / len(self.second)


@dataclass(frozen=True)
class Pairing:
    """Everything that is compared, and what a reader must know of it.

    Attributes:
        paired: pair by pair, group by group, metrics in the order of a table.
        questions: that all runs answered.
        clusters: their clips.
        notices: questions that are left out, and signs that runs answered other data.
    """

    paired: tuple[Paired, ...]
    questions: int
    clusters: int
    notices: tuple[str, ...]


def pair_runs(
    runs: Sequence[Predictions],
    *,
    common: bool = False,
    all_pairs: bool = False,
    by: str | None = None,
    metrics: Sequence[str] = (),
) -> Pairing:
    """Pair the scores of runs by sample id.

    Args:
        runs: two or more; the first is the baseline, and says which questions share a clip.
        common: keep the questions that all runs answered, where not all answered the same.
        all_pairs: pair every run with every earlier one, not with the first alone.
        by: field of the predictions; questions are also taken apart by its value.
        metrics: the metrics to pair. By default those that `triptych eval` prints, single elements
            of the context excepted: every test more makes a difference harder to show.

    Raises:
        DataError: the runs answered different questions and `common` is not set, or share no
            question, or no metric.
        ConfigError: no prediction has the field `by`, or no run one of `metrics`.
    """
    ids = _shared_ids(runs, common)
    groups = _groups(runs[0], ids, by)
    items = _aligned(runs, ids)
    scores = [by_metric(own, has_main_kind(own)) for own in items]
    chosen = _chosen_metrics(scores, metrics)
    numbers = range(len(runs))
    paired = [
        _pair(scores[a], scores[b], metric, members, items[0], (LABELS[a], LABELS[b], group))
        for a, b in (combinations(numbers, 2) if all_pairs else ((0, b) for b in numbers[1:]))
        for group, members in groups.items()
        for metric in chosen
    ]
    if not any(one.first for one in paired):
        raise DataError("no metric is scored on the same questions in two of the runs")
    notices = [
        *_left_out(runs, ids),
        *_other_data(runs, ids),
        *_one_group(groups, by),
        *_missing_metrics(scores, chosen),
        *_unscored(paired),
    ]
    return Pairing(
        paired=tuple(one for one in paired if one.first),
        questions=len(ids),
        clusters=len({item.cluster for item in items[0]}),
        notices=tuple(notices),
    )


# --- which questions ---------------------------------------------------------------------------


def _shared_ids(runs: Sequence[Predictions], common: bool) -> list[str]:
    """Ids that all runs have, in the order of the first."""
    first = runs[0]
    for label, run in zip(LABELS, runs, strict=False):
        lacking = [one for one in first.by_id if one not in run.by_id]
        further = [one for one in run.by_id if one not in first.by_id]
        if (lacking or further) and not common:
            parts = [
                f"{len(ids)} {what} ({_named(ids)})"
                for ids, what in ((lacking, "that A has are missing"), (further, "are not in A"))
                if ids
            ]
            raise DataError(
                f"{label} ({run.path}) answered other samples than A ({first.path}): "
                f"{', '.join(parts)}; evaluate both on the same file, or compare the samples that "
                "all have by --common"
            )
    shared = [one for one in first.by_id if all(one in run.by_id for run in runs)]
    if not shared:
        raise DataError(f"the runs share no sample; were they evaluated on {first.path}'s data?")
    return shared


def _left_out(runs: Sequence[Predictions], ids: Sequence[str]) -> Iterator[str]:
    for label, run in zip(LABELS, runs, strict=False):
        if missing := len(run.by_id) - len(ids):
            samples = f"{missing} of the {len(run.by_id)} samples of {label}"
            yield f"{samples} are left out: not all runs have them"


def _other_data(runs: Sequence[Predictions], ids: Sequence[str]) -> Iterator[str]:
    """Signs that samples of one id are not one sample."""
    first = runs[0]
    for label, run in zip(LABELS[1:], runs[1:], strict=False):
        if first.data and run.data and sorted(first.data) != sorted(run.data):
            yield f"A and {label} read data files of different content; samples are paired by id"
        if other := [one for one in ids if first.by_id[one].asked != run.by_id[one].asked]:
            yield (
                f"{len(other)} of {len(ids)} samples ask something else in {label} than in A: "
                f"question, options or answer differ ({_named(other)})"
            )


def _aligned(runs: Sequence[Predictions], ids: Sequence[str]) -> list[list[ItemScore]]:
    """The items of each run in one order. What kind a question is of, the first says for all."""
    first = runs[0].by_id
    return [
        [replace(run.by_id[one].item, kind=first[one].item.kind) for one in ids] for run in runs
    ]


def _groups(
    first: Predictions, ids: Sequence[str], by: str | None
) -> dict[str | None, Sequence[int]]:
    """Group -> numbers of its questions; all questions together come first, as None."""
    groups: dict[str | None, Sequence[int]] = {None: range(len(ids))}
    if by is None:
        return groups
    labels = [first.by_id[one].labels for one in ids]
    known = sorted({name for one in labels for name in one})
    if by not in known:
        hint = did_you_mean(by, known) or f"; there are {', '.join(known)}"
        raise ConfigError(f"by is {by!r}: no prediction of A has that field{hint}")
    values = [one.get(by, NO_GROUP) for one in labels]
    if len(kinds := sorted(set(values))) > 1:
        for kind in kinds:
            groups[kind] = [number for number, own in enumerate(values) if own == kind]
    return groups


def _one_group(groups: Mapping[str | None, Sequence[int]], by: str | None) -> Iterator[str]:
    if by and len(groups) == 1:
        yield f"all questions have the same {by}, so there are no groups"


def _named(ids: Sequence[str]) -> str:
    more = ", ..." if len(ids) > _NAMED else ""
    return ", ".join(map(repr, ids[:_NAMED])) + more


# --- which metrics -----------------------------------------------------------------------------


def _chosen_metrics(scores: Sequence[_Scores], asked_for: Sequence[str]) -> list[str]:
    known = list(dict.fromkeys(metric for own in scores for metric in own))
    for metric in asked_for:
        if metric not in known:
            hint = did_you_mean(metric, known) or f"; there are {', '.join(known)}"
            raise ConfigError(f"metrics: no run has {metric!r}{hint}")
    return list(dict.fromkeys(asked_for)) or [
        metric for metric in known if metric not in HIDDEN and not metric.startswith("context.")
    ]


def _missing_metrics(scores: Sequence[_Scores], chosen: Sequence[str]) -> Iterator[str]:
    for metric in chosen:
        lacking = [label for label, own in zip(LABELS, scores, strict=False) if metric not in own]
        if lacking:
            yield f"{metric}: not in {' and '.join(lacking)}, so not compared there"


# --- their scores ------------------------------------------------------------------------------


def _pair(
    baseline: _Scores,
    run: _Scores,
    metric: str,
    members: Sequence[int],
    items: Sequence[ItemScore],
    names: tuple[str, str, str | None],
) -> Paired:
    ours, theirs = baseline.get(metric, {}), run.get(metric, {})
    first, second, clusters = [], [], []
    unscored = 0
    for number in members if ours and theirs else ():
        one, other = ours.get(number), theirs.get(number)
        if one is not None and other is not None:
            first.append(one)
            second.append(other)
            clusters.append(items[number].cluster)
        else:
            unscored += number in ours or number in theirs
    return Paired(names[0], names[1], names[2], metric, first, second, clusters, unscored)


def _unscored(paired: Sequence[Paired]) -> Iterator[str]:
    for one in paired:
        if one.unscored and one.group is None:
            yield (
                f"{one.metric}: {one.unscored} of {len(one.first) + one.unscored} questions could "
                f"not be scored in {one.baseline} or {one.run}, and are left out"
            )
