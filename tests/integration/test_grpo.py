"""GRPO through the whole trainer: what reaches which token, and what a step writes down."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor
from transformers import TrainerCallback

from triptych.data.sample import Sample
from triptych.errors import ConfigError
from triptych.generation.local import LocalEngine
from triptych.models import OmniModel
from triptych.rewards import RewardError, RewardFunction, rule_rewards
from triptych.runs import RunFolder
from triptych.settings import build, to_yaml
from triptych.training.credit import Balance, Scheme
from triptych.training.grpo import GRPOConfig, GRPOTrainer, frozen_copy, train_grpo

Build = Callable[..., GRPOTrainer]
CONTEXT, THINK, ANSWER = 1, 2, 3
REGION_OF_REWARD = {"context": CONTEXT, "reasoning": THINK, "answer": ANSWER}


class GradientKeeper(TrainerCallback):
    """Keeps the gradients of the first optimizer step, before they are clipped away."""

    def __init__(self) -> None:
        self.gradients: dict[str, Tensor] = {}

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        named = kwargs["model"].named_parameters()
        self.gradients = self.gradients or {
            name: p.grad.clone() for name, p in named if p.grad is not None
        }


def fit_and_keep_gradients(trainer: GRPOTrainer) -> dict[str, Tensor]:
    keeper = GradientKeeper()
    trainer.add_callback(keeper)
    trainer.fit()
    return keeper.gradients


@contextmanager
def kept_logps(model: OmniModel) -> Iterator[list[Tensor]]:
    """The log-probs of every forward with gradients; backward leaves their gradients in .grad."""
    kept: list[Tensor] = []

    def keep(_module: Any, _inputs: Any, output: Any) -> None:
        if output.logps_N.requires_grad:
            output.logps_N.retain_grad()
            kept.append(output.logps_N)

    handle = model.register_forward_hook(keep)
    yield kept
    handle.remove()


def flipped(name: str) -> dict[str, RewardFunction]:
    """The rule rewards, one of them turned round."""
    rules = rule_rewards()
    original = rules[name]

    def opposite(prompts: Any, completions: Any, **columns: Any) -> list[float | None]:
        values: Any = original(prompts, completions, **columns)
        return [None if value is None else 1.0 - value for value in values]

    return {**rules, name: opposite}


@pytest.mark.parametrize("scheme", ["strict", "uniform"])
@pytest.mark.parametrize("reward", ["context", "reasoning", "answer"])
def test_a_reward_reaches_only_its_own_stage(
    tiny: OmniModel,
    samples: list[Sample],
    replay_trainer: Build,
    scheme: str,
    reward: str,
) -> None:
    """From the reward function to the gradient of each token's log-prob."""
    gradients, regions = [], []
    for rewards in (rule_rewards(), flipped(reward)):
        trainer = replay_trainer(
            tiny, samples, rewards, scheme=scheme, groups_per_micro_batch=4, learning_rate=1e-12
        )
        with kept_logps(tiny) as kept:
            trainer.fit()
        (logps_N,) = kept
        (batch,) = trainer._batches
        assert logps_N.grad is not None
        gradients.append(logps_N.grad)
        regions.append(batch.stage_ids_RT[batch.packed.completion_mask_RT])
    assert torch.equal(regions[0], regions[1])
    changed = (gradients[0] - gradients[1]).abs()
    own = regions[0] == REGION_OF_REWARD[reward]
    assert changed[own].max() > 1e-4
    if scheme == "strict":
        assert changed[~own].max() == 0
    else:
        for region in (0, CONTEXT, THINK, ANSWER):
            assert changed[regions[0] == region].max() > 1e-4


def test_training_moves_probability_to_what_was_rewarded(
    tiny: OmniModel, samples: list[Sample], replay_trainer: Build
) -> None:
    """The right and the wrong completion differ in the answer alone."""
    trainer = replay_trainer(tiny, samples[:4], groups_per_micro_batch=4, max_steps=8, beta=0.0)

    def margin() -> float:
        (batch,) = trainer._batches
        answers_RT = trainer._logps(tiny, batch.packed) * (batch.stage_ids_RT == ANSWER)
        right, wrong = answers_RT.sum(-1).reshape(4, 4)[:, :2].unbind(-1)
        return float((right - wrong).mean())

    before: list[float] = []

    class AfterTheRollout(TrainerCallback):
        def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            before.append(margin())

    trainer.add_callback(AfterTheRollout())
    trainer.fit()
    assert margin() > before[0] + 1


def test_one_batch_equals_accumulated_micro_batches(
    tiny_folder: Any, samples: list[Sample], replay_trainer: Build
) -> None:
    gradients, weights = [], []
    for micro_batch in (8, 2):
        model = OmniModel.from_pretrained(tiny_folder)
        trainer = replay_trainer(
            model, samples, prompts_per_step=8, groups_per_micro_batch=micro_batch, beta=0.0
        )
        assert trainer.args.gradient_accumulation_steps == 8 // micro_batch
        gradients.append(fit_and_keep_gradients(trainer))
        weights.append(model.state_dict())
    assert max(g.abs().max() for g in gradients[0].values()) > 1e-3
    for name, whole in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], whole, rtol=0, atol=1e-6)


