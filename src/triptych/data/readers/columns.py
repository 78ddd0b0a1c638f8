"""Tables and plain records whose columns say what they hold: CSV, Parquet, JSON.

| column | may be called |
|---|---|
| id | id, qid, question_id |
| question | question, problem, query |
| type | problem_type, or question_type where it is one |
| options | options, choices, candidates; or one column each: A, option_a, option_1, a0 ... |
| answer | answer, solution, label, ground_truth; answer_idx, correct_idx: an index, from 0 |
| media | image, video, audio, with _path or as a plural; or path, and data_type |
| reference | context; reasoning, think, rationale |

Case does not count in names. Options in one cell are a JSON or Python list, or have "|" or line
breaks between them. A video is seen; it is heard where a column names a sound. Empty cells are
absent. A solution may hold stages, as in `humanomni`.
"""

import re
from collections.abc import Mapping
from typing import Any

from triptych.data.readers.base import Fields, Form, RecordError, Row, SampleFields
from triptych.data.readers.fields import (
    Solution,
    is_type,
    letter_at,
    question,
    reference,
    solution,
    text,
)
from triptych.data.readers.places import Item, MediaFolder
from triptych.data.sample import MediaKind

_IDS = ("id", "qid", "question_id")
_QUESTIONS = ("question", "problem", "query")
_OPTIONS = ("options", "choices", "candidates")
_ANSWERS = ("answer", "solution", "label", "ground_truth")
_INDICES = ("answer_idx", "answer_index", "correct_idx")
_THOUGHTS = ("reasoning", "think", "rationale")
_MEDIA = {str(kind): (f"{kind}_path", f"{kind}_paths", str(kind), f"{kind}s") for kind in MediaKind}
_FILES = ("path", *(name for names in _MEDIA.values() for name in names))
_NAMED = (_IDS, _QUESTIONS, _OPTIONS, _ANSWERS, _INDICES, _THOUGHTS, _FILES)
_NAMES = {"context", "problem_type", "question_type", "data_type"}.union(*_NAMED)
_BY_LETTER = re.compile(r"(?:(?:option|choice)[ _]?)?([a-z])", re.IGNORECASE)
_BY_NUMBER = re.compile(r"(?:option|choice|a)[ _]?(\d)", re.IGNORECASE)


def _read(row: Row, folder: MediaFolder) -> SampleFields:
    fields = Fields(_by_known_names(row.fields))
    name = fields.take(*_IDS)
    asked = text(fields.need(*_QUESTIONS), "question")
    choices = fields.take(*_OPTIONS) or _one_column_each(fields)
    solved = _solution(fields, choices)
    context = fields.take("context") or solved.context
    thought = fields.take(*_THOUGHTS) or solved.reasoning
    kind = fields.take("problem_type")
    if kind is None and is_type(fields.rest.get("question_type")):
        kind = fields.take("question_type")
    media = _media(fields, folder)
    sample = question(fields, asked, kind, choices, solved.answer, reference(context, thought))
    if solved.odd is not None:
        fields.rest["solution"] = solved.odd
    return {"id": row.name if name is None else text(name, "id"), "media": media, **sample}


def _by_known_names(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record with the names that are known in lower case, unless that name is taken."""
    return {
        low if (low := name.lower()) in _NAMES and low not in record else name: value
        for name, value in record.items()
    }


def _one_column_each(fields: Fields) -> list[Any] | None:
    """The options that have columns of their own; None without any.

    Raises:
        RecordError: there is a gap between them, so that letters would move.
    """
    for pattern, signs in ((_BY_LETTER, "abcdefghijklmnopqrstuvwxyz"), (_BY_NUMBER, "0123456789")):
        columns = {m[1].lower(): name for name in fields.rest if (m := pattern.fullmatch(name))}
        first = signs.find(min(columns, default="-"))
        if len(columns) < 2 or first not in (0, 1) or (first == 1 and signs[0] == "a"):
            continue
        expected = signs[first : first + len(columns)]
        if missing := [sign for sign in expected if sign not in columns]:
            raise RecordError("options", f"option {missing[0]!r} is empty, but a later one is not")
        return [fields.rest.pop(columns[sign]) for sign in expected]
    return None


def _solution(fields: Fields, choices: Any) -> Solution:
    if (index := fields.take(*_INDICES)) is not None:
        return Solution(letter_at(choices or [], index))
    answer = fields.need(*_ANSWERS)
    solved = solution(answer) if isinstance(answer, str) else Solution(answer)
    if solved.answer is None:
        raise RecordError("answer", "has stages, but no <answer>; add it")
    return solved


def _media(fields: Fields, folder: MediaFolder) -> list[Item]:
    items: list[Item] = []
    if (path := fields.take("path")) is not None:
        kind = fields.take("data_type")
        told = None if kind is None else text(kind, "data_type")
        items += folder.items(path, told, "path", with_sound=False)
    for kind, names in _MEDIA.items():
        if (value := fields.take(*names)) is not None:
            items += folder.items(value, kind, kind, with_sound=False)
    if not items:
        raise RecordError("media", f"no column names a file; add one of {', '.join(_FILES)}")
    return items


COLUMNS = Form("columns", (_QUESTIONS, (*_ANSWERS, *_INDICES), _FILES), _read, any_case=True)
