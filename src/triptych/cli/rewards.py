"""What the commands that reward completions have in common."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from triptych.cli.model import ModelConfig
from triptych.errors import ConfigError
from triptych.rewards.judge import JudgeConfig

if TYPE_CHECKING:
    from triptych.models import OmniModel
    from triptych.rewards import RewardFunction


def _rules() -> dict[str, str]:
    return dict.fromkeys(("context", "reasoning", "answer", "format"), "rule")


@dataclass(frozen=True, kw_only=True)
class RewardsConfig(ModelConfig):
    """Which rewards, and who judges."""

    rewards: dict[str, str] = field(default_factory=_rules)
    """What gives each reward: rule, judge, scorer:FOLDER (a trained reward model), necessity, or
    module:function for your own."""
    judge: JudgeConfig | None = None
    """The language model that judges, for the rewards that say so."""


def load_rewards(config: RewardsConfig) -> "dict[str, RewardFunction]":
    """The reward functions that `config` names. Give them the model, too: `rewards.use_model`.

    Raises:
        ConfigError: there is no such reward.
    """
    from triptych.rewards import resolve

    return resolve(config.rewards, config.judge, config.device)


def give_model(rewards: "Mapping[str, RewardFunction]", model: "OmniModel | None") -> None:
    """Give the model to the rewards that ask it; there is none where a server answers.

    Raises:
        ConfigError: a reward asks the model, and there is none.
    """
    from triptych.rewards import use_model
    from triptych.rewards.registry import NeedsModel

    if model is not None:
        use_model(rewards, model)
    elif asking := [name for name, one in rewards.items() if isinstance(one, NeedsModel)]:
        raise ConfigError(
            f"rewards.{asking[0]} asks the weights themselves, which a server does not give; "
            "choose another reward"
        )


def print_spend(rewards: "Mapping[str, RewardFunction]", engine: object = None) -> None:
    """Say what judges, and a server that answered, were asked, and what that cost."""
    from triptych.generation.server import ServerEngine
    from triptych.rewards.judge.reward import JudgeReward

    if isinstance(engine, ServerEngine):
        print(f"model {engine.config.model}: {engine.usage}")
    judges = {one.judge: None for one in rewards.values() if isinstance(one, JudgeReward)}
    for judge in judges:
        print(f"judge {judge.config.model}: {judge.usage}")