@pytest.mark.slow
def test_accumulation_leaves_the_parameters_equal(
    tiny_folder: Any, samples: list[Sample], replay_trainer: Build
) -> None:
    """In double precision: Adam's first step is the sign of the gradient, so noise around zero
    would be as large as the step."""
    weights = []
    for micro_batch in (8, 2):
        model = OmniModel.from_pretrained(tiny_folder).double()
        trainer = replay_trainer(
            model, samples, prompts_per_step=8, groups_per_micro_batch=micro_batch, max_steps=2
        )
        trainer.fit()
        weights.append(model.state_dict())
    start = OmniModel.from_pretrained(tiny_folder).double().state_dict()
    assert any((weights[0][name] - start[name]).abs().max() > 1e-4 for name in start)
    for name, whole in weights[0].items():
        torch.testing.assert_close(weights[1][name], whole, rtol=0, atol=1e-6)


def test_what_a_step_writes_down(
    tiny: OmniModel, samples: list[Sample], replay_trainer: Build, run: RunFolder
) -> None:
    trainer = replay_trainer(tiny, samples, max_steps=2, rollout_groups=3)
    result = trainer.fit()
    lines = run.metrics(phase="grpo")
    assert [line["step"] for line in lines] == [1, 2]
    for line in lines:
        assert line["valid"] == 0.75
        assert line["truncated"] == 0.25
        assert line["reward/format"] == 0.75
        assert 0 < line["reward/answer"] < 1
        assert line["unscored/answer"] == 0
        assert line["no_signal/group"] == 0
        assert line["ratio"] == pytest.approx(1.0)
        assert line["clip_low"] == line["clip_high"] == 0
        assert line["advantage/answer"] > 0
        assert line["entropy/think"] > 0
        assert line["length"] == pytest.approx(
            sum(line[f"length/{name}"] for name in ("tags", "context", "think", "answer"))
        )
        phases = ("data", "rollout", "reward", "reference", "update", "other")
        spent = [line[f"seconds/{phase}"] for phase in phases]
        assert all(seconds > 0 for seconds in spent)
        assert line["seconds/step"] == pytest.approx(sum(spent))
    assert lines[0]["kl"] == pytest.approx(0, abs=1e-7)
    assert lines[1]["kl"] > 1e-6
    assert [line["beta"] for line in lines] == pytest.approx([0.04, 0.01])
    rollouts = list(run.rollouts())
    assert len(rollouts) == 2 * 3 * 4
    assert {record["step"] for record in rollouts} == {1, 2}
    right, wrong, poor, broken = rollouts[:4]
    assert right["violations"] == []
    assert right["rewards"]["answer"] == 1
    assert wrong["rewards"]["answer"] == 0
    assert poor["bodies"]["context"] == "a person"
    assert poor["rewards"]["context"] < right["rewards"]["context"]
    assert broken["stop_reason"] == "length"
    assert broken["violations"][0]["kind"] == "truncated"
    assert result.steps == 2
    assert result.seconds["update"] > 0
    again = OmniModel.from_pretrained(result.model_path)
    for name, value in tiny.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)


def test_several_iterations_reuse_the_rollout_and_clip(
    tiny: OmniModel, samples: list[Sample], replay_trainer: Build, run: RunFolder
) -> None:
    trainer = replay_trainer(
        tiny, samples, max_steps=4, num_iterations=2, learning_rate=1e-2, clip_low=1e-3
    )
    trainer.fit()
    lines = run.metrics()
    # The first of two updates is on policy to the last bit, the second is not.
    assert [line["ratio"] == 1.0 for line in lines] == [True, False, True, False]
    assert [line["clip_low"] > 0 for line in lines] == [False, True, False, True]
    assert [sorted({r["step"] for r in run.rollouts()})] == [[1, 3]]
    assert ["reward/answer" in line for line in lines] == [True, False, True, False]


def test_what_is_drawn_does_not_depend_on_how_much_is_written_at_once(
    tiny: OmniModel, samples: list[Sample], tmp_path: Path
) -> None:
    written = []
    for at_once in (1, 4, 64):
        run = RunFolder.create(tmp_path / str(at_once))
        config = GRPOConfig(
            prompts_per_step=3, num_generations=2, max_new_tokens=8, max_steps=1,
            learning_rate=1e-9, beta=0, rollout_sequences=at_once,
        )  # fmt: skip
        trainer = GRPOTrainer(tiny, samples, rule_rewards(), config, run)
        assert isinstance(trainer.engine, LocalEngine)
        assert trainer.engine.max_sequences == at_once
        trainer.fit()
        written.append([line["text"] for line in run.rollouts()])
    assert written[0] == written[1] == written[2]
    assert len(set(written[0])) == 6


