"""The sample: one question about some media, with its answer and its reference; JSONL on disk.

A JSONL file holds one sample a line. Media paths in it are relative to the file's own folder,
so that a data set can be moved as a whole::

    {"id": "q1", "question": "What does the person feel?", "problem_type": "multiple_choice",
     "options": ["happy", "angry"], "answer": "A", "media": [{"kind": "video", "path": "a.mp4"}],
     "reference": {"context": "...", "reasoning": "...", "elements": [...]}, "extra": {}}
"""

import json
import math
import os
import re
import sys
from collections.abc import Iterable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from triptych.errors import DataError
from triptych.stages.prompt import OPTION_LETTERS, ProblemType

__all__ = [
    "Element",
    "Media",
    "MediaKind",
    "ProblemType",
    "Reference",
    "Sample",
    "read_samples",
    "write_samples",
]

_CHOICES = (ProblemType.MULTIPLE_CHOICE, ProblemType.MULTI_SELECT)
_NUMBERS = (ProblemType.NUMERICAL, ProblemType.REGRESSION)

NonBlank = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class MediaKind(StrEnum):
    """What is taken from a media file; one file may serve as video and as audio."""

    IMAGE = "image"
    VIDEO = "video"
    AUDIO = "audio"


class Media(BaseModel):
    """One media item of a prompt: a file, and optionally a part of it in seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: MediaKind
    path: Path
    start: Seconds | None = None
    end: Seconds | None = None

    @model_validator(mode="after")
    def _range_makes_sense(self) -> Self:
        if self.kind is MediaKind.IMAGE and (self.start is not None or self.end is not None):
            raise ValueError("an image has no start or end; remove them")
        if self.end is not None and self.end <= (self.start or 0.0):
            raise ValueError(f"end ({self.end}) must lie after start ({self.start or 0.0})")
        return self


class Element(BaseModel):
    """One thing that a good context names.

    Any of `phrases` counts as naming it; any of `contradictions` says the opposite. `relevant`
    tells whether the answer depends on it, `medium` what it is seen or heard in, where that is
    known.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: NonBlank
    phrases: Annotated[tuple[NonBlank, ...], Field(min_length=1)]
    contradictions: tuple[NonBlank, ...] = ()
    relevant: bool = True
    medium: MediaKind | None = None


class Reference(BaseModel):
    """What a good completion says: the context and reasoning stages, and the context's elements."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    context: str | None = None
    reasoning: str | None = None
    elements: tuple[Element, ...] = ()


class Sample(BaseModel):
    """One question with its media, answer and reference.

    `options` are plain texts without letters. `answer` is a letter ("B"), letters in order
    ("A,C"), "yes" or "no", a number as text, or free text, by `problem_type`; letters and yes/no
    are brought to this form. Top-level fields that the schema does not know are kept in `extra`.
    `media` may be empty but not left out: a misspelt field must not make a text-only sample.
    """

    # "constants": by default, a NaN in `extra` would quietly be written as null.
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    id: NonBlank
    question: NonBlank
    problem_type: ProblemType
    options: tuple[NonBlank, ...] = Field(default=(), validate_default=True)
    answer: NonBlank
    media: tuple[Media, ...]
    reference: Reference = Reference()
    extra: dict[str, Any] = {}

    @model_validator(mode="before")
    @classmethod
    def _keep_unknown_fields(cls, data: Any) -> Any:
        fields = cls.model_fields.keys()
        if not isinstance(data, dict) or data.keys() <= fields:
            return data
        unknown = {key: value for key, value in data.items() if key not in fields}
        extra = data.get("extra", {})
        if not isinstance(extra, dict):
            return data
        if clash := sorted(unknown.keys() & extra.keys()):
            raise ValueError(f"{clash[0]!r} stands both in extra and beside it; keep one of them")
        known = {key: value for key, value in data.items() if key in fields}
        return {**known, "extra": {**extra, **unknown}}

    @field_validator("options")
    @classmethod
    def _options_fit_the_type(
        cls, options: tuple[str, ...], info: ValidationInfo
    ) -> tuple[str, ...]:
        problem_type = info.data.get("problem_type")
        if problem_type in _CHOICES and len(options) < 2:
            raise ValueError(f"{problem_type} needs at least two options, not {len(options)}")
        if len(options) > len(OPTION_LETTERS):
            raise ValueError(f"{len(options)} options, but only {len(OPTION_LETTERS)} letters")
        pairs = zip(OPTION_LETTERS, options, strict=False)
        if options and all(re.match(rf"\(?{letter}[.):]", text) for letter, text in pairs):
            # "A. happy" would be shown as "A. A. happy".
            raise ValueError('options carry letters of their own; write "happy", not "A. happy"')
        return options

    @field_validator("answer")
    @classmethod
    def _answer_fits_the_type(cls, answer: str, info: ValidationInfo) -> str:
        problem_type = info.data.get("problem_type")
        if problem_type in _CHOICES and "options" in info.data:
            return _letters(answer, problem_type, len(info.data["options"]))
        if problem_type is ProblemType.YES_NO:
            if answer.lower() not in ("yes", "no"):
                raise ValueError(f'{answer!r} is neither "yes" nor "no"')
            return answer.lower()
        if problem_type in _NUMBERS and not _is_number(answer):
            raise ValueError(f'{answer!r} is not a plain number such as "12" or "0.5"')
        return answer


def _letters(answer: str, problem_type: ProblemType, num_options: int) -> str:
    """'c, A' -> 'A,C'; refuses letters that name no option."""
    letters = sorted(part.strip().upper() for part in answer.split(","))
    for letter in letters:
        if len(letter) != 1 or letter not in OPTION_LETTERS[:num_options]:
            raise ValueError(
                f"{letter!r} in {answer!r} is no letter of the {num_options} options; "
                f"use A to {OPTION_LETTERS[num_options - 1]}, separated by commas"
            )
    if len(set(letters)) < len(letters):
        raise ValueError(f"{answer!r} names an option twice")
    if problem_type is ProblemType.MULTIPLE_CHOICE and len(letters) > 1:
        raise ValueError(f"{answer!r} names several options; use problem_type multi_select")
    return ",".join(letters)


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text)) and "_" not in text
    except ValueError:
        return False


def read_samples(path: Path) -> list[Sample]:
    """Read a JSONL file; relative media paths become absolute, from the file's folder.

    Blank lines are allowed. Whether the media exist is found out when they are decoded.

    Raises:
        DataError: the file is missing, empty or not UTF-8, a line is not a JSON object, a field
            is wrong, or an id stands twice. The message reads ``file:line: field: cause``.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text ({error}); save it as UTF-8 JSONL") from error
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}; name a readable JSONL file") from error
    samples: list[Sample] = []
    line_of_id: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        sample = _parse_line(line, f"{path}:{number}", path.parent)
        if sample.id in line_of_id:
            raise DataError(
                f"{path}:{number}: id: {sample.id!r} already stands on line "
                f"{line_of_id[sample.id]}; give every sample an id of its own"
            )
        line_of_id[sample.id] = number
        samples.append(sample)
    if not samples:
        raise DataError(f"{path}: holds no samples; write one JSON object a line")
    return samples


