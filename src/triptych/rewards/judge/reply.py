"""The score in a judge's reply.

Nothing is guessed and nothing is clipped. A reply from which no score within the scale can be read
is a `BadReplyError`, whatever else it says.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, NoReturn

from triptych.endpoint.reply import BadReplyError, Reply
from triptych.rewards.judge.rubrics import Rubric

_LONGEST = 50_000  # characters; an object of a few numbers does not need them
_SHOWN = 80  # characters of a bad reply in messages
_END_OF_THOUGHT = "</think>"
_OBJECT = re.compile(r'\{\s*"')


def read_score(reply: Reply, rubric: Rubric) -> float:
    """The score in [0, 1] that a reply gives.

    The text is the JSON object that was asked for, or there is exactly one such object in it (in
    prose, between code fences); what a reasoning model thinks before does not count.

    Raises:
        BadReplyError: there is none, there are several that differ, or a number is missing, not
            whole or off the scale.
    """
    try:
        return _read_score(reply.text, rubric)
    except BadReplyError as error:
        hint = " (cut off; raise judge.max_tokens)" if reply.cut_off else ""
        shown = reply.text if len(reply.text) <= _SHOWN else reply.text[:_SHOWN] + "..."
        raise BadReplyError(f"{error}{hint} in {shown!r}") from None


def _read_score(text: str, rubric: Rubric) -> float:
    if len(text) > _LONGEST:
        raise BadReplyError(f"a reply of {len(text)} characters")
    said = text.rpartition(_END_OF_THOUGHT)[2].strip()
    if not said:
        raise BadReplyError("an empty reply")
    verdicts = [found for found in _objects(said) if not rubric.criteria.keys().isdisjoint(found)]
    if not verdicts:
        raise BadReplyError("no JSON object with the wanted keys")
    if any(verdict != verdicts[0] for verdict in verdicts):
        raise BadReplyError("several JSON objects that differ")
    points = [_points(verdicts[0], name, most) for name, most in rubric.criteria.items()]
    return sum(points) / rubric.max_points


def _points(verdict: dict[str, Any], name: str, most: int) -> int:
    if name not in verdict:
        raise BadReplyError(f"{name!r} is missing")
    value = verdict[name]
    whole = type(value) is int or (type(value) is float and value.is_integer())
    if not whole or not 0 <= value <= most:
        raise BadReplyError(f"{name!r} is {str(value)[:20]!r}, no whole number from 0 to {most}")
    return int(value)


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """The JSON objects in a text, each of which stands in no other.

    What stands within a broken one is no verdict: it may be quoted from the candidate.
    """
    begin = _OBJECT.search(text)
    while begin:
        try:
            found, end = _JSON.raw_decode(text, begin.start())
        except (ValueError, RecursionError) as error:
            raise BadReplyError("a broken JSON object") from error
        yield found
        begin = _OBJECT.search(text, end)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object that scores the same thing twice says nothing."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice")
    return found


_JSON = json.JSONDecoder(parse_constant=_refuse_constant, object_pairs_hook=_without_repetition)
