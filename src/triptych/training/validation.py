"""The rewards of a run on its validation data: what its best checkpoint is chosen by.

Shapes: N samples with one completion each, K rewards.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from triptych.data.sample import Sample
from triptych.data.source import source_of
from triptych.evaluation.metrics import ItemScore
from triptych.rewards import RewardFunction, rule_rewards
from triptych.rewards.base import DEFAULT_WEIGHTS, RewardError, Unscored
from triptych.rewards.combine import apply_gate, combine
from triptych.rewards.weights import RewardWeights
from triptych.training.grpo_config import GRPOConfig

# That lie in the sample: they are the same for every checkpoint.
_OF_THE_SAMPLE = (Unscored.NO_REFERENCE, Unscored.UNREADABLE_GOLD, Unscored.NOT_APPLICABLE)


@dataclass(frozen=True)
class Scoring:
    """How completions of validation data are scored.

    Attributes:
        rewards: by name.
        weights: how much each counts.
        last_step: weights that go by a schedule count as at this step, so that checkpoints of
            different steps compare.
        gate: see `GRPOConfig.gate`.
        max_unscored_share: see `GRPOConfig.max_unscored_share`.
    """

    rewards: Mapping[str, RewardFunction]
    weights: RewardWeights
    last_step: int = 0
    gate: bool = False
    max_unscored_share: float = 0.5

    @classmethod
    def by_rule(cls) -> Self:
        """The rewards by rule, with their default weights."""
        rewards = rule_rewards()
        return cls(rewards, RewardWeights(tuple(rewards), DEFAULT_WEIGHTS))

    @classmethod
    def of_run(cls, config: GRPOConfig, rewards: Mapping[str, RewardFunction]) -> Self:
        """Those that a run of reinforcement learns from."""
        weights = config.reward_weights(tuple(rewards))
        return cls(rewards, weights, config.max_steps, config.gate, config.max_unscored_share)

    def means(self, samples: Sequence[Sample], records: Sequence[ItemScore]) -> dict[str, float]:
        """What training logs of a rollout: ``reward/NAME``, ``unscored/NAME``, ``reward/combined``.

        Raises:
            RewardError: a reward that counts was not to be had for too many completions, or none
                of them has any reward that counts: the mean would compare with no other one.
        """
        names = tuple(self.rewards)
        weights_NK = self.weights.at(self.last_step, [source_of(one) for one in samples])[:, 0]
        self._refuse_unscored(records, weights_NK)
        rows = [[_number(record.scores[name]) for name in names] for record in records]
        rewards_NK = torch.tensor(rows).reshape(len(rows), len(names))
        if self.gate:
            rewards_NK = apply_gate(rewards_NK, names)
        means = {}
        for name, rewards_N in zip(names, rewards_NK.unbind(1), strict=True):
            missing_N = rewards_N.isnan()
            means[f"unscored/{name}"] = float(missing_N.float().mean())
            if not missing_N.all():
                means[f"reward/{name}"] = float(rewards_N.nanmean())
        combined = float(combine(rewards_NK, weights_NK).nanmean())
        if math.isnan(combined):
            raise RewardError(
                "validation: no completion has a reward with a weight; validate on data with "
                "references, or set the weight of a reward that needs none"
            )
        return {**means, "reward/combined": combined}

    def _refuse_unscored(self, records: Sequence[ItemScore], weights_NK: Tensor) -> None:
        for name, weights_N in zip(self.rewards, weights_NK.unbind(1), strict=True):
            asked = [record for record, w in zip(records, weights_N, strict=True) if w > 0]
            missing = Counter(one.unscored[name] for one in asked if name in one.unscored)
            for reason in _OF_THE_SAMPLE:
                del missing[reason]
            if missing.total() > self.max_unscored_share * len(asked):
                why = ", ".join(f"{reason} {count}" for reason, count in missing.items())
                raise RewardError(
                    f"validation: reward {name!r}: {missing.total()} of {len(asked)} completions "
                    f"could not be scored ({why}), more than max_unscored_share = "
                    f"{self.max_unscored_share}; mend the cause, raise the share, or set the "
                    "reward's weight to 0"
                )


def _number(score: float | None) -> float:
    return math.nan if score is None else score
