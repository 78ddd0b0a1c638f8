"""How rewards are combined, through the whole trainer: schedules, sources, scale, metrics."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import TrainerCallback

from triptych.data.sample import Sample
from triptych.errors import ConfigError
from triptych.models import OmniModel
from triptych.rewards import RewardError, RewardFunction, rule_rewards
from triptych.runs import RunFolder
from triptych.training.grpo import GRPOTrainer

Build = Callable[..., GRPOTrainer]
EQUAL = {"context": 0.25, "reasoning": 0.25, "answer": 0.25, "format": 0.25}


def constant(value: float | None) -> RewardFunction:
    def reward(prompts: Any, completions: Any, **columns: Any) -> list[float | None]:
        return [value] * len(completions)

    return reward


def by_place(*values: float | None) -> RewardFunction:
    """A reward for the first, second, ... completion of each group."""

    def reward(prompts: Any, completions: Any, **columns: Any) -> list[float | None]:
        return list(values) * (len(completions) // len(values))

    return reward


class KeptBatches(TrainerCallback):
    """What the update of each step learned from: stage and advantage of every trained token."""

    def __init__(self, trainer: GRPOTrainer) -> None:
        self._trainer = trainer
        self.steps: list[list[tuple[Tensor, Tensor]]] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.steps.append(
            [
                (b.stage_ids_RT[b.mask_RT], b.advantages_RT[b.mask_RT])
                for b in self._trainer._batches
            ]
        )


def kept(trainer: GRPOTrainer) -> list[list[tuple[Tensor, Tensor]]]:
    keeper = KeptBatches(trainer)
    trainer.add_callback(keeper)
    trainer.fit()
    return keeper.steps


@pytest.mark.parametrize("stage", ["context", "reasoning", "answer"])
def test_a_reward_alone_moves_the_tokens_of_its_stage_and_no_others(
    tiny: OmniModel, samples: list[Sample], replay_trainer: Build, stage: str
) -> None:
    """The published code computed a context reward and sent the answer's: here it arrives, on the
    context and nowhere else, with the sign and the size that it was earned with."""
    values = (1.0, 0.5, 0.0, 0.5)  # the last completion is invalid: its value does not count
    rewards = {name: constant(1.0) for name in EQUAL} | {stage: by_place(*values)}
    region = {"context": 1, "reasoning": 2, "answer": 3}[stage]
    trainer = replay_trainer(
        tiny, samples, rewards, beta=0.0, weights=EQUAL, groups_per_micro_batch=4,
        learning_rate=1e-12,
    )  # fmt: skip
    logps: list[Tensor] = []

    def keep(_module: Any, _inputs: Any, output: Any) -> None:
        if output.logps_N.requires_grad:
            output.logps_N.retain_grad()
            logps.append(output.logps_N)

    handle = tiny.register_forward_hook(keep)
    trainer.fit()
    handle.remove()
    (logps_N,), (batch,) = logps, trainer._batches
    assert logps_N.grad is not None
    gradient_RT = batch.packed.unpack(logps_N.grad)
    own_RT = (batch.stage_ids_RT == region) & batch.mask_RT
    assert gradient_RT[~own_RT].abs().max() == 0
    for completion, difference in enumerate((0.5, 0.0, -0.5, 0.0)):
        of_it = gradient_RT[completion::4][own_RT[completion::4]]
        expected = -0.25 * difference / int(batch.mask_RT.sum())
        torch.testing.assert_close(of_it, torch.full_like(of_it, expected), rtol=1e-4, atol=1e-9)
        # What is broken off has no answer, and perhaps no reasoning.
        assert len(of_it) > 0 or completion == 3


def test_a_schedule_gives_each_step_its_weight(
    tiny: OmniModel, samples: list[Sample], replay_trainer: Build, run: RunFolder
) -> None:
    rewards = {name: constant(1.0) for name in EQUAL} | {"context": by_place(1.0, 0.5, 0.0, 0.5)}
    trainer = replay_trainer(
        tiny, samples, rewards, max_steps=4, weights={**EQUAL, "context": {0: 1.0, 2: 0.0}}
    )
    largest = [
        max(float(advantages[stages == 1].abs().max()) for stages, advantages in step)
        for step in kept(trainer)
    ]
    assert largest == pytest.approx([0.5, 0.25, 0.0, 0.0])
    assert [line["weight/context"] for line in run.metrics()] == pytest.approx([1, 0.5, 0, 0])
    assert not any("weight/answer" in line for line in run.metrics())


@pytest.mark.slow
def test_a_fixed_schedule_is_the_fixed_weight_to_the_last_bit(
    tiny_folder: Any, samples: list[Sample], replay_trainer: Build, tmp_path: Any
) -> None:
    ends = []
    for name, weight in (("fixed", 0.25), ("flat", {0: 0.25, 7: 0.25})):
        model = OmniModel.from_pretrained(tiny_folder)
        folder = RunFolder.create(tmp_path / name)
        weights = {"context": weight, "reasoning": 0.25, "answer": 0.35, "format": 0.15}
        replay_trainer(model, samples, folder=folder, max_steps=2, weights=weights).fit()
        ends.append(model.state_dict())
    assert all(torch.equal(ends[1][name], value) for name, value in ends[0].items())


def with_sources(samples: list[Sample], sources: Mapping[int, str]) -> list[Sample]:
    return [
        sample.model_copy(update={"extra": {**sample.extra, "source": sources[number % 2]}})
        for number, sample in enumerate(samples)
    ]


def test_a_source_has_weights_of_its_own(
    tiny: OmniModel, samples: list[Sample], replay_trainer: Build, run: RunFolder
) -> None:
    mixed = with_sources(samples[:4], {0: "emer", 1: "quiz"})
    rewards = {name: constant(1.0) for name in EQUAL} | {"context": by_place(1.0, 0.5, 0.0, 0.5)}
    trainer = replay_trainer(
        tiny, mixed, rewards, groups_per_micro_batch=1, weights=EQUAL,
        source_weights={"emer": {"context": 1.0}},
    )  # fmt: skip
    (step,) = kept(trainer)
    source_of = {sample.id: sample.extra["source"] for sample in mixed}
    for batch, (stages, advantages) in zip(trainer._batches, step, strict=True):
        expected = 0.5 if source_of[batch.sample_ids[0]] == "emer" else 0.125
        assert float(advantages[stages == 1].abs().max()) == pytest.approx(expected)
    (line,) = run.metrics()
    assert line["weight/context"] == pytest.approx((1.0 + 0.25) / 2)


def test_a_source_that_no_sample_has_is_refused(
    tiny: OmniModel, samples: list[Sample], replay_trainer: Build
) -> None:
    mixed = with_sources(samples, {0: "emer", 1: "quiz"})
    with pytest.raises(ConfigError, match=r"no sample is from 'emre'; the data are from emer \("):
        replay_trainer(tiny, mixed, source_weights={"emre": {"context": 1.0}})
    with pytest.raises(ConfigError, match=r"from \(not stated\) \(\d+\);"):
        replay_trainer(tiny, samples, source_weights={"emer": {"context": 1.0}})


def test_a_missing_reward_stops_the_run_when_its_weight_begins(
    tiny: OmniModel, samples: list[Sample], replay_trainer: Build, run: RunFolder
) -> None:
    rewards = {**rule_rewards(), "context": constant(None)}
    trainer = replay_trainer(
        tiny, samples, rewards, max_steps=4, weights={**EQUAL, "context": {2: 0.0, 3: 1.0}}
    )
    message = "reward 'context': 16 of 16 completions .* more than max_unscored_share = 0.5"
    with pytest.raises(RewardError, match=message):
        trainer.fit()
    assert [line["unscored/context"] for line in run.metrics()] == [1.0, 1.0, 1.0]


def test_a_source_without_references_may_lack_the_reward_that_needs_them(
    tiny: OmniModel, samples: list[Sample], replay_trainer: Build, run: RunFolder
) -> None:
    mixed = with_sources(samples[:4], {0: "emer", 1: "quiz"})

    def of_emer(prompts: Any, completions: Any, **columns: Any) -> list[float | None]:
        return [0.5 if extra["source"] == "emer" else None for extra in columns["extra"]]

    rewards = {**rule_rewards(), "context": of_emer}
    settings: dict[str, Any] = {"weights": EQUAL, "max_unscored_share": 0.0}
    with pytest.raises(RewardError, match="'context': 8 of 16 completions"):
        replay_trainer(tiny, mixed, rewards, **settings).fit()
    settings["source_weights"] = {"quiz": {"context": 0.0}}
    replay_trainer(tiny, mixed, rewards, **settings).fit()
    assert run.metrics()[-1]["unscored/context"] == 0.5


def test_scale_and_clip_reach_the_tokens(
    tiny: OmniModel, samples: list[Sample], replay_trainer: Build
) -> None:
    """Three valid completions differ in context and answer; their sum has a deviation of 0.25."""
    rewards = {name: constant(1.0) for name in EQUAL}
    rewards |= {"context": by_place(0.9, 0.6, 0.3, 0.0), "answer": by_place(0.7, 0.6, 0.5, 0.0)}
    settings: dict[str, Any] = {
        "weights": {**dict.fromkeys(EQUAL, 0.0), "context": 0.75, "answer": 0.25},
        "scale": "group",
        "scale_by": "sum",
    }
    for clip, context, answer in ((0.0, 0.9, 0.1), (0.6, 0.45, 0.1)):
        trainer = replay_trainer(tiny, samples, rewards, clip_advantage=clip, **settings)
        (step,) = kept(trainer)
        for stages, advantages in step:
            for region, expected in ((1, context), (3, answer)):
                found = float(advantages[stages == region].abs().max())
                assert found == pytest.approx(expected, rel=1e-3)


def test_correlations_with_length_are_logged(
    tiny: OmniModel, samples: list[Sample], replay_trainer: Build, run: RunFolder
) -> None:
    """The third completion of a group has the short context, and earns less for it."""
    replay_trainer(tiny, samples, max_steps=2, log_every=2).fit()
    (line,) = run.metrics()
    assert line["stage_length_correlation/context"] > 0.5
    assert line["length_correlation/context"] > 0.5
    names = {name for name in line if "correlation" in name}
    assert "stage_length_correlation/format" not in names
    assert all(-1 <= line[name] <= 1 for name in names)
