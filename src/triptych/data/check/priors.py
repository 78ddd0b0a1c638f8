"""How far one gets without looking: the most common answers, and where the right options stand."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from triptych.data.check.findings import Finding, Kind
from triptych.data.check.keys import answer_key
from triptych.data.sample import ProblemType, Sample
from triptych.stages.prompt import OPTION_LETTERS

MIN_QUESTIONS = 20
"""Of fewer questions nothing is said."""
CONSTANT_SHARE = 0.9
"""From here on, answers count as near-constant."""
BIAS_RATIO, BIAS_SIGMAS = 1.25, 4.0
"""A letter is right too often from so many times its expected share on, if that is so many
standard deviations above it."""


@dataclass(frozen=True)
class AnswerPrior:
    """What always giving the most common answer would reach: `share` of `questions` questions."""

    questions: int
    answer: str
    share: float


@dataclass(frozen=True)
class LetterPrior:
    """How often a letter is the right one, and how often it would be by chance."""

    share: float
    expected: float
    sigmas: float
    """Standard deviations by which the share lies above what is expected."""


@dataclass(frozen=True)
class Priors:
    """Answers of a data set.

    Attributes:
        answers: of each problem type.
        letters: of the multiple-choice questions.
        questions: how many multiple-choice questions there are.
    """

    answers: Mapping[ProblemType, AnswerPrior]
    letters: Mapping[str, LetterPrior]
    questions: int


def answer_priors(samples: Sequence[Sample]) -> Priors:
    """Count the answers of samples, by problem type, and their letters."""
    answers: dict[ProblemType, Counter[str]] = defaultdict(Counter)
    letters: Counter[str] = Counter()
    options: Counter[int] = Counter()
    for sample in samples:
        answers[sample.problem_type][answer_key(sample)] += 1
        if sample.problem_type is ProblemType.MULTIPLE_CHOICE:
            letters[sample.answer] += 1
            options[len(sample.options)] += 1
    return Priors(
        {kind: _most_common(counts) for kind, counts in answers.items()},
        _letter_priors(letters, options),
        options.total(),
    )


def _most_common(counts: Counter[str]) -> AnswerPrior:
    ((answer, count),) = counts.most_common(1)
    return AnswerPrior(counts.total(), answer, count / counts.total())


def _letter_priors(letters: Counter[str], options: Counter[int]) -> dict[str, LetterPrior]:
    """Args: how often each letter is right, and how many questions have how many options."""
    total = options.total()
    priors = {}
    for place, letter in enumerate(OPTION_LETTERS[: max(options, default=0)]):
        chances = [(1 / size, count) for size, count in options.items() if size > place]
        expected = sum(p * count for p, count in chances)
        deviation = math.sqrt(sum(p * (1 - p) * count for p, count in chances))
        priors[letter] = LetterPrior(
            letters[letter] / total, expected / total, (letters[letter] - expected) / deviation
        )
    return priors


def check_priors(priors: Priors) -> Iterator[Finding]:
    """Near-constant answers, and letters that are right too often."""
    for kind, prior in priors.answers.items():
        if prior.questions >= MIN_QUESTIONS and prior.share >= CONSTANT_SHARE:
            detail = f"{prior.answer!r} answers {prior.share:.1%} of {prior.questions} questions"
            yield Finding(Kind.CONSTANT_ANSWER, str(kind), detail)
    for letter, of_letter in priors.letters.items():
        often = of_letter.share >= BIAS_RATIO * of_letter.expected
        if priors.questions >= MIN_QUESTIONS and often and of_letter.sigmas >= BIAS_SIGMAS:
            detail = f"{of_letter.share:.1%} of answers, by chance {of_letter.expected:.1%}"
            yield Finding(Kind.POSITION_BIAS, f"letter {letter}", detail)
