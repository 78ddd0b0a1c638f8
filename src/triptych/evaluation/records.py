"""One line of a predictions file: what was asked and answered, and all scores.

An evaluation's figures are made from these lines and from nothing else, whether it has just written
them or an earlier call did: so a call that was interrupted ends in the same figures.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeAlias

from triptych.data.sample import Media, Sample
from triptych.evaluation.metrics import ItemScore, cluster_of, label_of
from triptych.generation.engine import Completion, NoCompletion
from triptych.rewards import ElementStatus, Unscored
from triptych.rewards.base import staged

Record: TypeAlias = dict[str, Any]

ASK_AGAIN = (Unscored.FAILED, Unscored.TIMEOUT, Unscored.UNAVAILABLE, Unscored.BAD_REPLY)
"""Reasons that lie with whoever scores: asked once more, it may give a score."""


def prediction_record(
    sample: Sample, completion: Completion, item: ItemScore, reward_names: Sequence[str]
) -> Record:
    """The line of an answered sample: the keys of a rollout, and all scores."""
    output = staged(completion.text)
    return {
        **_asked(sample, item.groups),
        "text": completion.text,
        "bodies": dict(output.bodies),
        "violations": [
            {"kind": str(found.kind), "stage": found.stage, "position": found.position}
            for found in output.violations
        ],
        "rewards": {name: item.scores[name] for name in reward_names},
        "scores": dict(item.scores),
        "unscored": {name: str(reason) for name, reason in item.unscored.items()},
        "elements": {name: str(status) for name, status in item.elements.items()},
        "stop_reason": str(completion.stop_reason),
        "forced": sum(completion.forced),
        "overruled": completion.overruled,
    }


def unanswered_record(sample: Sample, outcome: NoCompletion, groups: Mapping[str, str]) -> Record:
    """The line of a sample that the engine has no answer for: no text, no scores."""
    error = {"reason": outcome.reason, "cause": outcome.cause}
    return {**_asked(sample, groups), "error": error}


def _asked(sample: Sample, groups: Mapping[str, str]) -> Record:
    return {
        "sample_id": sample.id,
        "cluster": cluster_of(sample),
        "kind": label_of(sample, "kind"),
        "alignment": label_of(sample, "alignment"),
        "groups": dict(groups),
        "media": _plain_media(sample.media),
        "question": sample.question,
        "problem_type": str(sample.problem_type),
        "options": list(sample.options),
        "answer": sample.answer,
    }


@lru_cache(maxsize=128)  # several completions of a sample share its media
def _plain_media(media: tuple[Media, ...]) -> list[dict[str, Any]]:
    return [item.model_dump(mode="json") for item in media]


def item_of(record: Record) -> ItemScore:
    """The scores that stand in the line of an answered sample."""
    return ItemScore(
        sample_id=record["sample_id"],
        cluster=record["cluster"],
        kind=record["kind"],
        alignment=record["alignment"],
        scores=record["scores"],
        elements={name: ElementStatus(status) for name, status in record["elements"].items()},
        unscored={name: Unscored(reason) for name, reason in record["unscored"].items()},
        groups=record["groups"],
    )


def error_of(record: Record) -> NoCompletion | None:
    """Why a sample has no answer; None where it has one."""
    error = record.get("error")
    return None if error is None else NoCompletion(error["reason"], error["cause"])


def to_score_again(record: Record) -> list[str]:
    """The rewards that could not be had when the line was written, and may be had now."""
    return [name for name, why in record.get("unscored", {}).items() if why in ASK_AGAIN]


def better(one: Record, other: Record) -> Record:
    """Of two lines of one sample, the one that leaves less open; the first where both do alike."""
    return min(one, other, key=lambda record: ("error" in record, len(to_score_again(record))))
