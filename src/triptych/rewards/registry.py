"""Reward functions by name. A new rule reward is a file and a line here."""

import importlib
from typing import cast

from triptych.errors import ConfigError
from triptych.rewards.answer import answer_reward
from triptych.rewards.base import RewardFunction
from triptych.rewards.context import context_reward
from triptych.rewards.format import format_reward
from triptych.rewards.reasoning import reasoning_reward

_RULES: dict[str, RewardFunction] = {
    "context": context_reward,
    "reasoning": reasoning_reward,
    "answer": answer_reward,
    "format": format_reward,
}


def rule_rewards() -> dict[str, RewardFunction]:
    """The rewards that need nothing but the completion and its sample, in REWARD_NAMES order."""
    return dict(_RULES)


def resolve(name: str) -> RewardFunction:
    """The reward function of that name: a rule reward, or "module:function" for any other.

    Raises:
        ConfigError: there is none, the module cannot be imported, or it is not callable.
    """
    if name in _RULES:
        return _RULES[name]
    module_name, colon, attribute = name.partition(":")
    if not (colon and module_name and attribute):
        raise ConfigError(
            f"reward {name!r} is unknown; use one of {', '.join(_RULES)}, or module:function"
        )
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # whatever the user's module raises while it is imported
        raise ConfigError(
            f"reward {name!r}: module {module_name!r} cannot be imported "
            f"({type(error).__name__}: {error}); check its name and PYTHONPATH"
        ) from error
    function = getattr(module, attribute, None)
    if not callable(function):
        found = "is not callable" if hasattr(module, attribute) else "does not exist"
        raise ConfigError(f"reward {name!r}: {attribute!r} {found} in {module_name}")
    return cast(RewardFunction, function)
