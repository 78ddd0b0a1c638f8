"""GRPO with the format enforced, through the whole trainer, on a model that does not know it."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback

from triptych.data.sample import Sample
from triptych.errors import ConfigError
from triptych.generation import Completion, Enforce, Engine, SamplingConfig
from triptych.generation.local import LocalEngine
from triptych.models import OmniModel
from triptych.rewards import RewardFunction, rule_rewards
from triptych.runs import RunFolder
from triptych.stages import completion_text, parse, stage_ids
from triptych.stages.prompt import ProblemType
from triptych.training.grpo import GRPOConfig, GRPOTrainer

Build = Callable[..., GRPOTrainer]
LEAST = {"context": 2, "think": 3, "answer": 1}
MOST = {"context": 6, "think": 8, "answer": 4}


def letters(prompts: Any, completions: Any, **columns: Any) -> list[float | None]:
    """A reward that tells the random completions of an untrained model apart."""
    return [sum(map(str.isalpha, text)) / (1 + len(text)) for text in completions]


def enforced(**changes: Any) -> GRPOConfig:
    settings: dict[str, Any] = {
        "prompts_per_step": 4, "groups_per_micro_batch": 2, "num_generations": 3, "max_steps": 2,
        "learning_rate": 1e-3, "weights": {"context": 1.0, "format": 0.5},
        "enforce": Enforce.STAGES, "max_new_tokens": 48, "min_stage_tokens": LEAST,
        "max_stage_tokens": MOST,
    }  # fmt: skip
    return GRPOConfig(**{**settings, **changes})


def trainer_of(
    model: OmniModel,
    samples: list[Sample],
    run: RunFolder,
    engine: Engine | None = None,
    **changes: Any,
) -> GRPOTrainer:
    rewards: dict[str, RewardFunction] = {"context": letters, "format": rule_rewards()["format"]}
    return GRPOTrainer(model, samples, rewards, enforced(**changes), run, engine=engine)


class KeepTokens(TrainerCallback):
    """Keeps the completions of every step, with the samples that they answer."""

    def __init__(self, trainer: GRPOTrainer) -> None:
        self.trainer = trainer
        self.written: list[tuple[str, list[int]]] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        for batch in self.trainer._batches:
            for sample_id, group in zip(batch.sample_ids, batch.token_ids, strict=True):
                self.written += [(sample_id, ids) for ids in group]


@pytest.mark.parametrize(
    ("enforce", "bf16"),
    [
        (Enforce.STAGES, False),
        pytest.param(Enforce.STAGES, True, marks=pytest.mark.slow),
        (Enforce.STAGES_AND_ANSWER, False),
    ],
)
def test_every_rollout_is_valid_and_within_budget(
    tiny: OmniModel, samples: list[Sample], run: RunFolder, enforce: Enforce, bf16: bool
) -> None:
    trainer = trainer_of(tiny, samples, run, enforce=enforce, bf16=bf16)
    kept = KeepTokens(trainer)
    trainer.add_callback(kept)
    trainer.fit()
    assert len(kept.written) == 2 * 4 * 3
    by_id = {sample.id: sample for sample in samples}
    for sample_id, ids in kept.written:
        output = parse(completion_text(ids, tiny.tokenizer, tiny.format), tiny.format)
        assert output.valid, output
        assert len(ids) <= 48
        assert ids[-1] in tiny.end_token_ids
        regions = stage_ids(ids, tiny.tokenizer, tiny.format)
        for region, name in enumerate(tiny.format.names, start=1):
            if enforce is Enforce.STAGES or name != "answer":
                assert LEAST[name] <= regions.count(region) <= MOST[name], (name, output.text)
        sample = by_id[sample_id]
        if (
            enforce is Enforce.STAGES_AND_ANSWER
            and sample.problem_type is ProblemType.MULTIPLE_CHOICE
        ):
            assert output.answer in "ABCDEFGH"[: len(sample.options)]


def test_what_a_step_writes_down(tiny: OmniModel, samples: list[Sample], run: RunFolder) -> None:
    trainer = trainer_of(tiny, samples, run)
    kept = KeepTokens(trainer)
    trainer.add_callback(kept)
    trainer.fit()
    lines, rows = run.metrics(), list(run.rollouts())
    for number, line in enumerate(lines):
        here = slice(12 * number, 12 * (number + 1))
        tokens = sum(len(ids) for _, ids in kept.written[here])
        forced = sum(row["forced"] for row in rows[here])
        assert line["forced"] == pytest.approx(forced / tokens)
        assert 0 < line["forced"] < 1
        assert line["overruled"] == pytest.approx(sum(r["overruled"] for r in rows[here]) / 12)
        assert line["unchanged"] == sum(row["overruled"] == 0 for row in rows[here]) / 12
        assert line["overruled"] > 1
        # Forced tokens are of no region: they are not trained.
        regions = ("tags", "context", "think", "answer")
        trained = sum(line[f"length/{name}"] for name in regions)
        assert trained == pytest.approx((tokens - forced) / 12)
        assert line["valid"] == line["reward/format"] == line["no_signal/format"] == 1
        assert line["truncated"] == line["no_signal/context"] == 0
        assert line["ratio"] == 1
        assert line["entropy/context"] > 0
    assert lines[0]["kl"] == pytest.approx(0, abs=1e-7)
    assert lines[1]["kl"] > 1e-7


class FewRefused:
    """The real engine, but as if 0, 1, 2 ... tokens of a group's completions had been refused: the
    untrained model writes none such."""

    def __init__(self, model: OmniModel) -> None:
        self._engine = LocalEngine(model)

    def generate(
        self, samples: Sequence[Sample], n: int, sampling: SamplingConfig
    ) -> list[list[Completion]]:
        groups = self._engine.generate(samples, n, sampling)
        return [[replace(one, overruled=i) for i, one in enumerate(group)] for group in groups]


def test_the_share_that_was_never_refused(
    tiny: OmniModel, samples: list[Sample], run: RunFolder
) -> None:
    trainer_of(tiny, samples, run, FewRefused(tiny), max_steps=1).fit()
    (line,) = run.metrics()
    assert line["unchanged"] == pytest.approx(1 / 3)
    assert line["overruled"] == 1
    assert [row["overruled"] for row in run.rollouts()] == [0, 1, 2] * 4


def test_without_enforcement_nothing_is_written_of_it(
    tiny: OmniModel, samples: list[Sample], run: RunFolder
) -> None:
    trainer = trainer_of(
        tiny, samples, run, enforce=Enforce.OFF, min_stage_tokens={}, max_stage_tokens={}
    )
    trainer.fit()
    assert all(batch.packed.allowed is None for batch in trainer._batches)
    assert not {"forced", "overruled", "unchanged"} & run.metrics()[0].keys()
    assert {(row["forced"], row["overruled"]) for row in run.rollouts()} == {(0, 0)}


class StopAfter(TrainerCallback):
    """Ends training after a step, as a killed job would."""

    def __init__(self, step: int) -> None:
        self._step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        control.should_training_stop = state.global_step == self._step


@pytest.mark.slow
def test_resumed_within_a_rollout_equals_uninterrupted(
    tiny_folder: Path, samples: list[Sample], tmp_path: Path
) -> None:
    settings: dict[str, Any] = {
        "max_steps": 4, "num_iterations": 2, "save_steps": 1, "keep_checkpoints": 10,
        "enforce": Enforce.STAGES_AND_ANSWER,
    }  # fmt: skip

    def make(run: RunFolder) -> GRPOTrainer:
        return trainer_of(OmniModel.from_pretrained(tiny_folder), samples[:6], run, **settings)

    whole = make(RunFolder.create(tmp_path / "whole"))
    whole.fit()
    stopped = make(RunFolder.create(tmp_path / "stopped"))
    stopped.add_callback(StopAfter(3))
    assert stopped.fit().steps == 3
    resumed = make(RunFolder.create(tmp_path / "stopped", resume=True))
    assert resumed.fit(resume=True).steps == 4

    allowed, expected = (trainer._batches[0].packed.allowed for trainer in (resumed, whole))
    assert allowed is not None
    assert expected is not None
    assert torch.equal(allowed.masks_UV[allowed.index_N], expected.masks_UV[expected.index_N])
    start = OmniModel.from_pretrained(tiny_folder).state_dict()
    for key, value in whole.omni.state_dict().items():
        assert torch.equal(resumed.omni.state_dict()[key], value), key
    assert any((whole.omni.state_dict()[key] - start[key]).abs().max() > 1e-4 for key in start)
    for name in ("loss", "reward/context", "kl", "forced", "ratio", "entropy/think"):
        found, whole_run = (
            [line.get(name) for line in trainer.run.metrics()] for trainer in (resumed, whole)
        )
        assert found == whole_run, name
    assert list(resumed.run.rollouts()) == list(whole.run.rollouts())
    ratios = [line["ratio"] for line in whole.run.metrics()]
    assert [ratio == 1 for ratio in ratios] == [True, False, True, False]


def test_budgets_that_nothing_fits_are_refused_before_anything_is_written(
    tiny: OmniModel, samples: list[Sample], run: RunFolder
) -> None:
    with pytest.raises(ConfigError, match="max_new_tokens is 9, but the shortest completion"):
        trainer_of(tiny, samples, run, max_new_tokens=9)


def test_an_engine_that_does_not_enforce_is_refused(
    tiny: OmniModel, samples: list[Sample], replay_trainer: Build
) -> None:
    trainer = replay_trainer(tiny, samples, enforce="stages", max_stage_tokens={"context": 2})
    with pytest.raises(ConfigError, match=r"sample .* `enforce` and its budgets .* use an engine"):
        trainer.fit()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, 1),
        ({"weights": {"context": 1.0, "format": 0.0}}, 0),
        ({"enforce": Enforce.OFF, "min_stage_tokens": {}, "max_stage_tokens": {}}, 0),
    ],
)
def test_a_format_reward_that_can_teach_nothing_is_told_once(
    tiny: OmniModel,
    samples: list[Sample],
    run: RunFolder,
    caplog: pytest.LogCaptureFixture,
    changes: dict[str, Any],
    told: int,
) -> None:
    with caplog.at_level(logging.WARNING, logger="triptych"):
        trainer_of(tiny, samples, run, **changes).fit()
    messages = [record.getMessage() for record in caplog.records]
    about = [message for message in messages if "the format reward teaches nothing" in message]
    assert len(about) == told
    assert all("enforce is stages" in message for message in about)
