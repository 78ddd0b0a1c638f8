"""One request to an OpenAI-compatible server: what it answers, or why it does not.

The library's exceptions carry the request with its key, and servers are known to send headers back
in their error texts. So none of them leaves this file; what does is a `Failure` in words, from
which the key was taken out.
"""

import asyncio
import json
import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

import openai

from triptych.endpoint.chat import ChatMessages
from triptych.endpoint.config import EndpointConfig
from triptych.endpoint.failures import Failure, FailureReason, RequestError, failure_of_status
from triptych.endpoint.reply import BadReplyError, Reply, read_body
from triptych.errors import ConfigError

_log = logging.getLogger(__name__)

for _name in ("openai", "httpx2", "httpcore2", "httpx", "httpcore"):
    # They log a line or more for every request and, at DEBUG, headers.
    logging.getLogger(_name).setLevel(logging.WARNING)

_LONGEST_CAUSE = 300  # characters of a server's error text
_HELP_SECONDS = 10.0
_REMOVED = "[key]"
_SHORTEST_SECRET = 8  # characters; what local servers are given ("EMPTY") is an ordinary word


class Client:
    """Sends requests to one server. Lives in one event loop.

    Args:
        config: which server and model.
        before_request: awaited before every request; what it raises is raised.

    Raises:
        ConfigError: no model is named, or the key cannot be sent in a header.
    """

    def __init__(
        self, config: EndpointConfig, before_request: Callable[[], Awaitable[None]]
    ) -> None:
        self._config, self._before_request = config, before_request
        self._model = config.named_model
        self._key = _key_from_environment(config.api_key_env)
        self._openai = openai.AsyncOpenAI(
            base_url=config.base_url,
            api_key=self._key or "none",
            max_retries=0,
            timeout=config.timeout,
        )

    async def complete(self, messages: ChatMessages, fields: Mapping[str, Any]) -> Reply:
        """The server's reply to some messages.

        Args:
            messages: of the chat.
            fields: further ones of the request; those of `extra_body` come on top.

        Raises:
            RequestError: there is none.
        """
        await self._before_request()
        outcome = await self._post(messages, fields)
        if isinstance(outcome, Failure):
            raise RequestError(outcome)
        try:
            return self._reply_without_key(read_body(outcome))
        except BadReplyError as error:
            cause = self._shown(str(error))
        raise RequestError(Failure(FailureReason.BAD_REPLY, cause))

    async def _post(self, messages: Any, fields: Mapping[str, Any]) -> bytes | Failure:
        """The response's body. Failures are returned: a raised one would carry its cause along."""
        create = self._openai.chat.completions.with_raw_response.create
        body = {**fields, **self._config.extra_body}
        if self._config.stream:
            # Not told to the library: it would hand out events, and leave errors to us.
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        try:
            # Of the whole reply: the client's own limit starts anew with every byte.
            async with asyncio.timeout(self._config.timeout):
                response = await create(model=self._model, messages=messages, extra_body=body)
                return bytes(response.content)
        except (TimeoutError, openai.APITimeoutError):
            return Failure(
                FailureReason.TIMEOUT,
                f"no whole reply within {self._config.timeout:g} s "
                f"({self._config.section}.timeout)",
            )
        except openai.APIStatusError as error:
            headers = {name.lower(): value for name, value in error.response.headers.items()}
            return failure_of_status(
                error.status_code, self._shown(_server_text(error)), error.code, headers
            )
        except openai.APIError as error:
            cause = error.__cause__ or error
            words = f"{type(cause).__name__}: {cause or 'no words'}"
            return Failure(FailureReason.UNAVAILABLE, self._shown(words))

    async def model_names(self) -> list[str]:
        """The models that the server says it has; none where it does not say."""
        try:
            async with asyncio.timeout(_HELP_SECONDS):
                page = await self._openai.models.list()
                return [self._shown(model.id) for model in page.data]
        except Exception:  # only asked in order to help
            return []

    def _reply_without_key(self, reply: Reply) -> Reply:
        return replace(
            reply,
            text=self._without_key(reply.text),
            reasoning=self._without_key(reply.reasoning),
            refusal=self._without_key(reply.refusal),
            finish_reason=self._shown(reply.finish_reason) if reply.finish_reason else None,
        )

    def _without_key(self, text: str) -> str:
        is_secret = len(self._key) >= _SHORTEST_SECRET
        return text.replace(self._key, _REMOVED) if is_secret else text

    def _shown(self, text: str) -> str:
        """One short line. The key goes first: cut in two it would not be found."""
        line = " ".join(self._without_key(text).split())
        return line if len(line) <= _LONGEST_CAUSE else line[: _LONGEST_CAUSE - 3] + "..."

    async def close(self) -> None:
        """Close the connections."""
        await self._openai.close()


def _key_from_environment(variable: str) -> str:
    key = os.environ.get(variable, "").strip()  # of a file's last newline, for one
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise ConfigError(
            f"the key in the environment variable {variable} holds characters that cannot be "
            "sent; set it anew"
        )
    return key


def _server_text(error: openai.APIStatusError) -> str:
    """What a server says about an error, in any of the ways that servers have."""
    body = error.body
    if isinstance(body, dict):
        for name in ("message", "detail", "error"):
            if value := body.get(name):
                return value if isinstance(value, str) else json.dumps(value)
    return body if isinstance(body, str) else error.response.text
