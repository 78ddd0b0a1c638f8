import sys
from pathlib import Path
from typing import Any

import pytest

from triptych.errors import ConfigError
from triptych.models import OmniModel
from triptych.rewards import REWARD_NAMES, RewardFunction, resolve, rule_rewards, use_model
from triptych.rewards.answer import answer_reward


def one(target: str, name: str = "mine") -> RewardFunction:
    """The reward that a target stands for, under a name."""
    return resolve({name: target})[name]


def test_rules_by_name_in_order() -> None:
    assert tuple(rule_rewards()) == REWARD_NAMES
    assert [function.__name__ for function in rule_rewards().values()] == [
        f"{name}_reward" for name in REWARD_NAMES
    ]
    rule_rewards().clear()
    assert rule_rewards()


def test_a_rule_is_that_of_the_stage_that_it_is_named_after() -> None:
    assert resolve(dict.fromkeys(REWARD_NAMES, "rule")) == rule_rewards()
    assert one("answer") is one("rule:answer") is answer_reward
    with pytest.raises(ConfigError, match="reward 'mine': 'rule': there is no rule for 'mine'"):
        one("rule")


def test_the_order_is_that_of_the_config() -> None:
    assert list(resolve({"format": "rule", "context": "rule"})) == ["format", "context"]


def test_a_users_own_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_own_rewards.py").write_text(
        "limit = 3\ndef brevity(prompts, completions, **_):\n    return [1.0] * len(completions)\n"
    )
    (tmp_path / "my_broken_rewards.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)

    function: Any = one("my_own_rewards:brevity")

    assert function([], ["a", "b"]) == [1.0, 1.0]
    with pytest.raises(ConfigError, match="'limit' is not callable in my_own_rewards"):
        one("my_own_rewards:limit")
    with pytest.raises(ConfigError, match="'length' does not exist in my_own_rewards"):
        one("my_own_rewards:length")
    with pytest.raises(ConfigError, match=r"cannot be imported \(ZeroDivisionError"):
        one("my_broken_rewards:length")


def test_a_function_in_the_working_folder_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rewards_beside_me.py").write_text("def f(prompts, completions, **_): return [1]\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place])  # as a script has it
    one("rewards_beside_me:f")
    one("rewards_beside_me:f")
    assert sys.path.count(str(tmp_path)) == 1


@pytest.mark.parametrize("target", ["", "Answer", "colour", ":f", "module:", "module.f"])
def test_an_unknown_name_lists_the_known_ones(target: str) -> None:
    with pytest.raises(
        ConfigError, match=r"reward 'mine': .* is unknown; use rule, judge, .*answer"
    ):
        one(target)


def test_a_missing_module_is_named() -> None:
    with pytest.raises(ConfigError, match=r"module 'no_such_module' cannot be imported"):
        one("no_such_module:f")


def test_only_rewards_that_ask_the_model_are_given_it(tiny: OmniModel) -> None:
    class AsksTheModel:
        model: OmniModel | None = None

        def use_model(self, model: OmniModel) -> None:
            self.model = model

        def __call__(self, prompts: Any, completions: Any, **_: Any) -> list[float | None]:
            return [None] * len(completions)

    asks = AsksTheModel()
    use_model({**rule_rewards(), "mine": asks}, tiny)
    assert asks.model is tiny
