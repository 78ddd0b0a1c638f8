"""Answers as values: what an answer text says, by problem type, in one canonical form.

The same reading serves the gold answer, the model's answer and the conclusion of its reasoning,
so that the three can be compared as strings: "B", "A,C", "yes", "3.50".
"""

import math
import re
from collections.abc import Sequence
from functools import lru_cache

from triptych.rewards.words import normalise, phrase_key, plain_characters, read_text
from triptych.stages.prompt import OPTION_LETTERS, ProblemType

_WRAPPING = " \t\r\n\"'`*_"
_PREAMBLE = re.compile(
    r"(?:the\s+)?(?:(?:correct|final|best|right)\s+)?(?:answer|option|choice)s?\b"
    r"\s*(?:is\b|are\b)?\s*[:=]?\s*",
    re.IGNORECASE,
)
_SEPARATORS = re.compile(r"\s*(?:[,;/&+]|\band\b)\s*|\s+|(?<=[)\]])(?=[(\[])", re.IGNORECASE)
_TEXT_TYPES = (ProblemType.OCR, ProblemType.FREE_FORM)
_LETTER = re.compile(r"[(\[]?([A-Za-z])[)\]]?[.:]?")
_LETTER_AND_TEXT = re.compile(r"[(\[]?([A-Za-z])(?:[)\]][.:]?|[.:])\s*(\S.*)", re.DOTALL)
_BOXED = re.compile(r"\\boxed\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
LATEX_TEXT = re.compile(r"\\(?:text|textbf|mathrm|mathbf)\s*\{([^{}]*)\}")
# "3,5" is no number here: it may be a decimal comma or two numbers.
_NUMBER = re.compile(
    r"(?<![\w.,])[-+]?(?:\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)(?:e[-+]?\d+)?"
    r"(?![,._]?\d)"
)
# A minus sign that stands apart from its number; between two numbers it is none.
_MINUS_BEFORE = re.compile(
    r"(?:(?:^|[:=(]|\b(?:is|are|be|about))\s*-\s*[$\u20ac\u00a3\u00a5]?"
    r"|(?<![\w.,])-[$\u20ac\u00a3\u00a5]|\b(?:minus|negative)\s+[$\u20ac\u00a3\u00a5]?)\s*$"
)
_MINUS_NEAR = 16  # characters


def read_answer(text: str, problem_type: ProblemType, options: Sequence[str] = ()) -> str | None:
    """What an answer says, in canonical form; None when it is blank or cannot be read.

    Multiple choice gives a letter, multi-select sorted letters "A,C", yes/no "yes" or "no",
    numbers two decimals; other types give the normalised text. Cached: several rewards read the
    same answer, and all completions of a sample its gold answer.
    """
    return _read_answer(text, problem_type, tuple(options))


@lru_cache(maxsize=8192)
def _read_answer(text: str, problem_type: ProblemType, options: tuple[str, ...]) -> str | None:
    if problem_type not in _TEXT_TYPES:
        text = _unboxed(text)
    match problem_type:
        case ProblemType.MULTIPLE_CHOICE:
            return read_choice(text, options)
        case ProblemType.MULTI_SELECT:
            letters = read_letters(text, options)
            return ",".join(sorted(letters)) if letters else None
        case ProblemType.YES_NO:
            return read_yes_no(text)
        case ProblemType.NUMERICAL | ProblemType.REGRESSION:
            number = read_number(text)
            return None if number is None else canonical_number(number)
        case ProblemType.FREE_FORM if not read_text(text).words:
            return None
        case _:
            return normalise(text) or None


def _unboxed(text: str) -> str:
    r"""What stands in the one box of a text, LaTeX's "\boxed{B}"; without one, the text."""
    boxes = _BOXED.findall(text) if "\\boxed" in text else []
    return LATEX_TEXT.sub(r"\1", boxes[0]) if len(boxes) == 1 else text


def letters_of(options: Sequence[str]) -> str:
    """The letters that may be answered; all of them where the options are not known."""
    return OPTION_LETTERS[: len(options)] if options else OPTION_LETTERS


def read_choice(text: str, options: Sequence[str] = ()) -> str | None:
    """The one letter that an answer chooses: "B", "b", "(B)", "B. happy", or an option's text.

    A letter with another wording after it ("B. because she smiles") is accepted as long as that
    wording speaks of no other option.
    """
    letters = read_letters(text, options)
    if letters is not None:
        return next(iter(letters)) if len(letters) == 1 else None
    found = _LETTER_AND_TEXT.fullmatch(_without_preamble(plain_characters(text).strip(_WRAPPING)))
    if found and _names_no_other(found[2], found[1].upper(), options):
        return found[1].upper()
    return None


def _names_no_other(wording: str, letter: str, options: Sequence[str]) -> bool:
    allowed = letters_of(options)
    padded = read_text(wording).padded
    others = (
        phrase_key(text) for other, text in zip(allowed, options, strict=False) if other != letter
    )
    # A capital before a lower-case word is the article "A" or the pronoun "I".
    loose = set(re.findall(rf"\b[{allowed}]\b(?!\s+[a-z])", wording)) - {letter}
    return letter in allowed and not loose and not any(key and key in padded for key in others)


def read_letters(text: str, options: Sequence[str] = ()) -> frozenset[str] | None:
    """The letters that an answer names, by letters, texts of options, or both.

    "B, E", "E,B", "B and E", "(B) (E)" and "BE" (capitals only) are the same. A letter beside a
    text that is another option's, and anything that is neither letter nor option, make the whole
    answer unreadable: None.
    """
    plain = plain_characters(text).strip(_WRAPPING)
    # An option may itself begin with "The answer", so the text is first read as it is.
    for bare in (plain, _without_preamble(plain)):
        letters = _bare_letters(bare, options) or _letters_by_text(bare, tuple(options))
        if letters:
            return letters
    return None


def _without_preamble(text: str) -> str:
    return _PREAMBLE.sub("", text, count=1).strip(_WRAPPING) if _PREAMBLE.match(text) else text


def _bare_letters(text: str, options: Sequence[str]) -> frozenset[str] | None:
    allowed = letters_of(options)
    if text and set(text) <= set(allowed) and len(set(text)) == len(text):
        return frozenset(text)
    found = [_LETTER.fullmatch(part) for part in _SEPARATORS.split(text.rstrip(".,;")) if part]
    letters = frozenset(match[1].upper() if match else "" for match in found)
    return letters if letters <= set(allowed) else None


def _letters_by_text(text: str, options: tuple[str, ...]) -> frozenset[str] | None:
    """The options whose texts make up the answer, each with or without its own letter before."""
    rest = read_text(text.replace("&", " and ")).padded
    letters = set()
    for letter, pattern in _option_patterns(options):
        rest, count = pattern.subn(" ", rest)
        if count:
            letters.add(letter)
    return frozenset(letters) if letters and not set(rest.split()) - {"and", "."} else None


@lru_cache(maxsize=4096)
def _option_patterns(options: tuple[str, ...]) -> list[tuple[str, re.Pattern[str]]]:
    """Per option a pattern of its text among words, the longest first; ambiguous ones left out."""
    keys = [phrase_key(option) for option in options]
    pairs = [(key, OPTION_LETTERS[i]) for i, key in enumerate(keys) if key and keys.count(key) == 1]
    pairs.sort(key=lambda pair: -len(pair[0]))
    return [
        (letter, re.compile(rf"(?: {letter.lower()}(?: \.)?)?{re.escape(key[:-1])}(?= )"))
        for key, letter in pairs
    ]


def read_yes_no(text: str) -> str | None:
    """Whether a text says yes or no: the one of the two words that stands in it by itself."""
    said = set(re.findall(r"\b(?:yes|no)\b", normalise(text)))
    return said.pop() if len(said) == 1 else None


def read_number(text: str) -> float | None:
    """The one number of a text; None when there is none, are several, or it is not finite.

    Takes thousands in groups ("1,234.5"), units after it ("5kg", "12 %") and any minus sign, which
    may stand apart ("- 5", "-$5", "minus 5").
    """
    values = list(find_numbers(normalise(_unboxed(text))).values())
    return values[0] if len(values) == 1 and math.isfinite(values[0]) else None


def find_numbers(text: str) -> dict[int, float]:
    """All numbers of a normalised text by their start."""
    found = {match.start(): match[0].replace(",", "") for match in _NUMBER.finditer(text)}
    return {
        start: -float(number) if _is_minus(text, start) else float(number)
        for start, number in found.items()
    }


def _is_minus(text: str, start: int) -> bool:
    """Whether a minus stands apart before the number that starts there and has no sign itself."""
    near = max(0, start - _MINUS_NEAR)
    if text[start] in "+-" or not any(sign in text[near:start] for sign in ("-", "nus", "gative")):
        return False
    return _MINUS_BEFORE.search(text, near, start) is not None


def canonical_number(value: float) -> str:
    """Two decimals, the precision at which numbers are compared."""
    return f"{round(value, 2) + 0.0:.2f}"  # + 0.0: there is no "-0.00"
