r"""Chat messages, as TRL, ms-swift and ShareGPT write them::

    {"messages": [{"role": "user", "content": "<video><audio>What does he want?\nA. help\nB. rest"},
                  {"role": "assistant", "content": "<answer>A</answer>"}],
     "videos": ["a.mp4"], "audios": ["a.wav"], "solution": "A"}

* Messages stand under messages, conversations ("from" and "value"), or prompt and completion.
* A content is a text with <image>, <video> and <audio> where media belong, or a list of parts.
  Media that no place is given to come first.
* There is one question: one turn of the user, and at most one of the assistant. The answer is that
  of `solution` (or answer, ground_truth), or else the assistant's; stages become the reference.
* Options at the end of the question, one a line, are taken out of it when the answer names them.
* What the system says goes to `extra`: Triptych asks for its format in its own words.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from triptych.data.readers.base import Fields, Form, RecordError, Row, SampleFields
from triptych.data.readers.fields import (
    Solution,
    letters,
    options,
    question,
    reference,
    solution,
    text,
)
from triptych.data.readers.places import Item, MediaFolder
from triptych.stages.prompt import OPTION_LETTERS

_TURNS = ("messages", "conversations", "prompt")
_ROLES = {"human": "user", "gpt": "assistant"}
_PLACE = re.compile(r"<(image|video|audio)>")
_KINDS = ("image", "video", "audio")
_OPTION_LINE = re.compile(r"\s*\(?([A-Z])[.):]\s*\S")
_HEADING = re.compile(r"\s*(?:options|choices)\s*:?\s*", re.IGNORECASE)


@dataclass(frozen=True)
class _Turn:
    """What one side says, and the media in it: each a kind, with a path where that is given."""

    role: str
    said: str
    media: tuple[tuple[str, Any], ...]


def _read(row: Row, folder: MediaFolder) -> SampleFields:
    fields = Fields(row.fields)
    turns = _turns(fields)
    asked = _only(turns, "user")
    if asked is None:
        raise RecordError("messages", "the user asks nothing; add a turn of the user")
    media = _media(asked, fields, folder)
    replied = _only(turns, "assistant")
    if told := [turn.said for turn in turns if turn.role == "system"]:
        fields.rest["system"] = "\n".join(told)
    solved = _solution(fields, replied.said if replied else None)
    name, kind = fields.take("id"), fields.take("problem_type")
    said, choices = asked.said, fields.take("options", "choices")
    if choices is None:
        said, choices = _options_within(said, solved.answer)
    sample = question(
        fields, said, kind, choices, solved.answer, reference(solved.context, solved.reasoning)
    )
    return {"id": row.name if name is None else text(name, "id"), "media": media, **sample}


def _turns(fields: Fields) -> list[_Turn]:
    field = next((name for name in _TURNS if fields.rest.get(name) is not None), "messages")
    found = fields.need(field)
    if field == "prompt":
        found = _as_messages(found, "user", field)
        found += _as_messages(fields.take("completion") or [], "assistant", "completion")
    if not isinstance(found, list):
        raise RecordError(field, f"no list of messages (found {found!r:.80})")
    return [_turn(message, f"{field}.{i}") for i, message in enumerate(found)]


def _as_messages(value: Any, role: str, field: str) -> list[Any]:
    if isinstance(value, str):
        return [{"role": role, "content": value}]
    if isinstance(value, list):
        return list(value)
    raise RecordError(field, f"neither a text nor a list of messages (found {value!r:.80})")


def _turn(message: Any, field: str) -> _Turn:
    if not isinstance(message, dict):
        raise RecordError(field, f"not a message (found {message!r:.80})")
    role, content = message.get("role", message.get("from")), message.get("content")
    content = message.get("value") if content is None else content
    role = _ROLES.get(str(role), role)
    if role not in ("system", "user", "assistant"):
        raise RecordError(field, f"role {role!r:.80} is none of system, user, assistant")
    if isinstance(content, str):
        media = tuple((kind, None) for kind in _PLACE.findall(content))
        return _Turn(role, _PLACE.sub("", content).strip(), media)
    if not isinstance(content, list):
        raise RecordError(
            field, f"its content is neither a text nor a list (found {content!r:.80})"
        )
    texts: list[str] = []
    items: list[tuple[str, Any]] = []
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text":
            texts.append(text(part.get("text"), field))
        elif kind in _KINDS:
            given = (part.get(key) for key in (kind, "path", "url"))
            items.append((kind, next((path for path in given if path), None)))
        else:
            raise RecordError(field, f"no part of a message that is known (found {part!r:.80})")
    return _Turn(role, "\n".join(texts).strip(), tuple(items))


def _only(turns: Sequence[_Turn], role: str) -> _Turn | None:
    found = [turn for turn in turns if turn.role == role]
    if len(found) > 1:
        raise RecordError("messages", f"{len(found)} turns of the {role}; keep one question")
    return found[0] if found else None


def _media(asked: _Turn, fields: Fields, folder: MediaFolder) -> list[Item]:
    """The media in the order of their places; those without a place before them."""
    listed: dict[str, list[Any]] = {}
    for kind in _KINDS:
        value = fields.take(f"{kind}s", kind)
        listed[kind] = value if isinstance(value, list) else [] if value is None else [value]
        places = sum(part == (kind, None) for part in asked.media)
        if places and places != len(listed[kind]):
            raise RecordError(
                f"{kind}s", f"{len(listed[kind])} of them, but {places} places <{kind}>; match them"
            )
    placed = [(kind, listed[kind].pop(0) if path is None else path) for kind, path in asked.media]
    unplaced = [(kind, path) for kind in _KINDS for path in listed[kind]]
    return [
        item
        for kind, path in unplaced + placed
        for item in folder.items(path, kind, f"{kind}s", with_sound=False)
    ]


def _solution(fields: Fields, replied: str | None) -> Solution:
    """The answer of the record, and the stages of whichever has them."""
    given = fields.take("solution", "answer", "ground_truth")
    if given is None and replied is None:
        raise RecordError("solution", "missing, and the assistant says nothing; add one of them")
    of_reply = solution(replied) if replied is not None else Solution(None)
    if given is None:
        solved = of_reply
    else:
        solved = solution(given) if isinstance(given, str) else Solution(given)
        if of_reply.context is None and of_reply.reasoning is None:
            if replied not in (None, given):
                fields.rest["response"] = replied
        else:
            solved = Solution(solved.answer, of_reply.context, of_reply.reasoning, solved.odd)
    if solved.answer is None:
        raise RecordError("solution", "has stages, but no <answer>; add it")
    for name, value in (("solution", solved.odd), ("response", of_reply.odd)):
        if value is not None:
            fields.rest[name] = value
    return solved


def _options_within(said: str, answer: Any) -> tuple[str, tuple[str, ...] | None]:
    """A question without the options in it, and these; the question as it is without any."""
    lines = said.split("\n")
    found = [match[1] if (match := _OPTION_LINE.match(line)) else "" for line in lines]
    first = found.index("A") if "A" in found else len(lines)
    # Up to the first line that does not carry the next letter.
    pairs = zip(found[first:], OPTION_LETTERS, strict=False)
    count = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    if count < 2:
        return said, None
    texts = options(lines[first : first + count])
    named = letters(answer, texts) if isinstance(answer, str | list) else ""
    if not named or not set(named.split(",")) <= set(OPTION_LETTERS[:count]):
        return said, None
    before = lines[:first]
    if before and _HEADING.fullmatch(before[-1]):
        del before[-1]
    return "\n".join([*before, *lines[first + count :]]).strip(), texts


CHAT = Form("chat", (_TURNS,), _read)
