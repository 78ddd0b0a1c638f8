import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest

from triptych.cli.config import parse
from triptych.errors import ConfigError
from triptych.rewards.judge import Judge, JudgeConfig
from triptych.settings import load_config, to_yaml


@dataclasses.dataclass(frozen=True, kw_only=True)
class Command:
    """A command with a judge."""

    judge: JudgeConfig = JudgeConfig()
    """Who judges."""


def read(*words: str) -> JudgeConfig:
    return parse(Command, words, prog="triptych test", description="").config.judge


def test_it_is_a_section_of_a_commands_config(tmp_path: Path) -> None:
    judge = read(
        "--judge.model=Qwen/Qwen3-32B",
        "--judge.cache=judge.sqlite",
        "--judge.media.max-frames=4",
        "--judge.requests-per-minute=600",
        "--judge.temperature=null",
        "--judge.extra-body={chat_template_kwargs: {enable_thinking: false}}",
    )

    assert judge.model == "Qwen/Qwen3-32B"
    assert judge.cache == Path("judge.sqlite")
    assert judge.media == dataclasses.replace(JudgeConfig().media, max_frames=4)
    assert judge.requests_per_minute == 600
    assert judge.temperature is None
    assert judge.extra_body == {"chat_template_kwargs": {"enable_thinking": False}}
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(judge), encoding="utf-8")
    assert load_config(JudgeConfig, path) == judge


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("timeout", [0.0, -1.0, math.inf, math.nan]),
        ("backoff", [0.0, math.nan]),
        ("max_wait", [0.0, math.inf]),
        ("requests_per_minute", [0.0, -5.0]),
        ("temperature", [-0.1]),
        ("max_retries", [-1]),
        ("max_tokens", [0]),
        ("max_concurrency", [0]),
        ("max_failures", [0]),
    ],
)
def test_a_setting_that_makes_no_sense_is_named(name: str, values: list[Any]) -> None:
    for value in values:
        with pytest.raises(ConfigError, match=rf"judge\.{name} is {value}; use "):
            JudgeConfig(**{name: value})


def test_a_price_alone_is_no_price() -> None:
    JudgeConfig(input_price=0.0, output_price=1.5)
    with pytest.raises(ConfigError, match="go together"):
        JudgeConfig(input_price=1.0)
    with pytest.raises(ConfigError, match=r"judge\.output_price is -1"):
        JudgeConfig(input_price=1.0, output_price=-1.0)


@pytest.mark.parametrize(
    "address", ["", "localhost:8000", "ftp://host/v1", "http://", "http://host:x/v1", "http://[::1"]
)
def test_an_address_that_is_none_is_named(address: str) -> None:
    with pytest.raises(ConfigError, match=r"judge\.base_url: .* is no address"):
        JudgeConfig(base_url=address)


@pytest.mark.parametrize(
    "settings",
    [
        {"base_url": "http://me:s3cr3t-key@host/v1"},
        {"base_url": "http://host/v1?api_key=s3cr3t-key"},
        {"api_key_env": "s3cr3t-key"},
    ],
)
def test_a_key_among_the_settings_is_refused_and_not_shown(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="environment variable") as raised:
        JudgeConfig(**settings)
    assert "s3cr3t" not in str(raised.value)


@pytest.mark.parametrize("name", ["stream", "n", "model", "messages", "temperature"])
def test_extra_fields_that_would_change_what_the_judge_relies_on(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"judge\.extra_body: '{name}' "):
        JudgeConfig(extra_body={name: 1})


def test_a_judge_needs_a_model() -> None:
    with pytest.raises(ConfigError, match=r"judge\.model is not set; name the model"):
        Judge(JudgeConfig())


@pytest.mark.parametrize("key", ["bad\nkey-12345", "bad key-12345", "clé-12345678"])
def test_a_key_that_cannot_be_sent_is_refused_and_not_shown(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(ConfigError, match="OPENAI_API_KEY holds characters") as raised:
        Judge(JudgeConfig(model="any"))
    assert key[-5:] not in str(raised.value)
