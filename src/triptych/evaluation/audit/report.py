"""The figures of an audit, from what was observed; and the outcome of every item."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from triptych.data.sample import Sample
from triptych.evaluation.audit.conditions import WITHHELD, Condition
from triptych.evaluation.audit.kept import (
    Kept,
    ShortcutIndex,
    chance,
    kept_under,
    shortcut_index,
)
from triptych.evaluation.audit.observations import Observations, Outcome
from triptych.evaluation.audit.options import (
    PositionBias,
    TextAnswerable,
    position_bias,
    text_answerable,
)
from triptych.evaluation.audit.perception import Perception, perception_under
from triptych.evaluation.audit.trials import trial_name
from triptych.evaluation.metrics import cluster_of
from triptych.evaluation.runner import Groups
from triptych.files import Record
from triptych.statistics import Interval


@dataclass(frozen=True)
class ConditionFigures:
    """One condition.

    Attributes:
        kept: accuracy, and what of it is kept; None where no item has a score here and in full.
        left_out: items that the condition does not apply to.
        unanswered: items that the engine had no answer for, by reason.
        alike: items whose donor may say the same as their own media.
    """

    kept: Kept | None
    left_out: int
    unanswered: Mapping[str, int]
    alike: int


@dataclass(frozen=True)
class AuditReport:
    """All figures.

    Attributes:
        metric: what accuracy is the mean of.
        items: how many items the figures are about.
        clips: how many clips these are about.
        conditions: by condition, FULL among them.
        index: the shortcut index; None where no medium was swapped alone.
        perception: by condition that withholds media.
        position: None where options were not permuted.
        text: items that the text alone answers; None where it was not asked alone.
        groups: division of the benchmark -> part -> conditions.
    """

    metric: str
    items: int
    clips: int
    conditions: Mapping[Condition, ConditionFigures]
    index: ShortcutIndex | None
    perception: Mapping[Condition, Perception]
    position: PositionBias | None
    text: TextAnswerable | None
    groups: Mapping[str, Mapping[str, Mapping[Condition, Kept]]]


def make_report(
    observations: Observations, groups: Groups | None = None, seed: int = 0
) -> AuditReport:
    """Compute the figures.

    Args:
        observations: of `run_audit`.
        groups: divisions of the benchmark that are looked at part by part, by name.
        seed: of the bootstrap.
    """
    samples = observations.headline
    perception = {
        condition: found
        for condition in WITHHELD
        if (found := perception_under(observations, condition, samples, seed))
    }
    return AuditReport(
        metric=observations.metric,
        items=len(samples),
        clips=len({cluster_of(one) for one in samples}),
        conditions={
            condition: _figures(observations, condition, samples, seed)
            for condition in observations.conditions()
            if condition is not Condition.PERMUTED  # of which there is more to say: see `position`
        },
        index=shortcut_index(observations, samples, seed),
        perception=perception,
        position=position_bias(observations, samples, seed),
        text=text_answerable(observations, samples, seed),
        groups={
            name: _by_part(observations, group, seed) for name, group in (groups or {}).items()
        },
    )


def _figures(
    observations: Observations, condition: Condition, samples: Sequence[Sample], seed: int
) -> ConditionFigures:
    trial = observations.trials[condition, 0]
    ids = {one.id for one in samples}
    asked = ids & (trial.outcomes.keys() | trial.unanswered.keys())
    reasons: dict[str, int] = {}
    for key in ids & trial.unanswered.keys():
        reasons[trial.unanswered[key]] = reasons.get(trial.unanswered[key], 0) + 1
    return ConditionFigures(
        kept=kept_under(observations, condition, samples, seed=seed),
        left_out=len(ids) - len(asked),
        unanswered=reasons,
        alike=len(ids & trial.alike),
    )


def _by_part(observations: Observations, group: Any, seed: int) -> dict[str, dict[Condition, Kept]]:
    """Part -> condition -> figures, over all items: a part says itself what it holds."""
    parts: dict[str, list[Sample]] = {}
    for sample in observations.samples:
        if (part := group(sample)) is not None:
            parts.setdefault(part, []).append(sample)
    conditions = [one for one in observations.conditions() if one is not Condition.PERMUTED]
    return {
        part: {
            condition: kept
            for condition in conditions
            if (kept := kept_under(observations, condition, members, seed=seed))
        }
        for part, members in sorted(parts.items())
    }


# ---------------------------------------------------------------- plain values


def report_to_json(report: AuditReport) -> Record:
    """The figures as plain values, for results.json."""
    return {
        "metric": report.metric,
        "items": report.items,
        "clips": report.clips,
        "conditions": {
            condition: {
                **_kept_to_json(figures.kept),
                "left_out": figures.left_out,
                "unanswered": dict(figures.unanswered),
                "donors_that_may_say_the_same": figures.alike,
            }
            for condition, figures in report.conditions.items()
        },
        "shortcut_index": report.index and _index_to_json(report.index),
        "hallucinated_perception": {
            condition: {
                "described": found.described.to_dict(),
                "by_elements": found.by_elements,
                "unchanged": _interval(found.unchanged),
                "without_context": found.without,
            }
            for condition, found in report.perception.items()
        },
        "option_position": report.position and _position_to_json(report.position),
        "answerable_from_text": report.text
        and {
            "share": report.text.share.to_dict(),
            "luck": report.text.luck,
            "steady_luck": report.text.steady_luck,
        },
        "groups": {
            name: {
                part: {condition: _kept_to_json(kept) for condition, kept in conditions.items()}
                for part, conditions in parts.items()
            }
            for name, parts in report.groups.items()
        },
    }


def _kept_to_json(kept: Kept | None) -> Record:
    if kept is None:
        return {"n": 0}
    return {
        "n": kept.accuracy.n,
        "accuracy": kept.accuracy.to_dict(),
        "full": kept.full.to_dict(),
        "difference": kept.difference.to_dict(),
        "chance": kept.chance,
        "full_above_chance": kept.above_chance.to_dict(),
        "kept": _interval(kept.kept),
    }


def _index_to_json(index: ShortcutIndex) -> Record:
    return {
        "media": {kind: _interval(interval) for kind, interval in index.media.items()},
        "shortcut": _interval(index.shortcut),
        "least_needed": index.least_needed,
    }


def _position_to_json(bias: PositionBias) -> Record:
    return {
        "total_variation": bias.distance.to_dict(),
        "places": {
            place.letter: {
                "chosen": place.chosen,
                "right": place.right,
                "difference": place.difference.to_dict(),
            }
            for place in bias.places
        },
        "consistency": _interval(bias.consistency),
        "accuracy": bias.accuracy.to_dict(),
        "unread": bias.unread,
    }


def _interval(interval: Interval | None) -> Record | None:
    return interval.to_dict() if interval else None


def item_records(
    observations: Observations, report: AuditReport, groups: Groups | None = None
) -> Iterator[Record]:
    """One line per item: its outcome in every trial, and whether the text alone answers it."""
    told = report.text.ids if report.text else frozenset()
    for sample in observations.samples:
        yield {
            "sample_id": sample.id,
            "cluster": cluster_of(sample),
            "groups": {name: group(sample) for name, group in (groups or {}).items()},
            "chance": chance(sample),
            "answerable_from_text": sample.id in told if report.text else None,
            "trials": {
                trial_name(*key): _outcome(trial.outcomes[sample.id])
                for key, trial in observations.trials.items()
                if sample.id in trial.outcomes
            },
        }


def _outcome(outcome: Outcome) -> Record:
    record: Record = {"score": outcome.score}
    for name in ("place", "donor"):
        if (value := getattr(outcome, name)) is not None:
            record[name] = value
    return record
