"""Predictions that some other program wrote, read and matched with the samples that they answer.

JSONL, one JSON list, or an object with the list under "results". A record is

* one of ours: ``{"sample_id", "text"}``, or ``{"sample_id", "completions": [{"text"}, ...]}``;
* one of HumanOmniV2's evaluation: ``{"output", "prediction", "raw": {...}}``;
* a line of an OpenAI batch: ``{"custom_id", "response": {"body": {"choices": [...]}}}``;
* one of lmms-eval's samples: ``{"doc_id", "doc": {...}, "resps": [["..."]]}``;
* or anything else with an id and a text, under one of `ID_FIELDS` and of `TEXT_FIELDS`. An `answer`
  is taken for the text only where nothing else may be: data sets call the right answer so.

An id is that of a sample, or what the sample's data set has under the same name. A record without
one is matched by its question, media file and options. Nothing is guessed: what fits no sample, or
several, is an error that names its line.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from triptych.data.readers.base import RecordError
from triptych.data.readers.fields import options as read_options
from triptych.data.sample import Sample
from triptych.errors import DataError
from triptych.evaluation.record_files import Record, read_records
from triptych.generation.engine import NoCompletion, StopReason
from triptych.rewards.reading import read_answer

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
# What may stand beside an answer and is no text of a completion.
_NO_TEXTS = {
    *("answer", "stop_reason", "finish_reason", "problem_type", "media", "reference", "extra"),
    *(*ID_FIELDS, *_ASKED, *_QUESTION_FIELDS, *_MEDIA_FIELDS, *_OPTION_FIELDS),
}
_STOPS = {
    **{str(reason): reason for reason in StopReason},
    "stop": StopReason.END,
    "content_filter": StopReason.WITHHELD,
}


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
    is_data = text_field is None
    for line, record in read_records(path):
        where = f"{path}:{line}"
        sample = samples_by.of(record, where)
        if sample.id in line_of:
            raise DataError(
                f"{where}: sample {sample.id!r} has a prediction in line {line_of[sample.id]}; "
                "keep one of them, or put both into one line as completions: "
                '[{"text": ...}, {"text": ...}]'
            )
        line_of[sample.id] = line
        is_data = is_data and _may_be_data(record, sample)
        outcome = _outcome(record, where, text_field)
        if isinstance(outcome, NoCompletion):
            unanswered[sample.id] = outcome
        else:
            written[sample.id] = outcome
    if not line_of:
        raise DataError(f"{path}: holds no predictions; write one JSON object a line")
    if is_data:
        raise DataError(
            f"{path}: every answer is the right one and stands beside its options or problem type, "
            "as in a data set; name the file with the model's predictions, or, if this is it, say "
            "--text-field answer"
        )
    return Precomputed(
        {one.id: written[one.id] for one in samples if one.id in written},
        unanswered,
        tuple(one.id for one in samples if one.id not in line_of),
    )


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
    if there == ["answer"]:
        _check_answer_is_alone(record, where)
    return there[0]


def _check_answer_is_alone(record: Record, where: str) -> None:
    """Refuse an answer that may be the right one, beside what the model wrote."""
    others = [
        name
        for name, value in record.items()
        if name not in _NO_TEXTS and value and isinstance(value, str | list | dict)
    ]
    if others:
        raise DataError(
            f"{where}: {' or '.join(others)} may be the text of the completion, and answer the "
            "right answer; name the field with the text by --text-field"
        )


def _may_be_data(record: Record, sample: Sample) -> bool:
    """Whether a record may be one of the data set: of its form, and with the right answer."""
    answer = record.get("answer")
    if not isinstance(answer, str) or record.keys() & {*TEXT_FIELDS, "completions"} != {"answer"}:
        return False
    of_a_question = any(name in record for name in (*_OPTION_FIELDS, "problem_type"))
    kind, options = sample.problem_type, sample.options
    return of_a_question and read_answer(answer, kind, options) == read_answer(
        sample.answer, kind, options
    )


def _written(record: Record, text: Any, where: str, field: str) -> Written:
    if not isinstance(text, str):
        raise DataError(f"{where}: {field}: {text!r:.80} is no text; write what the model wrote")
    stop = record.get("stop_reason", record.get("finish_reason"))
    tokens = record.get("tokens")
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
        case {"choices": [_, *more] as choices, **others}:
            usage: Any = others.get("usage") or {}
            # Of several choices the server counts the tokens together.
            tokens = None if more else usage.get("completion_tokens")
            return [
                _choice(choice, tokens, where, f"response.body.choices.{number}.message")
                for number, choice in enumerate(choices)
            ]
    raise DataError(f"{where}: response.body.choices: holds no message; ask for it again")


def _choice(choice: Any, tokens: Any, where: str, field: str) -> Written:
    """One reply of a server; where it ended without a text (is withheld, say), an empty one."""
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(message, dict):
        raise DataError(f"{where}: {field}: missing; ask for it again")
    stop, text = choice.get("finish_reason"), message.get("content")
    if message.get("refusal"):
        stop = StopReason.WITHHELD
    if text is None and isinstance(stop, str) and stop in _STOPS:
        text = ""
    return _written({"stop_reason": stop, "tokens": tokens}, text, where, f"{field}.content")


def _error(error: Any) -> NoCompletion:
    match error:
        case {"reason": str(reason), "cause": str(cause)}:
            return NoCompletion(reason, cause)
        case {"message": str(cause)}:
            return NoCompletion("failed", cause)
    return NoCompletion("failed", f"{error!s:.200}")
