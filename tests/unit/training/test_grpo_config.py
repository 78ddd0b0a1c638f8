"""Settings of the reinforcement stage: what they are held to, and what they are made into."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from transformers import get_scheduler

from triptych.errors import ConfigError
from triptych.generation import Enforce
from triptych.settings import build, load_config, to_yaml
from triptych.training.config import Schedule, trainer_arguments
from triptych.training.grpo_config import GRPOConfig


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"enforce": "format"}, "unknown enforce 'format'; choose one of: off, stages, stages"),
        (
            {"enforce": "stages", "max_stage_tokens": {"thnik": 9}},
            "max_stage_tokens names a stage 'thnik'; use context, think, answer",
        ),
        (
            {"enforce": "stages", "min_stage_tokens": {"thnik": 0}},
            "min_stage_tokens names a stage 'thnik'",
        ),
        (
            {"enforce": "stages", "min_stage_tokens": {"think": -1}},
            r"min_stage_tokens\.think must not be negative",
        ),
        (
            {
                "enforce": "stages",
                "min_stage_tokens": {"think": 9, "context": 4},
                "max_stage_tokens": {"think": 8},
            },
            r"min_stage_tokens\.think is 9, more than max_stage_tokens\.think, 8; lower",
        ),
        (
            {"max_stage_tokens": {"think": 9}},
            "max_stage_tokens holds only enforced completions; set enforce",
        ),
        (
            {"enforce": "off", "min_stage_tokens": {"think": 9}},
            "min_stage_tokens holds only enforced completions",
        ),
    ],
)
def test_enforcement_that_cannot_work_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        GRPOConfig(**settings)


@pytest.mark.parametrize("schedule", ["constant", "linear"])
@pytest.mark.parametrize("warmup", [0, 4])
def test_every_schedule_has_its_warm_up(schedule: Schedule, warmup: int, tmp_path: Path) -> None:
    config = GRPOConfig(
        max_steps=6, warmup_steps=warmup, lr_scheduler=schedule, learning_rate=1.0,
    )  # fmt: skip
    arguments = trainer_arguments(config, config.layout(), tmp_path, torch.device("cpu"))
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = get_scheduler(
        arguments.lr_scheduler_type, optimizer, arguments.get_warmup_steps(6), 6
    )
    rates = []
    for _ in range(6):
        rates += scheduler.get_last_lr()
        optimizer.step()
        scheduler.step()
    assert rates[:warmup] == [step / 4 for step in range(warmup)]
    assert rates[warmup] == 1
    assert (rates[-1] == 1) == (schedule == "constant")


def test_nothing_is_enforced_by_default() -> None:
    config = GRPOConfig()
    assert not config.enforced
    assert config.sampling().enforce is Enforce.OFF
    assert config.min_stage_tokens == config.max_stage_tokens
    assert config.max_stage_tokens == {"context": 0, "think": 0, "answer": 0}


@pytest.mark.parametrize("enforce", [Enforce.STAGES, Enforce.STAGES_AND_ANSWER])
def test_sampling_holds_rollouts_to_what_is_set(enforce: Enforce) -> None:
    config = GRPOConfig(
        enforce=enforce,
        min_stage_tokens={"think": 16},
        max_stage_tokens={"think": 16, "context": 9},
        max_new_tokens=99,
        temperature=0.8,
    )
    assert config.enforced
    sampling = config.sampling(seeds=[5, 7])
    assert (sampling.enforce, sampling.seeds([])) == (enforce, [5, 7])
    assert (sampling.max_new_tokens, sampling.temperature) == (99, 0.8)
    assert sampling.min_stage_tokens == {"think": 16}
    assert sampling.max_stage_tokens == {"think": 16, "context": 9}


def test_a_name_given_as_text_counts_as_the_choice_itself() -> None:
    plain: Any = {"enforce": "off"}
    assert GRPOConfig(**plain).sampling().enforce is Enforce.OFF


def test_enforcement_survives_yaml() -> None:
    tree = {"enforce": "stages+answer", "max_stage_tokens": {"think": 64}}
    config = build(GRPOConfig, tree)
    assert config.enforce is Enforce.STAGES_AND_ANSWER
    for one in (config, GRPOConfig()):
        assert build(GRPOConfig, yaml.safe_load(to_yaml(one))) == one


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weights": {"context": {0: -1.0}}}, r"^weights: context: -1\.0 is not a number"),
        ({"weights": {"a": {0: 1.0, 9: 0.0}}}, "^weights at step 9: all are zero"),
        ({"source_weights": {"emer": {"contxt": 1.0}}}, r"^source_weights\.emer: 'contxt' is no"),
        ({"scale_by": "sums"}, "unknown scale_by 'sums'; choose one of: reward, sum"),
        ({"scale_by": "sum"}, "scale_by is sum, but scale is none; set scale to group or batch"),
        ({"clip_advantage": -1.0}, "clip_advantage must not be negative"),
    ],
)
def test_combinations_that_cannot_work_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        GRPOConfig(**settings)


def test_schedules_and_sources_survive_yaml() -> None:
    tree = {
        "weights": {"context": {0: 0.5, 200: 0.25}, "answer": 1},
        "source_weights": {"emer": {"answer": {10: 0.5}}, "quiz": {"context": 0}},
        "scale": "group",
        "scale_by": "sum",
        "clip_advantage": 2.5,
    }
    config = build(GRPOConfig, tree)
    assert config.weights == {"context": {0: 0.5, 200: 0.25}, "answer": 1.0}
    assert config.source_weights == {"emer": {"answer": {10: 0.5}}, "quiz": {"context": 0.0}}
    assert build(GRPOConfig, yaml.safe_load(to_yaml(config))) == config


def test_a_bad_schedule_in_a_file_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("max_steps: 9\nweights:\n  answer: 1\n  context: {0: 0.5, x: 1}\n")
    message = rf"{path}:4: 'weights\.context': 'x' is no step of a schedule"
    with pytest.raises(ConfigError, match=message):
        load_config(GRPOConfig, path)
