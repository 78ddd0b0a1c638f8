"""Reward functions by name, as a config gives them: ``rewards: {context: judge, answer: rule}``.

| given | reward |
|---|---|
| ``rule`` | the rule reward of the stage that it is named after |
| ``context``, ``reasoning``, ``answer``, ``format`` | that rule reward, under any name |
| ``judge``, ``judge:STAGE`` | an LLM judge's |
| ``scorer:FOLDER`` | a trained reward model's |
| ``necessity``, ``necessity:STAGE`` | how much a stage owes to the media |
| ``module:function`` | your own, of the working folder or an installed package |

A new rule reward is a file and a line in `_RULES`, a new kind of reward a line in `_KINDS`.
"""

import importlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast, get_args, runtime_checkable

from triptych.errors import ConfigError
from triptych.rewards.answer import answer_reward
from triptych.rewards.base import RewardFunction
from triptych.rewards.context import context_reward
from triptych.rewards.format import format_reward
from triptych.rewards.reasoning import reasoning_reward

if TYPE_CHECKING:
    from triptych.models import OmniModel
    from triptych.rewards.judge import Judge, JudgeConfig

_RULES: dict[str, RewardFunction] = {
    "context": context_reward,
    "reasoning": reasoning_reward,
    "answer": answer_reward,
    "format": format_reward,
}


def rule_rewards() -> dict[str, RewardFunction]:
    """The rewards that need nothing but the completion and its sample, in REWARD_NAMES order."""
    return dict(_RULES)


@runtime_checkable
class NeedsModel(Protocol):
    """A reward that asks the model itself."""

    def use_model(self, model: "OmniModel") -> None:
        """Ask this model from now on."""


def use_model(rewards: Mapping[str, RewardFunction], model: "OmniModel") -> None:
    """Give the model to the rewards that ask it, such as ``necessity``."""
    asked: list[Any] = list(rewards.values())
    for reward in asked:
        if isinstance(reward, NeedsModel):
            reward.use_model(model)


@dataclass(frozen=True)
class _Sources:
    """What rewards are made from, beside their names."""

    judge_config: "JudgeConfig | None"
    device: str

    @cached_property
    def judge(self) -> "Judge":
        """One for all rewards: limits, cache and counts are shared."""
        from triptych.rewards.judge import Judge

        if self.judge_config is None:
            raise ConfigError("no judge is configured; set judge.base_url and judge.model")
        return Judge(self.judge_config)


def resolve(
    targets: Mapping[str, str], judge: "JudgeConfig | None" = None, device: str = "auto"
) -> dict[str, RewardFunction]:
    """The reward functions that a config names, in its order.

    Args:
        targets: what each reward is, by its name; see the head of the module.
        judge: for the rewards that a judge gives.
        device: where trained reward models run; "auto" takes a GPU when there is one.

    Raises:
        ConfigError: there is no such reward; the message names it.
    """
    sources = _Sources(judge, device)
    return {name: _resolve(name, target, sources) for name, target in targets.items()}


def _resolve(name: str, target: str, sources: _Sources) -> RewardFunction:
    kind, colon, argument = target.partition(":")
    label = f"reward {name!r}" if name == target else f"reward {name!r}: {target!r}"
    try:
        if kind in _KINDS:
            return _KINDS[kind](name, argument, sources)
        if target in _RULES:
            return _RULES[target]
        if colon and kind and argument:
            return _imported(kind, argument)
    except ConfigError as error:
        raise ConfigError(f"{label}: {error}") from error
    raise ConfigError(
        f"{label} is unknown; use rule, judge, scorer:FOLDER, necessity, one of "
        f"{', '.join(_RULES)}, or module:function"
    )


def _rule(name: str, argument: str, sources: _Sources) -> RewardFunction:
    stage = argument or name
    if stage not in _RULES:
        raise ConfigError(f"there is no rule for {stage!r}; use one of {', '.join(_RULES)}")
    return _RULES[stage]


def _judge(name: str, argument: str, sources: _Sources) -> RewardFunction:
    from triptych.rewards.judge import JudgedStage, judge_reward

    return judge_reward(sources.judge, cast(JudgedStage, argument or name))  # checked there


def _scorer(name: str, argument: str, sources: _Sources) -> RewardFunction:
    from triptych.rewards.scorer import Stage, scorer_reward

    if not argument:
        raise ConfigError("name the folder of the reward model: scorer:FOLDER")
    stage = cast(Stage, name) if name in get_args(Stage) else None
    return scorer_reward(argument, stage, sources.device)


def _necessity(name: str, argument: str, sources: _Sources) -> RewardFunction:
    from triptych.rewards.necessity import NecessityReward

    return NecessityReward(of=argument or "answer")


_Kind: TypeAlias = Callable[[str, str, _Sources], RewardFunction]
_KINDS: Mapping[str, _Kind] = {
    "rule": _rule,
    "judge": _judge,
    "scorer": _scorer,
    "necessity": _necessity,
}


def _imported(module_name: str, attribute: str) -> RewardFunction:
    # Where `python -m triptych` looks first, and the script `triptych` does not.
    if not {"", str(Path.cwd())} & set(sys.path):
        sys.path.insert(0, str(Path.cwd()))
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # whatever the user's module raises while it is imported
        raise ConfigError(
            f"module {module_name!r} cannot be imported "
            f"({type(error).__name__}: {error}); check its name, the working folder and PYTHONPATH"
        ) from error
    function = getattr(module, attribute, None)
    if not callable(function):
        found = "is not callable" if hasattr(module, attribute) else "does not exist"
        raise ConfigError(f"{attribute!r} {found} in {module_name}")
    return cast(RewardFunction, function)
