import dataclasses
from pathlib import Path
from typing import Any

import pytest

from triptych.cli.config import parse
from triptych.data.media import MediaBudget
from triptych.endpoint import EndpointConfig
from triptych.endpoint.forms import AudioForm, VideoForm
from triptych.errors import ConfigError
from triptych.generation.engine import Enforce, SamplingConfig
from triptych.generation.server import SamplingField, ServerConfig, ServerEngine, TokenLimit
from triptych.settings import load_config, to_yaml


@dataclasses.dataclass(frozen=True, kw_only=True)
class Command:
    """A command with a server."""

    server: ServerConfig = ServerConfig()
    """Who answers."""


def test_a_server_is_a_section_of_a_commands_config(tmp_path: Path) -> None:
    words = [
        "--server.model=Qwen/Qwen3-Omni-30B-A3B-Instruct",
        "--server.video=film",
        "--server.audio=input_audio_url",
        "--server.stream",
        "--server.token-limit=max_completion_tokens",
        "--server.omit=temperature,seed",
        "--server.extra-body={modalities: [text]}",
    ]
    server = parse(Command, words, prog="triptych test", description="").config.server
    assert server == ServerConfig(
        model="Qwen/Qwen3-Omni-30B-A3B-Instruct",
        video=VideoForm.FILM,
        audio=AudioForm.INPUT_AUDIO_URL,
        stream=True,
        token_limit=TokenLimit.MAX_COMPLETION_TOKENS,
        omit=(SamplingField.TEMPERATURE, SamplingField.SEED),
        extra_body={"modalities": ["text"]},
    )
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(server), encoding="utf-8")
    assert load_config(ServerConfig, path) == server


@pytest.mark.parametrize(
    ("settings", "cause"),
    [
        ({"timeout": 0.0}, r"server\.timeout is 0\.0; use a number above 0"),
        ({"max_video_mb": 0.0}, r"server\.max_video_mb is 0\.0; use a number above 0"),
        ({"max_concurrency": 0}, r"server\.max_concurrency is 0; use 1 or more"),
        ({"input_price": 1.0}, r"server\.input_price and server\.output_price go together"),
        ({"base_url": "host"}, r"server\.base_url: 'host' is no address"),
        ({"base_url": "http://me:key@host/v1"}, r"server\.base_url holds .*server\.api_key_env"),
        ({"api_key_env": "sk-1"}, r"server\.api_key_env is not the name"),
        ({"extra_body": {"seed": 1}}, r"server\.extra_body: 'seed' is a setting of its own"),
        ({"extra_body": {"n": 2}}, r"server\.extra_body: 'n' cannot be set"),
        ({"extra_body": {"stream": True}}, r"server\.extra_body: 'stream' cannot be set"),
    ],
)
def test_a_setting_that_makes_no_sense_is_named(settings: dict[str, Any], cause: str) -> None:
    with pytest.raises(ConfigError, match=cause):
        ServerConfig(**settings)


def test_an_engine_needs_a_model() -> None:
    with pytest.raises(ConfigError, match=r"server\.model is not set; name the model"):
        ServerEngine(ServerConfig(), MediaBudget())


@pytest.mark.parametrize(
    ("sampling", "extra", "cause"),
    [
        (SamplingConfig(enforce=Enforce.STAGES), {}, r"triptych grammar.*server\.extra_body"),
        (SamplingConfig(top_k=5), {"top_k": 20}, r"'top_k' is set by the sampling"),
    ],
)
def test_what_a_server_cannot_do_is_refused_before_anything_is_asked(
    sampling: SamplingConfig, extra: dict[str, Any], cause: str
) -> None:
    config = ServerConfig(model="m", base_url="http://127.0.0.1:1/v1", extra_body=extra)
    with ServerEngine(config, MediaBudget()) as engine:
        with pytest.raises(ConfigError, match=cause):
            engine.answers([], sampling)
        with pytest.raises(ConfigError, match=cause):
            engine.generate([], 1, sampling)


def test_sections_share_their_settings_and_name_themselves() -> None:
    shared = {field.name for field in dataclasses.fields(EndpointConfig)}
    assert shared < {field.name for field in dataclasses.fields(ServerConfig)}
    assert "section" not in shared
