"""The settings of a model behind a server, as a section of a command's config."""

import math
import re
from dataclasses import dataclass, field
from typing import Any, ClassVar
from urllib.parse import urlsplit

from triptych.errors import ConfigError

_ONE_REPLY = frozenset({"stream", "stream_options", "n"})


@dataclass(frozen=True, kw_only=True)
class EndpointConfig:
    """Which model is asked, how patiently, and when it is given up."""

    section: ClassVar[str]
    """Name of the section that these settings stand in, for messages."""
    own_fields: ClassVar[frozenset[str]]
    """Fields of a request that have settings of their own."""

    base_url: str = "http://localhost:8000/v1"
    """Address of the OpenAI-compatible server, up to /v1."""
    model: str | None = None
    """Name of the model, as the server knows it."""
    api_key_env: str = "OPENAI_API_KEY"
    """Environment variable that holds the key; a local server needs none."""
    extra_body: dict[str, Any] = field(default_factory=dict)
    """Further fields of every request, such as {chat_template_kwargs: {enable_thinking: false}}."""
    stream: bool = False
    """Ask for the reply piece by piece, for servers that give it no other way (Qwen-Omni's API)."""
    timeout: float = 60.0
    """Most seconds until a whole reply has arrived."""
    max_retries: int | None = None
    """How often an item is asked again after a failure that may pass. By default 8 times, over 3
    minutes, while a server is out (rate limit, error, gone), else 4 times: after a timeout or a bad
    reply, and where no server was ever heard."""
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
    """The run stops when so many items in a row got nothing, each after its retries."""
    input_price: float | None = None
    """Price of a million prompt tokens, in any currency; needed to state the cost."""
    output_price: float | None = None
    """Price of a million reply tokens."""

    def __post_init__(self) -> None:
        self._check_address()
        if not re.fullmatch(r"[A-Za-z_]\w*", self.api_key_env, re.ASCII):
            # Not shown: someone may have put the key itself here.
            raise ConfigError(
                f"{self.section}.api_key_env is not the name of an environment variable; put the "
                "key into a variable, and its name here"
            )
        if clash := sorted((self.own_fields | _ONE_REPLY) & self.extra_body.keys()):
            own = clash[0] in self.own_fields
            way_out = "is a setting of its own" if own else "cannot be set; remove it"
            raise ConfigError(f"{self.section}.extra_body: {clash[0]!r} {way_out}")
        for name in ("timeout", "backoff", "max_wait", "requests_per_minute"):
            self.check(name, lambda value: value > 0, "a number above 0")
        for name in ("max_retries", "input_price", "output_price"):
            self.check(name, lambda value: value >= 0, "0 or more")
        for name in ("max_concurrency", "max_failures"):
            self.check(name, lambda value: value >= 1, "1 or more")
        if (self.input_price is None) != (self.output_price is None):
            raise ConfigError(
                f"{self.section}.input_price and {self.section}.output_price go together; set both"
            )

    @property
    def named_model(self) -> str:
        """The model.

        Raises:
            ConfigError: none is named.
        """
        if not self.model:
            raise ConfigError(
                f"{self.section}.model is not set; name the model as the server at "
                f"{self.section}.base_url knows it"
            )
        return self.model

    def check(self, name: str, fits: Any, wanted: str) -> None:
        """Refuse a setting that is not finite or does not fit; None is left out.

        Raises:
            ConfigError: it does not.
        """
        value = getattr(self, name)
        if value is not None and not (math.isfinite(value) and fits(value)):
            raise ConfigError(f"{self.section}.{name} is {value}; use {wanted}")

    def _check_address(self) -> None:
        try:
            parts = urlsplit(self.base_url)
            good = parts.scheme in ("http", "https") and bool(parts.hostname)
            _ = parts.port  # raises for a port that is none
        except ValueError:
            good, parts = False, urlsplit("")
        if "@" in parts.netloc or parts.query:
            # Not shown: there is a password or a key in it, and settings are written to files.
            raise ConfigError(
                f"{self.section}.base_url holds credentials or a query; put the key into an "
                f"environment variable, and name that in {self.section}.api_key_env"
            )
        if not good:
            raise ConfigError(
                f"{self.section}.base_url: {self.base_url!r} is no address of a server; use one "
                "such as http://localhost:8000/v1"
            )
