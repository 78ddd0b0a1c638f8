"""The metric of HumanOmniV2's published evaluation (arXiv 2506.21277), without its mistakes.

The answer is what the first ``<answer>...</answer>`` holds. By the problem type of the record:

| type | score |
|---|---|
| multiple choice | 1 if equal to the letter, else 0 |
| emer_ov_mc | F1 of the two sets of letters |
| judge | 1 if it says the right one of yes and no, else 0 |
| numerical | 1 if equal when rounded to two decimals, and both or neither have decimals, else 0 |
| regression | share of the thresholds t = 0.50, 0.55 ... 0.95 with relative error below 1 - t |
| OCR, free-form | none: the published code has no metric for them |

What is strict there is kept: letters are upper case and stand alone ("b" and "B. happy" are
wrong), "3" does not answer "3.0". What differs, because no reader of the paper expects it:

* **no answer**: without an answer tag, or with an empty one, the published code scores the text of
  another completion, the last one that its first process wrote. Here it is wrong: 0.
* **spaces**: the letters of "A, C" are to it "A" and " C". Here the spaces do not count.
* **repeats**: a letter that is named twice, or a comma too many, costs precision. Here a set is a
  set.
* **parts of words**: it finds "no" in "I cannot know" and "yes" in "eyes". Here words are words.
* **both**: it gives "yes and no" full marks. Here that is no answer to a yes/no question: 0.
* **thousands**: it takes the comma of "1,250" for a decimal point when it asks whether both numbers
  have decimals. Here that comma separates thousands.
* **gold**: a reference answer without a tag is empty to it, and one that is written "(B)" or "B."
  is never matched. Here the reader of the data set has brought it to the form "B".
* **no metric**: OCR and free-form questions score 0. Here they have no score: None.
"""

import re
from enum import StrEnum

import numpy as np

from triptych.data.sample import ProblemType, Sample

_ANSWER = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
_WORDS = re.compile(r"\w+")
_THRESHOLDS = np.array([0.5 + 0.05 * step for step in range(10)], np.float32)
_TINY = 1e-8  # what the relative error of a gold of 0 is divided by


class PublishedType(StrEnum):
    """The problem types of HumanOmniV2's records, as they are written there."""

    MULTIPLE_CHOICE = "multiple choice"
    """One letter."""

    EMOTIONS = "emer_ov_mc"
    """The letters of all emotions that are shown (EMER)."""

    JUDGE = "judge"
    """Yes or no."""

    NUMERICAL = "numerical"
    """One number."""

    REGRESSION = "regression"
    """One number, the closer the better."""

    OCR = "OCR"
    """Text that is read off."""

    FREE_FORM = "free-form"
    """A text."""


_TYPE_OF = {
    ProblemType.MULTIPLE_CHOICE: PublishedType.MULTIPLE_CHOICE,
    ProblemType.MULTI_SELECT: PublishedType.EMOTIONS,
    ProblemType.YES_NO: PublishedType.JUDGE,
    ProblemType.NUMERICAL: PublishedType.NUMERICAL,
    ProblemType.REGRESSION: PublishedType.REGRESSION,
    ProblemType.OCR: PublishedType.OCR,
    ProblemType.FREE_FORM: PublishedType.FREE_FORM,
}


def published_type(sample: Sample) -> PublishedType:
    """The problem type that a sample's record has, or would have, there."""
    written = sample.extra.get("problem_type")  # kept where two of theirs are one of ours
    if written in tuple(PublishedType):
        return PublishedType(written)
    return _TYPE_OF[sample.problem_type]


def published_score(sample: Sample, text: str) -> float | None:
    """The score in [0, 1] of a completion; None where there is no metric for the problem type."""
    kind = published_type(sample)
    if kind in (PublishedType.OCR, PublishedType.FREE_FORM):
        return None
    found = _ANSWER.search(text)
    answer = found[1].strip() if found else ""
    match kind:
        case PublishedType.EMOTIONS:
            return _f1(_letters(answer), _letters(sample.answer))
        case PublishedType.JUDGE:
            said = {"yes", "no"}.intersection(_WORDS.findall(answer.lower()))
            return float(said == {sample.answer})
        case PublishedType.NUMERICAL:
            return float(_equal_numbers(answer, sample.answer))
        case PublishedType.REGRESSION:
            return _mean_relative_accuracy(answer, sample.answer)
        case _:
            return float(answer == sample.answer)


def _letters(answer: str) -> set[str]:
    return {part.strip() for part in answer.split(",")} - {""}


def _f1(chosen: set[str], expected: set[str]) -> float:
    both = len(chosen & expected)
    return 2 * both / (len(chosen) + len(expected))


def _equal_numbers(answer: str, gold: str) -> bool:
    value, expected = _number(answer), _number(gold)
    if value is None or expected is None or ("." in answer) != ("." in gold):
        return False
    return round(value, 2) == round(expected, 2)


def _mean_relative_accuracy(answer: str, gold: str) -> float:
    """In single precision, as there: at a threshold the last bit decides."""
    value, expected = _number(answer), _number(gold)
    if value is None or expected is None:
        return 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        number, target = np.float32(value), np.float32(expected)
        error = np.abs(number - target) / (np.abs(target) + np.float32(_TINY))
    return float(np.mean(error < 1 - _THRESHOLDS))


def _number(text: str) -> float | None:
    try:
        return float(text.replace(",", ""))
    except ValueError:
        return None
