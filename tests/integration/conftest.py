"""What the tests of the trainers share: fixed rollouts, and a run folder."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from replay import ReplayEngine

from triptych.data.sample import Sample
from triptych.models import OmniModel
from triptych.rewards import RewardFunction, rule_rewards
from triptych.runs import RunFolder
from triptych.training.grpo import GRPOConfig, GRPOTrainer


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "run")


@pytest.fixture
def replay_trainer(run: RunFolder) -> Callable[..., GRPOTrainer]:
    """Builds a trainer on fixed rollouts; settings and rewards can be given."""

    def build(
        model: OmniModel,
        samples: Sequence[Sample],
        rewards: dict[str, RewardFunction] | None = None,
        folder: RunFolder | None = None,
        **settings: Any,
    ) -> GRPOTrainer:
        defaults: dict[str, Any] = {
            "prompts_per_step": 4,
            "groups_per_micro_batch": 2,
            "num_generations": 4,
            "max_steps": 1,
            "learning_rate": 1e-3,
        }
        return GRPOTrainer(
            model,
            samples,
            rewards or rule_rewards(),
            GRPOConfig(**{**defaults, **settings}),
            folder or run,
            engine=ReplayEngine(model),
        )

    return build
