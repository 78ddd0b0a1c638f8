"""What comes back from a chat model: the body of an HTTP response, whole or in events."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


class BadReplyError(Exception):
    """What was wanted cannot be read from a response; the message says why."""


@dataclass(frozen=True)
class Reply:
    """A reply of a chat model.

    Attributes:
        text: what it says.
        prompt_tokens: as the server counts; None where it does not say.
        completion_tokens: likewise.
        finish_reason: why it ended, in the server's word.
        reasoning: what the server took out of the text as reasoning.
        refusal: why the model will not say it, where the server tells that apart.
    """

    text: str
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    finish_reason: str | None = None
    reasoning: str = ""
    refusal: str = ""

    @property
    def cut_off(self) -> bool:
        """Whether the limit of tokens ended it."""
        return self.finish_reason == "length"


def read_body(body: bytes) -> Reply:
    """The reply that a response's body holds.

    Raises:
        BadReplyError: it holds none.
    """
    try:
        record = _joined(_events(body)) if _is_stream(body) else json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadReplyError("the response is not JSON") from error
    choice = _get(record, "choices", 0)
    if not isinstance(message := _get(choice, "message"), dict):
        raise BadReplyError("the response holds no message")
    return Reply(
        text=_text(message.get("content")),
        prompt_tokens=_count(_get(record, "usage", "prompt_tokens")),
        completion_tokens=_count(_get(record, "usage", "completion_tokens")),
        finish_reason=_word(_get(choice, "finish_reason")),
        reasoning=_reasoning(message),
        refusal=_text(message.get("refusal")),
    )


def _is_stream(body: bytes) -> bool:
    return body.lstrip().startswith((b"data:", b":", b"event:", b"id:", b"retry:"))


def _events(body: bytes) -> Iterator[Any]:
    """The JSON values of server-sent events, each of which stands on one line."""
    for line in body.decode().split("\n"):  # a text may hold what `splitlines` takes for an end
        name, _, value = line.partition(":")
        if name == "data" and value.strip() != "[DONE]":
            yield json.loads(value)


def _joined(events: Iterator[Any]) -> dict[str, Any]:
    """The pieces of a stream, put together to a response."""
    message: dict[str, Any] = {}
    whole: dict[str, Any] = {}
    finish_reason = None
    for event in events:
        if error := _get(event, "error"):
            said = _get(error, "message") or error
            raise BadReplyError(f"the server broke off: {said}")
        whole["usage"] = _get(event, "usage") or whole.get("usage")
        choice = _get(event, "choices", 0)
        finish_reason = _get(choice, "finish_reason") or finish_reason
        if isinstance(delta := _get(choice, "delta"), dict):
            message["content"] = message.get("content", "") + _text(delta.get("content"))
            message["reasoning"] = message.get("reasoning", "") + _reasoning(delta)
            message["refusal"] = message.get("refusal", "") + _text(delta.get("refusal"))
    if message and not finish_reason:
        raise BadReplyError("the stream ended before the reply did")
    return {**whole, "choices": [{"message": message or None, "finish_reason": finish_reason}]}


def _get(value: Any, *path: str | int) -> Any:
    """What stands there, or None."""
    for name in path:
        try:
            value = value[name]
        except (LookupError, TypeError):
            return None
    return value


def _count(value: Any) -> int | None:
    return value if type(value) is int and value >= 0 else None


def _word(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _reasoning(message: dict[str, Any]) -> str:
    """Servers call it by one name or the other, and some by both."""
    return _text(message.get("reasoning_content")) or _text(message.get("reasoning"))


def _text(content: Any) -> str:
    """A message's content: a text, parts of which some are text, or nothing at all."""
    if isinstance(content, list):
        return "".join(text for part in content if isinstance(text := _get(part, "text"), str))
    return content if isinstance(content, str) else ""
