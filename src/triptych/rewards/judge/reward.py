"""Reward functions that ask a judge, in TRL's signature.

What needs no judge is decided before: a blank stage is 0, and so is reasoning that concludes one
thing while the answer is another; answers to all but free-form questions are compared by the rule
of `answer_reward`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from triptych.data.sample import Media, Reference
from triptych.errors import ConfigError
from triptych.rewards.answer import known_type, score_answer
from triptych.rewards.base import LogUnscored, RewardFunction, Unscored, rows, settle, staged
from triptych.rewards.columns import as_media
from triptych.rewards.conclusion import conclusions
from triptych.rewards.elements import as_reference
from triptych.rewards.judge.judge import Judge
from triptych.rewards.judge.request import Query
from triptych.rewards.judge.rubrics import ANSWER, CONTEXT, CONTEXT_WITH_MEDIA, REASONING
from triptych.rewards.reading import read_answer
from triptych.rewards.words import read_text
from triptych.stages.format import StagedOutput
from triptych.stages.prompt import OPTION_LETTERS, ProblemType

JudgedStage: TypeAlias = Literal["context", "reasoning", "answer"]


def judge_reward(judge: Judge, stage: JudgedStage) -> RewardFunction:
    """An async reward function, a `JudgeReward` named ``judge_context`` or the like.

    * ``context``: how much of the reference (`Reference.context`, or its elements) a context says,
      less what contradicts it. With `JudgeConfig.with_media` the judge also gets the clip, and a
      reference is not needed.
    * ``reasoning``: five things that reasoning does, each a fifth.
    * ``answer``: free-form answers against the gold; others as `answer_reward` does.

    Raises:
        ConfigError: there is no such stage to judge.
    """
    if stage not in _CASES:
        raise ConfigError(f"a judge has no rubric for {stage!r}; use one of {', '.join(_CASES)}")
    return JudgeReward(judge, stage)


class JudgeReward:
    """What `judge_reward` gives: to be called as any reward function.

    Attributes:
        judge: that is asked; `Judge.usage` tells what it cost.
        stage: that is judged.
    """

    def __init__(self, judge: Judge, stage: JudgedStage) -> None:
        self.judge, self.stage = judge, stage
        self.__name__ = f"judge_{stage}"  # under which TRL logs it

    async def __call__(
        self,
        prompts: Sequence[Any],
        completions: Sequence[Any],
        *,
        question: Sequence[str | None] | None = None,
        problem_type: Sequence[str] | None = None,
        options: Sequence[Sequence[str] | None] | None = None,
        answer: Sequence[str | None] | None = None,
        reference: Sequence[Reference | Mapping[str, Any] | None] | None = None,
        media: Sequence[Sequence[Media | Mapping[str, Any]] | None] | None = None,
        log_unscored: LogUnscored | None = None,
        **_: Any,
    ) -> list[float | None]:
        """Reward the stage of each completion.

        Returns:
            One value in [0, 1] per completion; None where the judge gave none, or the sample has
            nothing to compare with.

        Raises:
            EndpointError: the judge cannot be used, or gave no scores too often.
            DataError: a sample is malformed, or a column has the wrong length.
            MediaError: a media file cannot be decoded.
        """
        columns = rows(
            completions,
            question=question,
            problem_type=problem_type,
            options=options,
            answer=answer,
            reference=reference,
            media=media if self.judge.config.with_media else None,
        )
        decide = _CASES[self.stage]
        cases = [decide(_Row(staged(row[0]), *row[1:])) for row in columns]
        scores = iter(await self.judge.score([case for case in cases if isinstance(case, Query)]))
        outcomes = [next(scores) if isinstance(case, Query) else case for case in cases]
        return settle(outcomes, log_unscored)


@dataclass(frozen=True)
class _Row:
    """A completion and what is known of its sample."""

    output: StagedOutput
    question: str | None
    problem_type: str
    options: Sequence[str] | None
    answer: str | None
    reference: Reference | Mapping[str, Any] | None
    media: Sequence[Media | Mapping[str, Any]] | None

    @property
    def type(self) -> ProblemType:
        return known_type(self.problem_type)


_Case: TypeAlias = float | Unscored | Query
"""The outcome of a completion where no judge is needed, else what to ask."""


def _context_case(row: _Row) -> _Case:
    reference = as_reference(row.reference)
    wanted = reference.context or [element.phrases[0] for element in reference.elements]
    media = as_media(row.media)
    if not wanted and not media:
        return Unscored.NO_REFERENCE
    if _blank(row.output.context):
        return 0.0
    return Query(
        CONTEXT_WITH_MEDIA if media else CONTEXT,
        {"question": row.question, "reference": wanted or None},
        {"context": row.output.context},
        media,
    )


def _reasoning_case(row: _Row) -> _Case:
    output, options = row.output, tuple(row.options or ())
    if _blank(output.think) or _contradicts_itself(output, row.type, options):
        return 0.0
    pairs = zip(OPTION_LETTERS, options, strict=False)
    return Query(
        REASONING,
        {
            "question": row.question,
            "options": [f"{letter}. {text}" for letter, text in pairs] or None,
        },
        {"context": output.context, "reasoning": output.think, "answer": output.answer},
    )


def _contradicts_itself(
    output: StagedOutput, problem_type: ProblemType, options: tuple[str, ...]
) -> bool:
    """Whether the reasoning states another answer, or puts a letter to another option's text."""
    if _blank(output.answer):
        return False
    value = read_answer(output.answer, problem_type, options)
    stated = conclusions(output.think, problem_type, options)
    return any(one is not None and one.spoils(value) for one in stated)


def _answer_case(row: _Row) -> _Case:
    gold = row.answer or ""
    by_rule = score_answer(row.output, row.type, gold, row.options or ())
    decided = (
        row.type is not ProblemType.FREE_FORM
        or isinstance(by_rule, Unscored)
        or by_rule == 1.0  # the gold answer word for word
        or _blank(row.output.answer)
    )
    if decided:
        return by_rule
    return Query(ANSWER, {"question": row.question, "gold": gold}, {"answer": row.output.answer})


def _blank(text: str) -> bool:
    return not read_text(text).words


_CASES: dict[str, Callable[[_Row], _Case]] = {
    "context": _context_case,
    "reasoning": _reasoning_case,
    "answer": _answer_case,
}
