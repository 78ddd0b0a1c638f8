"""The necessity reward in a GRPO step: it asks the model that learns, and reaches one stage."""

from collections.abc import Callable, Mapping

import pytest
import torch

from triptych.data.sample import Sample
from triptych.models import OmniModel
from triptych.rewards import RewardFunction, resolve, use_model
from triptych.runs import RunFolder
from triptych.training.grpo import GRPOTrainer

pytestmark = pytest.mark.slow

Build = Callable[..., GRPOTrainer]
CREDIT = {"answer": (0.0, 0.0, 1.0, 0.0), "context": (1.0, 0.0, 0.0, 0.0)}


def trainer_for(of: str, model: OmniModel, samples: list[Sample], build: Build) -> GRPOTrainer:
    """Trains on necessity alone, as a config names it."""
    rewards: Mapping[str, RewardFunction] = resolve({"necessity": f"necessity:{of}"})
    use_model(rewards, model)
    return build(
        model,
        samples,
        dict(rewards),
        weights={"necessity": 1.0},
        credit_rows={"necessity": CREDIT[of]},
        max_steps=2,
        groups_per_micro_batch=4,
    )


@pytest.mark.parametrize(("of", "region"), [("answer", 3), ("context", 1)])
def test_it_reaches_the_tokens_of_its_stage_alone(
    tiny: OmniModel, samples: list[Sample], replay_trainer: Build, of: str, region: int
) -> None:
    trainer = trainer_for(of, tiny, samples, replay_trainer)
    trainer.fit()
    (batch,) = trainer._batches
    earning = batch.stage_ids_RT[batch.advantages_RT != 0]
    assert set(earning.tolist()) == {region}


def test_it_asks_the_weights_of_each_step(
    tiny: OmniModel, samples: list[Sample], replay_trainer: Build, run: RunFolder
) -> None:
    """The rollouts of this trainer never change; what the reward says of them does."""
    trainer = trainer_for("context", tiny, samples[:4], replay_trainer)
    trainer.fit()
    by_step: dict[int, dict[str, list[float | None]]] = {1: {}, 2: {}}
    for line in run.rollouts():
        values = by_step[line["step"]].setdefault(line["sample_id"], [])
        values.append(line["rewards"]["necessity"])
    assert by_step[1].keys() == by_step[2].keys()
    first, second = (
        torch.tensor([value for key in sorted(step) for value in step[key]])
        for step in by_step.values()
    )
    assert not torch.equal(first, second)
    assert ((first >= 0) & (first <= 1)).all()
