"""The settings of an LLM judge: the section `judge:` of a command's config."""

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from triptych.data.media import MediaBudget
from triptych.errors import ConfigError

_OURS = frozenset({"model", "messages", "temperature", "seed", "max_tokens", "response_format"})
_ONE_REPLY = frozenset({"stream", "n"})


@dataclass(frozen=True, kw_only=True)
class JudgeConfig:
    """Which model judges, how it is asked, and when it is given up."""

    base_url: str = "http://localhost:8000/v1"
    """Address of the OpenAI-compatible server, up to /v1."""
    model: str | None = None
    """Name of the model, as the server knows it."""
    api_key_env: str = "OPENAI_API_KEY"
    """Environment variable that holds the key; a local server needs none."""
    cache: Path | None = None
    """SQLite file, on a local disk, where scored replies are kept; without one nothing is kept.
    Runs may share it, at the same time too."""
    with_media: bool = False
    """Judge contexts by frames and sound as well, for a model that sees and hears; also those that
    have no reference."""
    media: MediaBudget = MediaBudget(fps=1.0, max_frames=8, max_pixels=448 * 448, max_seconds=60.0)
    """How much of each clip the judge sees and hears (with_media)."""
    temperature: float | None = 0.0
    """Sampling temperature; null leaves it to the server."""
    seed: int | None = 0
    """Seed of the server's sampling; null leaves it to the server."""
    max_tokens: int | None = 512
    """Most tokens of a reply; null leaves it to the server."""
    extra_body: dict[str, Any] = field(default_factory=dict)
    """Further fields of every request, such as {chat_template_kwargs: {enable_thinking: false}}."""
    timeout: float = 60.0
    """Most seconds until a whole reply has arrived."""
    max_retries: int = 4
    """How often an item is asked again after a failure that may pass."""
    backoff: float = 1.0
    """Seconds before it is asked again the first time, doubled from time to time, with jitter."""
    max_wait: float = 60.0
    """Most seconds before it is asked again; a server that wants more (Retry-After) gets no
    further request for that item."""
    max_concurrency: int = 16
    """Most requests at the same time, of each process."""
    requests_per_minute: float | None = None
    """Most requests per minute, evenly spaced, of each process; null sets no limit."""
    max_failures: int = 8
    """The judge stops the run when so many items in a row got no score, each after its retries."""
    input_price: float | None = None
    """Price of a million prompt tokens, in any currency; needed to state the cost."""
    output_price: float | None = None
    """Price of a million reply tokens."""

    def __post_init__(self) -> None:
        _check_address(self.base_url)
        if not re.fullmatch(r"[A-Za-z_]\w*", self.api_key_env, re.ASCII):
            # Not shown: someone may have put the key itself here.
            raise ConfigError(
                "judge.api_key_env is not the name of an environment variable; put the key into "
                "a variable, and its name here"
            )
        if clash := sorted((_OURS | _ONE_REPLY) & self.extra_body.keys()):
            way_out = "is a setting of its own" if clash[0] in _OURS else "cannot be set; remove it"
            raise ConfigError(f"judge.extra_body: {clash[0]!r} {way_out}")
        for name in ("timeout", "backoff", "max_wait", "requests_per_minute"):
            _check(self, name, lambda value: value > 0, "a number above 0")
        for name in ("temperature", "input_price", "output_price"):
            _check(self, name, lambda value: value >= 0, "0 or more")
        _check(self, "max_retries", lambda value: value >= 0, "0 or more")
        for name in ("max_tokens", "max_concurrency", "max_failures"):
            _check(self, name, lambda value: value >= 1, "1 or more")
        if (self.input_price is None) != (self.output_price is None):
            raise ConfigError("judge.input_price and judge.output_price go together; set both")


def _check(config: JudgeConfig, name: str, fits: Any, wanted: str) -> None:
    """Refuse a setting that is not finite or does not fit; None is left out."""
    value = getattr(config, name)
    if value is not None and not (math.isfinite(value) and fits(value)):
        raise ConfigError(f"judge.{name} is {value}; use {wanted}")


def _check_address(base_url: str) -> None:
    try:
        parts = urlsplit(base_url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname)
        _ = parts.port  # raises for a port that is none
    except ValueError:
        good, parts = False, urlsplit("")
    if "@" in parts.netloc or parts.query:
        # Not shown: there is a password or a key in it, and settings are written to files.
        raise ConfigError(
            "judge.base_url holds credentials or a query; put the key into an environment "
            "variable, and name that in judge.api_key_env"
        )
    if not good:
        raise ConfigError(
            f"judge.base_url: {base_url!r} is no address of a server; use one such as "
            "http://localhost:8000/v1"
        )