def test_a_reward_that_is_missing_too_often_stops_the_run(
    tiny: OmniModel, samples: list[Sample], replay_trainer: Build, run: RunFolder
) -> None:
    def judge(prompts: Any, completions: Any, **columns: Any) -> list[float | None]:
        return [None] * len(completions)

    rewards: dict[str, RewardFunction] = {**rule_rewards(), "context": judge}
    message = "reward 'context': 16 of 16 completions .* more than max_unscored_share = 0.5"
    with pytest.raises(RewardError, match=message):
        replay_trainer(tiny, samples, rewards).fit()
    # What it wrote is there to be looked at, and a reward without weight may be missing.
    assert len(list(run.rollouts())) == 16
    weights = {"context": 0.0, "reasoning": 0.5, "answer": 0.5, "format": 0.5}
    replay_trainer(tiny, samples, rewards, weights=weights).fit()
    assert run.metrics()[-1]["unscored/context"] == 1


def test_rewards_without_weights_or_credit_are_refused(
    tiny: OmniModel, samples: list[Sample], replay_trainer: Build
) -> None:
    rules = rule_rewards()
    with pytest.raises(ConfigError, match="none given for reward 'brevity'"):
        replay_trainer(tiny, samples, {**rules, "brevity": rules["format"]})
    with pytest.raises(ConfigError, match="which tokens earn 'brevity'"):
        replay_trainer(
            tiny, samples, {**rules, "brevity": rules["format"]},
            weights={**dict.fromkeys(rules, 0.2), "brevity": 0.2},
        )  # fmt: skip


def test_a_reward_of_ones_own_with_a_credit_row(
    tiny: OmniModel, samples: list[Sample], replay_trainer: Build, run: RunFolder
) -> None:
    def brevity(prompts: Any, completions: Any, **columns: Any) -> list[float | None]:
        return [1 / (1 + len(text)) for text in completions]

    replay_trainer(
        tiny, samples, {"brevity": brevity, "format": rule_rewards()["format"]},
        weights={"brevity": 1.0, "format": 0.0}, credit_rows={"brevity": (0.0, 1.0, 0.0, 0.0)},
    ).fit()  # fmt: skip
    (line,) = run.metrics()
    assert line["advantage/think"] > 0
    assert line["advantage/context"] == line["advantage/answer"] == 0


def test_the_reference_stays_while_the_model_moves(tiny: OmniModel) -> None:
    tiny.freeze(["vision"])
    reference = frozen_copy(tiny)
    live, frozen = dict(tiny.named_parameters()), dict(reference.named_parameters())
    assert live.keys() == frozen.keys()
    assert not any(parameter.requires_grad for parameter in frozen.values())
    shared = {name for name in live if live[name] is frozen[name]}
    assert shared == {name for name in live if ".visual." in name}
    name = next(name for name in live if name not in shared)
    before = frozen[name].clone()
    with torch.no_grad():
        live[name].add_(1.0)
    assert torch.equal(frozen[name], before)


@pytest.mark.parametrize("bf16", [False, True])
def test_live_rollouts_train_all_the_way(
    tiny: OmniModel, samples: list[Sample], run: RunFolder, bf16: bool
) -> None:
    """The real engine on the live model; only format's own wish for short texts can be earned."""

    def brevity(prompts: Any, completions: Any, **columns: Any) -> list[float | None]:
        return [1 / (1 + len(text)) for text in completions]

    config = GRPOConfig(
        prompts_per_step=4, groups_per_micro_batch=2, num_generations=4, max_new_tokens=8,
        max_steps=2, learning_rate=1e-3, freeze=("vision", "audio"), balance=Balance.STAGES,
        weights={"format": 1.0}, bf16=bf16,
    )  # fmt: skip
    before = {name: value.clone() for name, value in tiny.state_dict().items()}
    result = train_grpo(tiny, samples, {"format": brevity}, config, run)
    assert result.steps == 2
    moved = {name for name, value in tiny.state_dict().items() if not value.equal(before[name])}
    assert moved
    assert not any("visual" in name or "audio_tower" in name for name in moved)
    for line in run.metrics():
        assert line["length"] <= 8
        assert line["ratio"] == 1
        assert line["kl"] == pytest.approx(0, abs=1e-7) or line["step"] == 2
    assert not tiny.training


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_generations": 1}, "num_generations must be at least 2"),
        ({"temperature": 0.0}, "temperature must be above 0"),
        ({"beta": -0.1}, "beta must not be negative"),
        ({"prefetch_steps": -1}, "prefetch_steps must not be negative"),
        ({"best_metric": "answer"}, "set eval_steps"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0"),
        ({"scale": "groups"}, "unknown scale 'groups'; choose one of: none, group, batch"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        GRPOConfig(**settings)


def test_settings_survive_yaml() -> None:
    tree = {"scheme": "causal", "freeze": ["audio"], "credit_rows": {"answer": [1, 0, 0.5, 0]}}
    config = build(GRPOConfig, tree)
    assert config.scheme is Scheme.CAUSAL
    assert config.credit_rows == {"answer": (1, 0, 0.5, 0)}
    assert build(GRPOConfig, yaml.safe_load(to_yaml(config))) == config
