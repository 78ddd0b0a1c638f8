"""What records say in many ways, brought to the one way of a `Sample`.

| field | as found | as it becomes |
|---|---|---|
| options | "A. happy", "(B) sad", a list in a string, a mapping by letter | "happy" |
| answer | "(c)", "C. calm", "calm", ["A", "C"], "1,250", "Yes." | "C", "A,C", "1250", "yes" |
| problem type | "multiple choice", "emer_ov_mc", "judge", "free-form" | a `ProblemType` |
| solution | `<context>`, `<think>` and `<answer>` in one text | reference and answer |
"""

import ast
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from triptych.data.readers.base import Fields, RecordError, SampleFields
from triptych.data.sample import ProblemType
from triptych.stages import ViolationKind, parse
from triptych.stages.prompt import OPTION_LETTERS

_CHOICES = (ProblemType.MULTIPLE_CHOICE, ProblemType.MULTI_SELECT)
_NUMBERS = (ProblemType.NUMERICAL, ProblemType.REGRESSION)

_TYPES = {
    **{str(kind): kind for kind in ProblemType},
    "choice": ProblemType.MULTIPLE_CHOICE,
    "mcq": ProblemType.MULTIPLE_CHOICE,
    "multi_choice": ProblemType.MULTIPLE_CHOICE,
    "single_choice": ProblemType.MULTIPLE_CHOICE,
    "emer_ov_mc": ProblemType.MULTI_SELECT,
    "emer_ov": ProblemType.FREE_FORM,
    "open_ended": ProblemType.FREE_FORM,
    "judge": ProblemType.YES_NO,
    "yes_or_no": ProblemType.YES_NO,
    "number": ProblemType.NUMERICAL,
}

_LETTERED = re.compile(r"\s*(?:\(([A-Z])\)[.:]?|([A-Z])\s*[.):、．：])\s*(.*)", re.DOTALL)
_LETTER = r"[(\[]?([A-Za-z])[)\]]?[.:]?"
_LETTERS = re.compile(rf"{_LETTER}(?:(?:\s*[,;&/]\s*|\s+and\s+|\s+){_LETTER})*")
_THOUSANDS = re.compile(r"[-+]?\d{1,3}(?:,\d{3})+(?:\.\d+)?")


def problem_type(value: Any) -> ProblemType:
    """The problem type that a data set calls so.

    Raises:
        RecordError: there is none.
    """
    name = _type_name(value)
    if name not in _TYPES:
        raise RecordError(
            "problem_type", f"{value!r:.80} is unknown; use one of {', '.join(ProblemType)}"
        )
    return _TYPES[name]


def is_type(value: Any) -> bool:
    """Whether some data set calls a problem type so."""
    return isinstance(value, str) and _type_name(value) in _TYPES


def _type_name(value: Any) -> str:
    return re.sub(r"[\s_/-]+", "_", str(value).strip().lower())


def options(value: Any) -> tuple[str, ...]:
    """Options as plain texts, in the order of their letters where they carry letters.

    Raises:
        RecordError: it is no list of texts.
    """
    texts = _texts(value)
    by_letter = _by_letter(texts)
    if by_letter:
        return tuple(by_letter[letter] for letter in sorted(by_letter))
    return tuple(option.strip() for option in texts)


def letter_at(value: Any, index: Any) -> str:
    """The letter of the option at an index, counted from 0, which may be written as text.

    Raises:
        RecordError: it is no list of texts, or there is no option at the index.
    """
    texts = _texts(value)
    if str(index) not in map(str, range(len(texts))):
        raise RecordError(
            "answer_idx", f"{index!r:.80} is no index of {len(texts)} options; count from 0"
        )
    letters_there = tuple(_by_letter(texts)) or OPTION_LETTERS
    return letters_there[int(index)]


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        value = _listed(value)
    if isinstance(value, dict):
        lettered = all(letter in tuple(OPTION_LETTERS) for letter in value)
        texts = {key: text(option, "options") for key, option in value.items()}
        value = [f"{key}. {option}" if lettered else option for key, option in texts.items()]
    if not isinstance(value, list | tuple):
        raise RecordError("options", f"no list of options (found {value!r:.80})")
    return [text(option, "options") for option in value]


def _by_letter(texts: Sequence[str]) -> dict[str, str]:
    """The texts by the letters that they carry; empty unless all do, and these are A, B, C ..."""
    matches = map(_LETTERED.fullmatch, texts)
    found = {match[1] or match[2]: match[3].strip() for match in matches if match}
    whole = "".join(sorted(found)) == OPTION_LETTERS[: len(texts)]
    return found if whole else {}


def _listed(written: str) -> Any:
    """The list that a text holds: JSON, Python, one a line, or with "|" between."""
    written = written.strip()
    if written.startswith(("[", "{", "(")):
        for read in (json.loads, ast.literal_eval):
            try:
                found = read(written)
            except (ValueError, SyntaxError, MemoryError, RecursionError):
                continue
            if isinstance(found, list | tuple | dict):
                return found
    parts = written.split("\n") if "\n" in written else written.split("|")
    return [part for part in parts if part.strip()]


