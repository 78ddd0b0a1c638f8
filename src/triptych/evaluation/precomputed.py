"""Predictions that some other program wrote, read and matched with the samples that they answer.

JSONL, one JSON list, or an object with the list under "results". A record is

* one of ours: ``{"sample_id", "text"}``, or ``{"sample_id", "completions": [{"text"}, ...]}``;
* one of HumanOmniV2's evaluation: ``{"output", "prediction", "raw": {...}}``;
* a line of an OpenAI batch: ``{"custom_id", "response": {"body": {"choices": [...]}}}``;
* one of lmms-eval's samples: ``{"doc_id", "doc": {...}, "resps": [["..."]]}``;
* or anything else with an id and a text, under one of `ID_FIELDS` and of `TEXT_FIELDS`.

An id is that of a sample, or what the sample's data set has under the same name. A record without
one is matched by its question, media file and options. Nothing is guessed: what fits no sample, or
several, is an error that names its line.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, TypeAlias

from triptych.data.readers.base import RecordError
from triptych.data.readers.fields import options as read_options
from triptych.data.sample import JSON, Sample
from triptych.errors import DataError
from triptych.generation.engine import NoCompletion, StopReason

ID_FIELDS = ("sample_id", "custom_id", "question_id", "qid", "id", "index", "doc_id")
"""Where the id of a sample is looked for, in this order."""
TEXT_FIELDS = (
    *("output", "response", "completion", "generated_text", "model_output"),
    *("prediction", "pred", "text", "answer"),
)
"""Where the text of a completion is looked for."""

_ASKED = ("raw", "doc")  # where evaluations keep the record that was asked
_QUESTION_FIELDS = ("problem", "question", "Question")
_MEDIA_FIELDS = ("path", "video", "video_path", "image", "audio")
_OPTION_FIELDS = ("options", "candidates", "Choice", "choices")
# Of these pairs the second is made from the first, or is the right answer.
_DERIVED = {("output", "prediction"), ("text", "answer")}
_RESULTS = re.compile(r'"results"\s*:\s*(?=\[)')
_SPACE = re.compile(r"[ \t\r\n]*")
_STOPS = {
    **{str(reason): reason for reason in StopReason},
    "stop": StopReason.END,
    "content_filter": StopReason.WITHHELD,
}

Record: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True)
class Written:
    """A completion that was written before.

    Attributes:
        text: as it was written.
        stop_reason: why it ended; None where the file does not say.
        tokens: how many it has; None where the file does not say.
    """

    text: str
    stop_reason: StopReason | None = None
    tokens: int | None = None


@dataclass(frozen=True)
class Precomputed:
    """The predictions of a file, by sample.

    Attributes:
        written: sample id -> its completions, in the order of the samples.
        unanswered: id of each sample that the file has an error for -> which.
        missing: ids of the samples that the file has nothing for.
    """

    written: Mapping[str, Sequence[Written]]
    unanswered: Mapping[str, NoCompletion]
    missing: tuple[str, ...]


def read_precomputed(
    path: Path,
    samples: Sequence[Sample],
    text_field: str | None = None,
    id_field: str | None = None,
) -> Precomputed:
    """Read the predictions for samples.

    Args:
        path: the file.
        samples: what was asked.
        text_field: the field with the text; by default the one of `TEXT_FIELDS` that is there.
        id_field: the field with the id; by default the first of `ID_FIELDS` that is there.

    Raises:
        DataError: the file cannot be read or holds nothing, or a record is none of the forms above,
            fits no sample or several, or fits one that has a prediction. The message reads
            ``file:line: cause; way out``.
    """
    samples_by = _Samples(samples, id_field)
    written: dict[str, Sequence[Written]] = {}
    unanswered: dict[str, NoCompletion] = {}
    line_of: dict[str, int] = {}
    for line, record in _records(path):
        where = f"{path}:{line}"
        sample = samples_by.of(record, where)
        if sample.id in line_of:
            raise DataError(
                f"{where}: sample {sample.id!r} has a prediction in line {line_of[sample.id]}; "
                "keep one of them, or put both into one line as completions: "
                '[{"text": ...}, {"text": ...}]'
            )
        line_of[sample.id] = line
        outcome = _outcome(record, where, text_field)
        if isinstance(outcome, NoCompletion):
            unanswered[sample.id] = outcome
        else:
            written[sample.id] = outcome
    if not line_of:
        raise DataError(f"{path}: holds no predictions; write one JSON object a line")
    return Precomputed(
        {one.id: written[one.id] for one in samples if one.id in written},
        unanswered,
        tuple(one.id for one in samples if one.id not in line_of),
    )


def _records(path: Path) -> Iterator[tuple[int, Record]]:
    """The records of a file, each with the line that it begins in."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text ({error}); save it as UTF-8") from error
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}; name a file of predictions") from error
    start = _begin_of_list(text)
    lines = _lines(path, text) if start is None else _items(path, text, start)
    for line, record in lines:
        if not isinstance(record, dict):
            raise DataError(
                f"{path}:{line}: a JSON {type(record).__name__}, not an object; write "
                '{"sample_id": ..., "text": ...}'
            )
        yield line, record


