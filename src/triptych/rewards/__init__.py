"""Rewards: what each stage of a completion is worth, in TRL's calling convention."""

from triptych.rewards.base import (
    DEFAULT_WEIGHTS,
    REWARD_NAMES,
    LogUnscored,
    RewardError,
    RewardFunction,
    RewardTable,
    Unscored,
    completion_text,
    score,
    score_group,
)
from triptych.rewards.columns import sample_columns
from triptych.rewards.combine import GATE_THRESHOLD, apply_gate, combine, weight_vector
from triptych.rewards.elements import ElementStatus, element_coverage
from triptych.rewards.registry import resolve, rule_rewards, use_model

__all__ = [
    "DEFAULT_WEIGHTS",
    "GATE_THRESHOLD",
    "REWARD_NAMES",
    "ElementStatus",
    "LogUnscored",
    "RewardError",
    "RewardFunction",
    "RewardTable",
    "Unscored",
    "apply_gate",
    "combine",
    "completion_text",
    "element_coverage",
    "resolve",
    "rule_rewards",
    "sample_columns",
    "score",
    "score_group",
    "use_model",
    "weight_vector",
]
