from pathlib import Path
from typing import Any

import pytest

from triptych.errors import ConfigError
from triptych.rewards import REWARD_NAMES, resolve, rule_rewards
from triptych.rewards.answer import answer_reward


def test_rules_by_name_in_order() -> None:
    assert tuple(rule_rewards()) == REWARD_NAMES
    assert resolve("answer") is answer_reward
    assert [function.__name__ for function in rule_rewards().values()] == [
        f"{name}_reward" for name in REWARD_NAMES
    ]
    rule_rewards().clear()
    assert rule_rewards()


def test_a_users_own_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_own_rewards.py").write_text(
        "limit = 3\ndef brevity(prompts, completions, **_):\n    return [1.0] * len(completions)\n"
    )
    (tmp_path / "my_broken_rewards.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)

    function: Any = resolve("my_own_rewards:brevity")

    assert function([], ["a", "b"]) == [1.0, 1.0]
    with pytest.raises(ConfigError, match="'limit' is not callable in my_own_rewards"):
        resolve("my_own_rewards:limit")
    with pytest.raises(ConfigError, match="'length' does not exist in my_own_rewards"):
        resolve("my_own_rewards:length")
    with pytest.raises(ConfigError, match=r"cannot be imported \(ZeroDivisionError"):
        resolve("my_broken_rewards:length")


@pytest.mark.parametrize("name", ["", "Answer", "colour", ":f", "module:", "module.f"])
def test_an_unknown_name_lists_the_known_ones(name: str) -> None:
    with pytest.raises(
        ConfigError, match=r"is unknown; use one of context, reasoning, answer, format"
    ):
        resolve(name)


def test_a_missing_module_is_named() -> None:
    with pytest.raises(ConfigError, match=r"module 'no_such_module' cannot be imported"):
        resolve("no_such_module:f")
