"""One request to an OpenAI-compatible server: what it answers, or why it does not.

The library's exceptions carry the request with its key, and servers are known to send headers back
in their error texts. So none of them leaves this file; what does is a `Failure` in words, from
which the key was taken out.
"""

import asyncio
import json
import logging
import os
from collections.abc import Awaitable, Callable
from dataclasses import replace
from enum import StrEnum
from typing import Any

import openai

from triptych.errors import ConfigError
from triptych.rewards.base import Unscored
from triptych.rewards.judge.config import JudgeConfig
from triptych.rewards.judge.failures import Failure, Remedy, RequestError, failure_of_status
from triptych.rewards.judge.reply import BadReplyError, Reply, read_body
from triptych.rewards.judge.request import Messages, sampling
from triptych.rewards.judge.rubrics import Rubric

_log = logging.getLogger(__name__)

for _name in ("openai", "httpx2", "httpcore2", "httpx", "httpcore"):
    # They log a line or more for every request and, at DEBUG, headers.
    logging.getLogger(_name).setLevel(logging.WARNING)

_LONGEST_CAUSE = 300  # characters of a server's error text
_HELP_SECONDS = 10.0
_REMOVED = "[key]"
_SHORTEST_SECRET = 8  # characters; what local servers are given ("EMPTY") is an ordinary word


class ReplyForm(StrEnum):
    """How a server is asked to hold its reply to JSON, the strictest first."""

    JSON_SCHEMA = "json_schema"
    JSON_OBJECT = "json_object"
    TEXT = "text"


class Client:
    """Sends requests to one server. Lives in one event loop.

    Args:
        config: of the judge.
        before_request: awaited before every request; what it raises is raised.

    Raises:
        ConfigError: the key cannot be sent in a header.
    """

    def __init__(self, config: JudgeConfig, before_request: Callable[[], Awaitable[None]]) -> None:
        self._config, self._before_request = config, before_request
        self._key = _key_from_environment(config.api_key_env)
        self._openai = openai.AsyncOpenAI(
            base_url=config.base_url,
            api_key=self._key or "none",
            max_retries=0,
            timeout=config.timeout,
        )
        self._form = ReplyForm.JSON_SCHEMA
        self._form_is_known = False

    async def ask(self, messages: Messages, rubric: Rubric) -> Reply:
        """The server's reply.

        A server that refuses the form of the reply is asked for the next looser one, which is
        remembered once it was accepted.

        Raises:
            RequestError: there is none.
        """
        if self._form_is_known:
            return await self._request(messages, rubric, self._form)
        refused: RequestError | None = None
        for form in ReplyForm:
            try:
                reply = await self._request(messages, rubric, form)
            except RequestError as error:
                if error.failure.remedy is not Remedy.NONE:
                    raise
                refused = refused or error
            else:
                self._settle(form)
                return reply
        assert refused is not None
        raise refused

    def _settle(self, form: ReplyForm) -> None:
        if not self._form_is_known and form is not ReplyForm.JSON_SCHEMA:
            _log.info("%s: refuses json_schema, takes %s", self._config.base_url, form)
        self._form, self._form_is_known = form, True

    async def _request(self, messages: Messages, rubric: Rubric, form: ReplyForm) -> Reply:
        await self._before_request()
        outcome = await self._post(messages, rubric, form)
        if isinstance(outcome, Failure):
            raise RequestError(outcome)
        try:
            reply = read_body(outcome)
            return replace(reply, text=self._without_key(reply.text))
        except BadReplyError as error:
            cause = str(error)
        raise RequestError(Failure(Unscored.BAD_REPLY, cause))

    async def _post(self, messages: Any, rubric: Rubric, form: ReplyForm) -> bytes | Failure:
        """The response's body. Failures are returned: a raised one would carry its cause along."""
        create = self._openai.chat.completions.with_raw_response.create
        try:
            # Of the whole reply: the client's own limit starts anew with every byte.
            async with asyncio.timeout(self._config.timeout):
                response = await create(
                    model=self._config.model or "",
                    messages=messages,
                    extra_body=self._config.extra_body,
                    **_response_format(form, rubric),
                    **sampling(self._config),
                )
                return bytes(response.content)
        except (TimeoutError, openai.APITimeoutError):
            return Failure(
                Unscored.TIMEOUT,
                f"no whole reply within {self._config.timeout:g} s (judge.timeout)",
            )
        except openai.APIStatusError as error:
            headers = {name.lower(): value for name, value in error.response.headers.items()}
            return failure_of_status(
                error.status_code, self._shown(_server_text(error)), error.code, headers
            )
        except openai.APIError as error:
            cause = error.__cause__ or error
            return Failure(
                Unscored.UNAVAILABLE, self._shown(f"{type(cause).__name__}: {cause or 'no words'}")
            )

    async def model_names(self) -> list[str]:
        """The models that the server says it has; none where it does not say."""
        try:
            async with asyncio.timeout(_HELP_SECONDS):
                page = await self._openai.models.list()
                return [self._shown(model.id) for model in page.data]
        except Exception:  # only asked in order to help
            return []

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


def _response_format(form: ReplyForm, rubric: Rubric) -> dict[str, Any]:
    match form:
        case ReplyForm.JSON_SCHEMA:
            schema = {"name": rubric.name, "strict": True, "schema": rubric.schema}
            return {"response_format": {"type": "json_schema", "json_schema": schema}}
        case ReplyForm.JSON_OBJECT:
            return {"response_format": {"type": "json_object"}}
        case ReplyForm.TEXT:
            return {}


def _server_text(error: openai.APIStatusError) -> str:
    """What a server says about an error, in any of the ways that servers have."""
    body = error.body
    if isinstance(body, dict):
        for name in ("message", "detail", "error"):
            if value := body.get(name):
                return value if isinstance(value, str) else json.dumps(value)
    return body if isinstance(body, str) else error.response.text