def _begin_of_list(text: str) -> int | None:
    """Where the list begins that holds all records; None where each has a line of its own."""
    first = _end_of_space(text, 0)
    if text.startswith("[", first):
        return first
    try:  # an object over several lines is no line
        JSON.raw_decode(text[first : text.find("\n", first) % (len(text) + 1)])
    except (ValueError, RecursionError):
        found = _RESULTS.search(text)
        return found.end() if found and text.startswith("{", first) else None
    found = _RESULTS.match(text, _end_of_space(text, first + 1))
    return found.end() if found else None


def _lines(path: Path, text: str) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                yield number, JSON.decode(line)
            except (ValueError, RecursionError) as error:
                raise _not_json(f"{path}:{number}", error) from error


def _items(path: Path, text: str, start: int) -> Iterator[tuple[int, Any]]:
    """The items of a JSON list."""
    line, counted = 1, 0
    position = _end_of_space(text, start + 1)
    while not text.startswith("]", position):
        line, counted = line + text.count("\n", counted, position), position
        where = f"{path}:{line}"
        try:
            item, position = JSON.raw_decode(text, position)
        except (ValueError, RecursionError) as error:
            raise _not_json(where, error) from error
        yield line, item
        position = _end_of_space(text, position)
        if text.startswith(",", position):
            position = _end_of_space(text, position + 1)
        elif not text.startswith("]", position):
            line += text.count("\n", counted, position)
            raise DataError(f"{path}:{line}: the list ends here without its ]; write it whole")


def _end_of_space(text: str, start: int) -> int:
    found = _SPACE.match(text, start)
    return found.end() if found else start


def _not_json(where: str, error: Exception) -> DataError:
    return DataError(f"{where}: not JSON that can be read ({error}); write the record whole")


# --- which sample ---------------------------------------------------------------------------------


class _Samples:
    """Samples by what a record may say of them."""

    def __init__(self, samples: Sequence[Sample], id_field: str | None) -> None:
        self._samples = samples
        self._id_fields = ID_FIELDS if id_field is None else (id_field,)
        self._must_have_id = id_field is not None
        self._by_id = {sample.id: sample for sample in samples}
        self._by_field: dict[str, dict[str, list[Sample]]] = {}
        self._by_question: dict[str, list[Sample]] = defaultdict(list)
        for sample in samples:
            self._by_question[_plain(sample.question)].append(sample)

    def of(self, record: Record, where: str) -> Sample:
        """The sample that a record answers."""
        asked = next((record[name] for name in _ASKED if isinstance(record.get(name), dict)), None)
        field, value = self._id(record, where)
        found = [] if field is None else self._with_id(field, value)
        question = _first(asked or record, _QUESTION_FIELDS)
        if not found and isinstance(question, str) and not self._must_have_id:
            found = self._asked(question, asked or record)
            said = "this question, media file and options"
        else:
            said = f"{field} {value!r}"
        if len(found) > 1:
            raise DataError(
                f"{where}: {said} fits {len(found)} samples ({_ids(found)}); give the id of one "
                "as sample_id"
            )
        if not found:
            named = said if field is not None or question is not None else "a record without an id"
            raise DataError(
                f"{where}: {named} fits none of the {len(self._samples)} samples (they are "
                f"{_ids(self._samples)}); name the data set that was asked, or the field with the "
                "id by --id-field"
            )
        self._check_question(found[0], question, where)
        return found[0]

    def _id(self, record: Record, where: str) -> tuple[str | None, str]:
        field = next((name for name in self._id_fields if record.get(name) is not None), None)
        if field is None:
            if self._must_have_id:
                raise DataError(f"{where}: {self._id_fields[0]}: missing; add it")
            return None, ""
        value = record[field]
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise DataError(f"{where}: {field}: {value!r:.80} is no id; give the sample's, a text")
        return field, str(value)

    def _with_id(self, field: str, value: str) -> Sequence[Sample]:
        """By the sample's own id, else by what its data set calls so."""
        if (sample := self._by_id.get(value)) is not None:
            return [sample]
        if field not in self._by_field:
            named: dict[str, list[Sample]] = defaultdict(list)
            for sample in self._samples:
                if field in sample.extra:
                    named[str(sample.extra[field])].append(sample)
            self._by_field[field] = named
        return self._by_field[field].get(value, [])

    def _asked(self, question: str, asked: Record) -> list[Sample]:
        found = self._by_question.get(_plain(question), [])
        names = _media_names(_first(asked, _MEDIA_FIELDS))
        if names:
            found = [one for one in found if names & {item.path.name for item in one.media}]
        choices = _first(asked, _OPTION_FIELDS)
        if len(found) > 1 and choices is not None:
            try:
                texts = read_options(choices)
            except RecordError:
                return found
            found = [one for one in found if one.options == texts]
        return found

    def _check_question(self, sample: Sample, question: Any, where: str) -> None:
        """Ids may be running numbers of something else; then the questions differ."""
        if not isinstance(question, str):
            return
        one, other = _plain(question), _plain(sample.question)
        if one not in other and other not in one:
            raise DataError(
                f"{where}: its question ({question!r:.60}) is not that of sample {sample.id!r} "
                f"({sample.question!r:.60}); name the data set that was asked"
            )


