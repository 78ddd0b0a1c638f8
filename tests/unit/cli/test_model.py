from dataclasses import dataclass

import pytest

from triptych.cli.config import parse
from triptych.cli.model import EnforcementConfig, check_at_least, device_of_process
from triptych.errors import ConfigError
from triptych.generation import Enforce


def read(*words: str) -> EnforcementConfig:
    return parse(EnforcementConfig, words, prog="triptych test", description="").config


def test_each_stage_has_a_budget_of_its_own() -> None:
    config = read("--max-stage-tokens.think", "256", "--min_stage_tokens.context=8")
    assert config.enforce is Enforce.STAGES
    assert config.max_stage_tokens == {"context": 0, "think": 256, "answer": 0}
    assert config.min_stage_tokens == {"context": 8, "think": 0, "answer": 0}


@pytest.mark.parametrize("enforce", Enforce)
def test_what_is_enforced_is_chosen_by_its_name(enforce: Enforce) -> None:
    assert read("--enforce", enforce.value).enforce is enforce


@pytest.mark.parametrize("name", ["min_stage_tokens", "max_stage_tokens"])
def test_budgets_that_nothing_would_hold_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} holds only enforced completions"):
        read("--enforce", "off", f"--{name}.think", "3")
    read("--enforce", "off", f"--{name}.think", "0")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--max-stage-tokens", "{thnik: 9}"], "max_stage_tokens names a stage 'thnik'"),
        (["--min-stage-tokens.think", "-1"], r"min_stage_tokens\.think must not be negative"),
        (
            ["--min-stage-tokens.think", "9", "--max-stage-tokens.think", "8"],
            r"min_stage_tokens\.think is 9, more than max_stage_tokens\.think, 8",
        ),
    ],
)
def test_budgets_that_make_no_sense_are_refused(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read(*words)


@dataclass(frozen=True)
class _Numbers:
    n: int = 1
    temperature: float = 0.0


def test_numbers_below_the_least_are_named() -> None:
    check_at_least(1, _Numbers(), "n")
    check_at_least(0, _Numbers(), "n", "temperature")
    with pytest.raises(ConfigError, match="n is 0; use 1 or more"):
        check_at_least(1, _Numbers(n=0), "n")
    with pytest.raises(ConfigError, match="temperature is nan"):
        check_at_least(0, _Numbers(temperature=float("nan")), "n", "temperature")


def test_each_process_of_a_machine_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[str] = []
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    monkeypatch.setattr("torch.cuda.set_device", chosen.append)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    assert device_of_process("auto") == "cuda"
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert device_of_process("auto") == device_of_process("cuda") == "cuda:3"
    assert device_of_process("cpu") == "cpu"
    assert device_of_process("cuda:1") == "cuda:1"
    assert chosen == ["cuda:3", "cuda:3"]


def test_a_gpu_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"device is cuda, but .* finds no GPU here; use cpu"):
        device_of_process("cuda")
    assert device_of_process("auto") == "cpu"
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(ConfigError, match=r"device is cuda:2, but the GPUs here end at cuda:1;"):
        device_of_process("auto")
