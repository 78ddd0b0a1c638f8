"""From one completion to a flat record of scores.

What counts, and against whom:

* A score comes from a reward function; the answer's is also given by itself (`answer.alone`),
  without the demand that the reasoning leads to it, as published evaluations score it.
* Text that breaks the format is scored on the stages that `parse` finds in it. A stage that is
  missing altogether scores 0, so leaving a stage out never pays; a stage that is there is judged by
  its reward, and what is wrong with the format is the format reward's business.
* An item that a reward could not score has None there. It is left out of the mean and counted.
* No answer is ever looked for outside the answer stage, nor taken from another sample. Where a
  benchmark was published with a metric of its own, that one reads the text by its own rules
  (`answer.published`) and stands beside ours.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from triptych.data.sample import Sample
from triptych.evaluation.refusals import is_refusal
from triptych.generation.engine import Completion, StopReason
from triptych.rewards import (
    ElementStatus,
    RewardFunction,
    RewardTable,
    Unscored,
    score,
)
from triptych.rewards.answer import answer_score
from triptych.rewards.base import STAGE_OF_REWARD, staged
from triptych.rewards.elements import PreparedReference, prepare_all
from triptych.rewards.reading import read_answer
from triptych.stages.format import StagedOutput, parse

Published: TypeAlias = Callable[[Sample, str], float | None]
"""The published metric of one item: a score of a completion's text, None where there is none."""

# Reasons that lie in the sample, not in the completion: they hold for a missing stage too.
_OF_THE_SAMPLE = (Unscored.NO_REFERENCE, Unscored.UNREADABLE_GOLD, Unscored.NOT_APPLICABLE)


@dataclass(frozen=True)
class ItemScore:
    """The scores of one completion.

    Attributes:
        sample_id: the sample that it answers.
        cluster: what it shares with other questions: the clip, else the first media file.
        kind: the kind of question, where the data name kinds.
        alignment: "aligned" or "conflict", where the data say so.
        scores: metric -> value; None where it could not be scored. A metric that does not apply
            to the sample is absent.
        elements: what the context says of each key element of the reference.
        unscored: reward -> why it has no value, for those that have none.
        groups: name of a division of the questions -> the part that this one belongs to.
    """

    sample_id: str
    cluster: str
    kind: str | None
    alignment: str | None
    scores: Mapping[str, float | None]
    elements: Mapping[str, ElementStatus] = field(default_factory=dict)
    unscored: Mapping[str, Unscored] = field(default_factory=dict)
    groups: Mapping[str, str] = field(default_factory=dict)


def score_items(
    rewards: Mapping[str, RewardFunction],
    samples: Sequence[Sample],
    completions: Sequence[Completion],
    unenforced: Sequence[Completion] | None = None,
    published: Published | None = None,
) -> list[ItemScore]:
    """Score one completion of each sample.

    Metrics: one per reward, by its name; ``answer.alone``; ``answer.published``, where there is
    one; ``context_relevant`` and ``context_irrelevant``, the shares of the key elements that the
    answer does and does not depend on which the context names; ``context.NAME`` for each element;
    ``truncated`` and ``refused`` (0 or 1); ``tokens``, the end token included, where the engine
    says how many there were. Where the format was enforced, ``format`` says nothing of the model:
    then also ``format_unenforced``, whether what it writes by itself is valid; ``unchanged``,
    whether the enforcement refused none of its tokens; and ``forced``, the share of tokens that
    were left no choice.

    Args:
        rewards: by name.
        samples: what was asked.
        completions: one per sample.
        unenforced: what the model wrote by itself, where the format of `completions` was enforced.
        published: the metric that the benchmark was published with.

    Raises:
        DataError: a sample and its completion do not go together.
        RewardError: a reward function failed.
    """
    table = score(rewards, samples, [completion.text for completion in completions])
    references = prepare_all([sample.reference for sample in samples])
    items = []
    for index, (sample, completion) in enumerate(zip(samples, completions, strict=True)):
        scores = _stage_scores(table, index, staged(completion.text))
        if published is not None:
            scores["answer.published"] = published(sample, completion.text)
        if unenforced is not None:
            scores["format_unenforced"] = float(parse(unenforced[index].text).valid)
            scores["unchanged"] = float(completion.overruled == 0)
            scores["forced"] = sum(completion.forced) / len(completion.forced)
        reasons = {
            name: table.reasons.get((index, column), Unscored.UNEXPLAINED)
            for column, name in enumerate(table.names)
            if scores[name] is None
        }
        reference = references[id(sample.reference)]
        items.append(_item(sample, completion, reference, scores, reasons))
    return items


