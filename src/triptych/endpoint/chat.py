"""Chat messages as OpenAI-compatible servers take them, media in their places."""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

Part: TypeAlias = dict[str, Any]
"""A part of a message's content: a text, an image, a video or a sound."""

ChatMessages: TypeAlias = list[dict[str, Any]]
"""Messages whose content is a text, or a list of parts."""


def text_part(text: str) -> Part:
    """A text as a part."""
    return {"type": "text", "text": text}


def chat_messages(
    messages: Sequence[Mapping[str, Any]], media: Sequence[tuple[str, Sequence[Part]]]
) -> ChatMessages:
    """Messages with each place of a media item taken by the item's parts.

    A content that is text alone becomes one string: chat templates read the parts without anything
    between them, but not all servers do, and some take no parts from the system.

    Args:
        messages: in Hugging Face's form; a media item's place is ``{"type": KIND}``.
        media: the kind and the parts of each item, in order.

    Raises:
        ValueError: the places are others than the items.
    """
    left = deque(media)
    filled = [{**message, "content": _content(message["content"], left)} for message in messages]
    if left:
        raise ValueError(f"the messages have no place for {len(left)} of {len(media)} media items")
    return filled


def _content(content: str | Sequence[Part], left: deque[tuple[str, Sequence[Part]]]) -> Any:
    if isinstance(content, str):
        return content
    parts: list[Part] = []
    for part in content:
        if part["type"] == "text":
            parts.append(part)
            continue
        kind, own = left.popleft() if left else ("nothing", ())
        if kind != part["type"]:
            raise ValueError(f"the messages have a place for {part['type']} where {kind} comes")
        parts += own
    if all(part["type"] == "text" for part in parts):
        return "".join(part["text"] for part in parts)
    return parts