def _parse_line(line: str, where: str, folder: Path) -> Sample:
    try:
        sample = Sample.model_validate(parse_object(line))
    except ValidationError as error:
        raise DataError(f"{where}: {': '.join(first_cause(error))}") from error
    except ValueError as error:
        raise DataError(f"{where}: {error}") from error
    media = tuple(
        item.model_copy(update={"path": _absolute(item, folder)}) for item in sample.media
    )
    return sample.model_copy(update={"media": media})


def parse_object(line: str) -> dict[str, Any]:
    """The JSON object on one line.

    Raises:
        ValueError: it is none, or none that could be written again; the message says why, and the
            way out.
    """
    try:
        record = JSON.decode(line)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"not JSON ({error.msg} at column {error.colno}); write one object a line"
        ) from error
    except RecursionError as error:
        raise ValueError("not JSON that can be read: it is nested too deeply") from error
    if not isinstance(record, dict):
        raise ValueError(f"a JSON {type(record).__name__}, not an object; write one object a line")
    check_unicode(record, line)
    return record


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"not JSON ({name:.80} is no finite number); write null in its place")


def _finite(number: str) -> float:
    value = float(number)
    return value if math.isfinite(value) else _refuse_constant(number)


JSON = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)
"""Reads JSON and nothing else; Python's own decoder takes NaN and Infinity, too."""

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def check_unicode(value: Any, written: str, start: int = 0, end: int = sys.maxsize) -> None:
    """Refuse escapes that are half a character: no file in UTF-8 can hold what they stand for.

    Args:
        value: what was read from ``written[start:end]``.
        written: JSON text.
        start: where the value begins in it.
        end: where it ends.

    Raises:
        ValueError: there are some.
    """
    if _SURROGATE.search(written, start, end):
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise ValueError(
                f"holds half a character ({error.object[error.start]!r}); remove it"
            ) from error


def _absolute(item: Media, folder: Path) -> Path:
    return Path(os.path.abspath(folder / item.path))


def first_cause(error: ValidationError) -> tuple[str, str]:
    """The first field of a `Sample` that is wrong; why, and the way out."""
    first = error.errors(include_url=False, include_context=False)[0]
    field = ".".join(str(part) for part in first["loc"]) or "record"
    cause = first["msg"].removeprefix("Value error, ")
    if first["type"] == "missing":
        return field, "missing; add it"
    if first["type"] == "extra_forbidden":
        return field, 'unknown field; remove it, or keep it under "extra"'
    return field, f"{cause} (found {_shorten(first['input'])})"


def _shorten(value: Any, limit: int = 80) -> str:
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def write_samples(path: Path, samples: Iterable[Sample]) -> None:
    """Write samples as JSONL, media paths relative to the file's folder.

    The file appears whole or not at all, and equal samples give equal bytes.

    Raises:
        DataError: an id stands twice, or `extra` holds something that JSON cannot express.
    """
    path = Path(path)
    samples = list(samples)
    _refuse_repeated_ids(path, samples)
    text = "".join(_to_line(sample, path) for sample in samples)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_text(text, encoding="utf-8", newline="\n")
    partial.replace(path)


def _refuse_repeated_ids(path: Path, samples: Sequence[Sample]) -> None:
    seen: set[str] = set()
    for sample in samples:
        if sample.id in seen:
            raise DataError(f"{path}: id: {sample.id!r} stands twice; ids must differ")
        seen.add(sample.id)


def _to_line(sample: Sample, path: Path) -> str:
    folder = os.path.abspath(path.parent)
    try:
        # Defaults are left out to keep lines short; exclude_none would also reach into `extra`.
        record = sample.model_dump(mode="json", exclude_defaults=True)
        for item in record["media"]:
            item["path"] = Path(os.path.relpath(item["path"], folder)).as_posix()
        return json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n"
    except ValueError as error:  # includes pydantic's serialisation error
        raise DataError(
            f"{path}: sample {sample.id!r}: extra: {error}; keep to plain JSON values"
        ) from error