def text(value: Any, field: str) -> str:
    """A text, or a number as text.

    Raises:
        RecordError: it is neither.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise RecordError(field, f"not a text (found {value!r:.80})")


def letters(answer: Any, texts: Sequence[str]) -> str:
    """The letters of the options that an answer names, such as "A,C"; unchanged if it names none.

    It may name them by letter, by text, or by both.

    Raises:
        RecordError: the answer names an option by the letter of another one.
    """
    if isinstance(answer, list | tuple):
        return ",".join(letters(one, texts) for one in answer)
    written = text(answer, "answer").strip()
    shown = OPTION_LETTERS[: len(texts)]
    if _LETTERS.fullmatch(written):
        found = re.findall(r"[A-Z]", re.sub(r"\band\b", " ", written).upper())
        if set(found) <= set(shown):
            return ",".join(found)
    if (named := _named(written, texts)) is not None:
        return named
    if (match := _LETTERED.fullmatch(written)) and (letter := match[1] or match[2]) in shown:
        option = texts[shown.index(letter)]
        if _plain(match[3]) != _plain(option):
            raise RecordError(
                "answer", f"{written!r:.80} is not option {letter}, {option!r:.80}; make them agree"
            )
        return letter
    if written and set(written) <= set(shown) and list(written) == sorted(set(written)):
        return ",".join(written)
    parts = [_named(part, texts) for part in re.split(r"[,;]", written)]
    return ",".join(part for part in parts if part) if all(parts) else written


def _named(written: str, texts: Sequence[str]) -> str | None:
    """The letter of the one option with this text."""
    found = [i for i, option in enumerate(texts) if _plain(option) == _plain(written)]
    return OPTION_LETTERS[found[0]] if len(found) == 1 and found[0] < len(OPTION_LETTERS) else None


def _plain(written: str) -> str:
    return " ".join(written.casefold().split()).strip(" .,;:!\"'")


def number(answer: Any) -> str:
    """A number without the commas of its thousands."""
    written = text(answer, "answer").strip()
    return written.replace(",", "") if _THOUSANDS.fullmatch(written) else written


def yes_or_no(answer: Any, texts: Sequence[str] = ()) -> str:
    """The word yes or no where the answer says so in another way."""
    if isinstance(answer, bool):
        return "yes" if answer else "no"
    written = text(answer, "answer").strip()
    shown = OPTION_LETTERS[: len(texts)]
    if (named := letters(written, texts)) in tuple(shown):
        written = texts[shown.index(named)]
    return _plain(written)


@dataclass(frozen=True)
class Solution:
    """A solution taken apart.

    Attributes:
        answer: the answer stage, or all of what has no stages; None where stages lack it.
        context, reasoning: the other stages; None where there is none.
        odd: the text, where it holds more than the stages, or not each of them once.
    """

    answer: Any
    context: str | None = None
    reasoning: str | None = None
    odd: str | None = None


def solution(written: str) -> Solution:
    """Take a solution apart; a text without stages is an answer."""
    output = parse(written)
    context, reasoning, answer = (output.bodies[name] for name in ("context", "think", "answer"))
    if context is None and reasoning is None and answer is None:
        return Solution(written.strip())
    known = all(violation.kind is ViolationKind.MISSING for violation in output.violations)
    return Solution(answer, context, reasoning, None if known else written)


def question(
    fields: Fields, asked: str, kind: Any, choices: Any, answer: Any, reference: SampleFields
) -> SampleFields:
    """The fields of a sample that do not depend on the form, save id and media.

    Args:
        fields: the record, of which what is left becomes `extra`.
        asked: the question.
        kind: what the data set calls the problem type; None where it does not say.
        choices: the options in any form; None without any.
        answer: the answer in any form.
        reference: context and reasoning.

    Raises:
        RecordError: the problem type is unknown, or options or answer are of no kind that is read.
    """
    texts = options(choices) if choices else ()
    told = problem_type(kind) if kind is not None else _likely_type(answer, texts)
    if told in _CHOICES:
        answer = letters(answer, texts)
        if "," in answer:
            told = ProblemType.MULTI_SELECT
    elif told is ProblemType.YES_NO:
        answer = yes_or_no(answer, texts)
        if {_plain(option) for option in texts} == {"yes", "no"}:
            texts = ()
    elif told in _NUMBERS:
        answer = number(answer)
    elif isinstance(answer, list | tuple):
        answer = ", ".join(text(one, "answer") for one in answer)
    else:
        answer = text(answer, "answer")
    if kind is not None and _type_name(kind) != told:
        fields.rest["problem_type"] = kind  # two of them may have become one
    return {
        "question": asked,
        "problem_type": told,
        "options": texts,
        "answer": answer,
        "reference": reference,
        "extra": fields.rest,
    }


def _likely_type(answer: Any, texts: Sequence[str]) -> ProblemType:
    """What kind of question it is, where nobody says: by its options, or by its answer."""
    if texts:
        several = isinstance(answer, list | tuple) or "," in letters(answer, texts)
        return ProblemType.MULTI_SELECT if several else ProblemType.MULTIPLE_CHOICE
    if isinstance(answer, bool) or (isinstance(answer, str) and _plain(answer) in ("yes", "no")):
        return ProblemType.YES_NO
    return ProblemType.NUMERICAL if _is_number(answer) else ProblemType.FREE_FORM


def _is_number(answer: Any) -> bool:
    if not isinstance(answer, str | int | float):
        return False
    try:
        return math.isfinite(float(number(answer)))
    except ValueError:
        return False


def reference(context: Any, reasoning: Any) -> SampleFields:
    """The fields of a `Reference` for the texts that there are.

    Raises:
        RecordError: one of them is no text.
    """
    texts = {"context": context, "reasoning": reasoning}
    for name, value in texts.items():
        if value is not None and not isinstance(value, str):
            raise RecordError(name, f"not a text (found {value!r:.80})")
    return {name: value for name, value in texts.items() if value is not None}