def cluster_of(sample: Sample) -> str:
    """What questions must share to be resampled together.

    It is the field `clip` of the data, else the first media file, else the question itself.
    """
    if (clip := label_of(sample, "clip")) is not None:
        return clip
    return str(sample.media[0].path) if sample.media else sample.id


def label_of(sample: Sample, name: str) -> str | None:
    """What the data say of a sample under this name; None where they say nothing."""
    value = sample.extra.get(name)
    return None if value is None else str(value)


def _stage_scores(table: RewardTable, index: int, output: StagedOutput) -> dict[str, float | None]:
    """The rewards of a completion, 0 where the reward's stage is missing."""
    scores = table.row(index)
    for column, name in enumerate(table.names):
        stage = STAGE_OF_REWARD.get(name)
        missing = stage is not None and output.bodies.get(stage) is None
        if missing and table.reasons.get((index, column)) not in _OF_THE_SAMPLE:
            scores[name] = 0.0
    return scores


def _item(
    sample: Sample,
    completion: Completion,
    reference: PreparedReference,
    scores: dict[str, float | None],
    unscored: Mapping[str, Unscored],
) -> ItemScore:
    output = staged(completion.text)
    elements = reference.coverage(output.context)
    return ItemScore(
        sample_id=sample.id,
        cluster=cluster_of(sample),
        kind=label_of(sample, "kind"),
        alignment=label_of(sample, "alignment"),
        scores={
            **scores,
            "answer.alone": _answer_alone(sample, output),
            **_element_scores(sample, elements),
            "truncated": float(completion.stop_reason is StopReason.LENGTH),
            "refused": float(_refused(sample, completion, output)),
            **_tokens(completion),
        },
        elements=elements,
        unscored=unscored,
    )


def _refused(sample: Sample, completion: Completion, output: StagedOutput) -> bool:
    """Whether a completion declines to answer; one that was cut off might still have answered."""
    if completion.stop_reason is not StopReason.END:
        return completion.stop_reason is StopReason.WITHHELD
    if read_answer(output.answer, sample.problem_type, sample.options) is not None:
        return False
    return is_refusal(output.answer or completion.text)


def _tokens(completion: Completion) -> dict[str, float]:
    return {} if completion.num_tokens is None else {"tokens": float(completion.num_tokens)}


def _answer_alone(sample: Sample, output: StagedOutput) -> float | None:
    if read_answer(sample.answer, sample.problem_type, sample.options) is None:
        return None
    return answer_score(output.answer, sample.answer, sample.problem_type, sample.options)


def _element_scores(sample: Sample, elements: Mapping[str, ElementStatus]) -> dict[str, float]:
    """Scores of the elements that the reference states.

    Elements found in the words of a reference have names of their own in every sample, so a mean
    over samples would say nothing; they count in the context reward alone.
    """
    stated = sample.reference.elements
    if not stated:
        return {}
    named = {name: float(status is ElementStatus.NAMED) for name, status in elements.items()}
    pairs = list(zip(stated, named.values(), strict=True))
    shares = {
        "context_relevant": [value for element, value in pairs if element.relevant],
        "context_irrelevant": [value for element, value in pairs if not element.relevant],
    }
    return {
        **{metric: sum(values) / len(values) for metric, values in shares.items() if values},
        **{sys.intern(f"context.{name}"): value for name, value in named.items()},
    }
