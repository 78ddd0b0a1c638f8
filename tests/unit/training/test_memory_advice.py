"""What is advised where memory does not suffice makes the work smaller."""

from dataclasses import replace
from typing import Any

import pytest

from triptych.training.grpo_config import GRPOConfig
from triptych.training.memory import of_groups, of_validation, validation_prompts
from triptych.training.sft import SFTConfig

SIZES = {"prompts_per_step": 32, "num_generations": 8, "max_new_tokens": 100}


@pytest.mark.parametrize(
    ("settings", "processes", "prompts", "advice"),
    [
        ({}, 1, 8, "rollout_sequences below 64"),
        ({"num_generations": 2}, 1, 32, "rollout_sequences below 64"),
        ({"rollout_sequences": 31}, 1, 3, "rollout_sequences below 24"),
        ({}, 16, 2, "rollout_sequences below 16"),
        ({"rollout_sequences": 4}, 1, 1, "num_generations and rollout_sequences below 8"),
        ({}, 32, 1, "num_generations and rollout_sequences below 8"),
    ],
)
def test_fewer_at_once_comes_first(
    settings: dict[str, Any], processes: int, prompts: int, advice: str
) -> None:
    config = GRPOConfig(**{**SIZES, **settings})
    size, advised = of_groups(config, "rollout", processes)
    group = config.num_generations
    assert size == f"{prompts} prompts at once, {group} completions of up to 100 tokens each"
    assert advised == [advice, "max_new_tokens below 100"]
    assert validation_prompts(config, processes) == prompts
    first = [advice] if prompts > 1 else []
    assert of_validation(config, processes)[1] == [*first, "max_new_tokens lower"]
    # Whatever goes down is then smaller.
    for below in range(2, int(advice.split()[-1])):
        changed = replace(config, rollout_sequences=below)
        if "num_generations" in advice:
            changed = replace(changed, num_generations=below)
        less = changed.rollout_prompts(processes)
        assert less <= prompts
        assert less * changed.num_generations < prompts * group


def test_a_validation_of_a_cold_start_has_no_rollout() -> None:
    assert validation_prompts(SFTConfig(), 4) == 8
    assert of_validation(SFTConfig(), 4)[1] == ["max_new_tokens lower"]
