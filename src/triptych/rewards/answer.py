"""The answer reward: how right the answer is, by problem type, and whether the reasoning agrees.

Measures per type follow HumanOmniV2 (arXiv 2506.21277):

| type | reward |
|---|---|
| multiple choice, yes/no | 1 if equal, else 0 |
| multi-select | F1 of the two sets of letters |
| numerical | 1 if equal when rounded to two decimals, else 0 |
| ocr | 1 - word error rate, at least 0; case and spacing do not count |
| free form | ROUGE-L F1: a stand-in for a judge; it sees words, not meaning |
| regression | 1 - abs(answer - gold) / abs(gold), at least 0 |

An answer that is absent, blank or unreadable is wrong: 0. Where the reasoning states a conclusion
and the answer is another one, the answer is 0 even if it is right: it does not rest on the
reasoning, and rewarding it would teach to ignore it. An option that is only spoken of ("(A) would
need a smile") is no such conclusion.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import jiwer
from rouge_score.rouge_scorer import RougeScorer

from triptych.errors import DataError
from triptych.rewards.base import LogUnscored, Unscored, rows, settle, staged
from triptych.rewards.conclusion import conclusions
from triptych.rewards.reading import read_answer, read_number
from triptych.rewards.words import SENTENCE_END, read_text
from triptych.stages.format import StagedOutput
from triptych.stages.prompt import ProblemType


def answer_reward(
    prompts: Sequence[Any],
    completions: Sequence[Any],
    *,
    problem_type: Sequence[str],
    answer: Sequence[str | None],
    options: Sequence[Sequence[str] | None] | None = None,
    log_unscored: LogUnscored | None = None,
    **_: Any,
) -> list[float | None]:
    """Reward the answer stage; see the head of the module.

    Returns:
        One value in [0, 1] per completion; None where the sample's own answer cannot be read.

    Raises:
        DataError: a problem type is unknown, or a column has the wrong length.
    """
    table = rows(completions, problem_type=problem_type, answer=answer, options=options)
    return settle(
        (
            score_answer(staged(completion), known_type(kind), gold or "", choices or ())
            for completion, kind, gold, choices in table
        ),
        log_unscored,
    )


def known_type(value: str) -> ProblemType:
    """The problem type of that name.

    Raises:
        DataError: there is none.
    """
    try:
        return ProblemType(value)
    except ValueError as error:
        raise DataError(
            f"problem_type: {value!r} is unknown; use one of {', '.join(ProblemType)}"
        ) from error


def score_answer(
    output: StagedOutput, problem_type: ProblemType, gold: str, options: Sequence[str]
) -> float | Unscored:
    """The reward of one completion."""
    if read_answer(gold, problem_type, options) is None:
        return Unscored.UNREADABLE_GOLD
    value = read_answer(output.answer, problem_type, options)
    if value is None:
        return 0.0
    concluded = conclusions(output.think, problem_type, options)
    if any(stated and stated.contradicts(value) for stated in concluded):
        return 0.0
    return answer_score(output.answer, gold, problem_type, options)


def answer_score(
    answer: str, gold: str, problem_type: ProblemType, options: Sequence[str] = ()
) -> float:
    """How right an answer is by itself, in [0, 1], whatever the reasoning says.

    Raises:
        DataError: `gold` cannot be read as an answer of this type.
    """
    expected = read_answer(gold, problem_type, options)
    if expected is None:
        raise DataError(f"answer: {gold!r} cannot be read as an answer of type {problem_type}")
    value = read_answer(answer, problem_type, options)
    if value is None:
        return 0.0
    match problem_type:
        case ProblemType.MULTI_SELECT:
            return _f1(set(value.split(",")), set(expected.split(",")))
        case ProblemType.OCR:
            return max(0.0, 1.0 - float(jiwer.wer(expected, value)))
        case ProblemType.FREE_FORM:
            return float(_rouge().score(expected, value)["rougeL"].fmeasure)
        case ProblemType.REGRESSION:
            return _closeness(read_number(answer) or 0.0, read_number(gold) or 0.0)
        case _:
            return float(value == expected)


def _f1(chosen: set[str], expected: set[str]) -> float:
    return 2 * len(chosen & expected) / (len(chosen) + len(expected))


def _closeness(value: float, expected: float) -> float:
    """1 - relative error, at least 0. Of a gold of 0, where that is undefined: equal or not."""
    if expected == 0.0:
        return float(value == 0.0)
    return max(0.0, 1.0 - abs(value - expected) / abs(expected))


class _Words:
    """Tokenizer for ROUGE. Its own one drops every letter outside a-z, and with them the answer."""

    def tokenize(self, text: str) -> list[str]:
        return [word for word in read_text(text).words if word != SENTENCE_END]


@lru_cache(maxsize=1)
def _rouge() -> RougeScorer:
    return RougeScorer(["rougeL"], tokenizer=_Words())
