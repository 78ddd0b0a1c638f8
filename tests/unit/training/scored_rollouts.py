"""Completions that were written elsewhere, read and scored."""

from collections.abc import Mapping, Sequence

from triptych.data.sample import Sample
from triptych.generation import Completion
from triptych.models import OmniModel
from triptych.rewards import RewardFunction, score
from triptych.training.rollout import Rollout, read_completions


def scored(
    model: OmniModel,
    samples: Sequence[Sample],
    groups: Sequence[Sequence[Completion]],
    rewards: Mapping[str, RewardFunction],
    *,
    gate: bool = False,
) -> Rollout:
    read = read_completions(model, samples, groups)
    pairs = [(sample, one) for sample, group in zip(samples, groups, strict=True) for one in group]
    table = score(rewards, [sample for sample, _ in pairs], [one.text for _, one in pairs])
    return Rollout.of(read, table, gate=gate)