def _first(record: Record, names: Sequence[str]) -> Any:
    return next((record[name] for name in names if record.get(name) is not None), None)


def _plain(text: str) -> str:
    return " ".join(text.split())


def _media_names(value: Any) -> set[str]:
    values = list(value.values()) if isinstance(value, dict) else [value]
    return {PurePath(one).name for one in values if isinstance(one, str)}


def _ids(samples: Sequence[Sample]) -> str:
    shown = ", ".join(repr(sample.id) for sample in samples[:3])
    return shown + (", ..." if len(samples) > 3 else "")


# --- which text -----------------------------------------------------------------------------------


def _outcome(
    record: Record, where: str, text_field: str | None
) -> Sequence[Written] | NoCompletion:
    if (error := record.get("error")) is not None:
        return _error(error)
    if text_field is not None:
        if text_field not in record:
            raise DataError(f"{where}: {text_field}: missing; add it, or name another --text-field")
        return [_written(record, record[text_field], where, text_field)]
    match record:
        case {"completions": [_, *_] as completions}:
            return [
                _written(one, one.get("text"), where, f"completions.{number}.text")
                if isinstance(one, dict)
                else _written({}, one, where, f"completions.{number}")
                for number, one in enumerate(completions)
            ]
        case {"custom_id": _, "response": dict(response)}:
            return _batch(response, where)
        case {"resps": [[text, *_], *_]} | {"resps": [text, *_]}:
            return [_written(record, text, where, "resps")]
    field = _text_field(record, where)
    return [_written(record, record[field], where, field)]


def _text_field(record: Record, where: str) -> str:
    there = [name for name in TEXT_FIELDS if name in record]
    if not there:
        raise DataError(
            f"{where}: no text of a completion (its fields are {', '.join(record)}); write it as "
            "text, or name its field by --text-field"
        )
    for first, second in _DERIVED:
        if first in there and second in there:
            there.remove(second)
    # An answer beside a prediction is the right one.
    if len(there) > 1 and "answer" in there:
        there.remove("answer")
    if len(there) > 1 and len({repr(record[name]) for name in there}) > 1:
        raise DataError(
            f"{where}: {' and '.join(there)} may both be the text of the completion, and differ; "
            "name the one that is by --text-field"
        )
    return there[0]


def _written(record: Record, text: Any, where: str, field: str) -> Written:
    if not isinstance(text, str):
        raise DataError(f"{where}: {field}: {text!r:.80} is no text; write what the model wrote")
    stop, tokens = record.get("stop_reason"), record.get("tokens")
    return Written(
        text,
        _STOPS.get(stop) if isinstance(stop, str) else None,
        tokens if isinstance(tokens, int) and not isinstance(tokens, bool) else None,
    )


def _batch(response: Record, where: str) -> Sequence[Written] | NoCompletion:
    """Of a line of an OpenAI batch."""
    body = response.get("body")
    status = response.get("status_code", 200)
    if status != 200:
        cause = body.get("error") if isinstance(body, dict) else body
        return NoCompletion("failed", f"status {status}: {cause!r:.200}")
    match body:
        case {"choices": [{"message": {"content": content}, **choice}, *_], **others}:
            usage: Any = others.get("usage") or {}
            facts = {"stop_reason": choice.get("finish_reason")}
            facts["tokens"] = usage.get("completion_tokens")
            return [_written(facts, content, where, "response.body.choices.0.message.content")]
    raise DataError(f"{where}: response.body.choices: holds no message; ask for it again")


def _error(error: Any) -> NoCompletion:
    match error:
        case {"reason": str(reason), "cause": str(cause)}:
            return NoCompletion(reason, cause)
        case {"message": str(cause)}:
            return NoCompletion("failed", cause)
    return NoCompletion("failed", f"{error!s:.200}")
