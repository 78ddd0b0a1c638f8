"""The commands that docs/verl.md shows are configurations of verl's."""

import re
import shlex
from pathlib import Path

import pytest
from verl.trainer.ppo.utils import need_critic, need_reference_policy
from verl.trainer.ppo.v1 import get_trainer_cls
from verl.utils.config import validate_config
from verl_batches import OURS, ComposeConfig

from triptych.errors import ConfigError
from triptych.integrations.verl import StageTrainer
from triptych.integrations.verl_settings import VerlSettings, read_settings

DOCUMENT = Path(__file__).parents[2] / "docs" / "verl.md"


def shown() -> list[list[str]]:
    """The overrides of each command that starts verl."""
    text = DOCUMENT.read_text(encoding="utf-8").replace("\\\n", " ")
    commands = [
        shlex.split(line) for line in re.findall(r"^.*verl\.trainer\.main_ppo.*$", text, re.M)
    ]
    return [words[words.index("verl.trainer.main_ppo") + 1 :] for words in commands]


def test_the_launch_command_is_a_configuration_that_verl_accepts(config_of: ComposeConfig) -> None:
    launch, _ = shown()
    assert set(OURS) <= set(launch)
    config = config_of(launch)
    validate_config(config, need_reference_policy(config), need_critic(config))
    assert need_reference_policy(config)
    assert not need_critic(config)
    env = config.ray_kwargs.ray_init.runtime_env.env_vars
    assert env.VERL_USE_EXTERNAL_MODULES == "triptych.integrations.verl"
    assert read_settings(config.algorithm) == VerlSettings()
    assert config.algorithm.adv_estimator == "triptych"


def test_the_settings_that_are_shown_are_ours(config_of: ComposeConfig) -> None:
    _, settings = shown()
    read = read_settings(config_of(settings).algorithm)
    assert (read.scheme, read.balance) == ("causal", "stages")
    assert read.rewards == {
        "context": "rule", "reasoning": "judge", "answer": "rule", "format": "rule",
    }  # fmt: skip
    assert read.weights == {"context": 0.3, "reasoning": 0.25, "answer": 0.35, "format": 0.15}
    assert read.credit_rows == {"context": (1, 0.5, 0, 0)}
    assert read.judge is not None
    assert read.judge.model == "Qwen/Qwen3-32B"


def test_our_trainer_is_verls_synchronous_one(config_of: ComposeConfig) -> None:
    launch, _ = shown()
    config = config_of(launch)
    assert get_trainer_cls(config.trainer.v1.trainer_mode) is StageTrainer
    trainer = StageTrainer(config)
    assert trainer.trainer_mode == "sync"
    assert type(trainer.replay_buffer).__name__ == "ReplayBuffer"
    assert config.trainer.v1.trainer_mode == "triptych"  # the caller's is left alone


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("algorithm.adv_estimator=grpo", r"algorithm\.adv_estimator is grpo; .* set triptych"),
        ("reward.reward_manager.name=naive", r"reward\.reward_manager\.name is naive"),
        ("reward.reward_model.enable=true", r"reward\.reward_model\.enable is True; .* set False"),
        ("algorithm.use_kl_in_reward=true", r"algorithm\.use_kl_in_reward is True"),
        ("+algorithm.triptych.scheme=strictly", "unknown scheme|strictly"),
    ],
)
def test_settings_that_contradict_our_trainer_are_refused(
    override: str, message: str, config_of: ComposeConfig
) -> None:
    with pytest.raises(ConfigError, match=message):
        StageTrainer(config_of([override]))
