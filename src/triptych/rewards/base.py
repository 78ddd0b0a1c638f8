"""What a reward function is, and how rewards of several functions come together.

Shapes: G completions, K reward functions.

A reward function has TRL's signature::

    def brevity(prompts, completions, **columns) -> list[float | None]: ...

sync or async. It returns one value in [0, 1] per completion, or None where it could not score.
The trainer calls a sync function once a step, with all groups, and an async one once for each
group, as soon as it is written and beside what the trainer does meanwhile, in another thread.
`columns` hold one value per completion; `sample_columns` says which there are. None is never
turned into 0: an unscored reward is left out of the mean and counted.
"""

import asyncio
import inspect
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

from triptych.data.sample import Sample
from triptych.errors import DataError, TriptychError
from triptych.rewards.columns import sample_columns
from triptych.stages.format import StagedOutput, parse

if TYPE_CHECKING:
    from torch import Tensor

Rewards: TypeAlias = Sequence[float | None]
RewardFunction: TypeAlias = Callable[..., Rewards | Awaitable[Rewards]]

REWARD_NAMES = ("context", "reasoning", "answer", "format")
STAGE_OF_REWARD: Mapping[str, str] = {
    "context": "context",
    "reasoning": "think",
    "answer": "answer",
}
"""The stage that a reward judges, for those that judge one."""
DEFAULT_WEIGHTS: Mapping[str, float] = {
    "context": 0.25,
    "reasoning": 0.25,
    "answer": 0.35,
    "format": 0.15,
}


class Unscored(StrEnum):
    """Why a completion has no value for a reward."""

    NO_REFERENCE = "no_reference"
    """The sample has no reference of the kind that the reward compares with."""

    UNREADABLE_GOLD = "unreadable_gold"
    """The sample's own answer cannot be read as an answer of its problem type."""

    NOT_APPLICABLE = "not_applicable"
    """The reward does not apply to this kind of sample."""

    FAILED = "failed"
    """What the reward asks for its value (a judge, a scorer) gave none."""

    TIMEOUT = "timeout"
    """A judge did not reply in time, however often it was asked."""

    UNAVAILABLE = "unavailable"
    """A judge could not be reached, or refused for now: connection, rate limit, server error."""

    BAD_REPLY = "bad_reply"
    """A judge replied, and no score within the scale could be read from it."""

    UNEXPLAINED = "unexplained"
    """The function returned None and gave no reason."""


LogUnscored: TypeAlias = Callable[[int, Unscored], None]
"""Told the number of a completion and why it has no value. `score` passes one as the keyword
``log_unscored``, beside the columns; TRL passes none."""


class RewardError(TriptychError):
    """A reward function failed or returned what is no reward."""


@dataclass(frozen=True)
class RewardTable:
    """The rewards of G completions by K functions; None where a function could not score.

    `reasons` says why, for each (completion, function) that has no value.
    """

    names: tuple[str, ...]
    values_GK: Sequence[Sequence[float | None]]
    reasons: Mapping[tuple[int, int], Unscored] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.values_GK)

    def tensor(self) -> "Tensor":
        """(G, K) float32, NaN where unscored."""
        import torch  # late: checks of a data set read texts as rewards do, and need no tensors

        rows = [[math.nan if v is None else v for v in row] for row in self.values_GK]
        return torch.tensor(rows, dtype=torch.float32).reshape(len(rows), len(self.names))

    def row(self, index: int) -> dict[str, float | None]:
        """The rewards of one completion by name."""
        return dict(zip(self.names, self.values_GK[index], strict=True))

    def unscored_counts(self) -> dict[str, int]:
        """How many completions each reward could not score; every reward is listed."""
        return {
            name: sum(row[k] is None for row in self.values_GK) for k, name in enumerate(self.names)
        }

    def unscored_reasons(self) -> dict[str, dict[Unscored, int]]:
        """The same by reason, for the rewards that left any completion unscored."""
        counts: dict[str, Counter[Unscored]] = {}
        for g, row in enumerate(self.values_GK):
            for k, value in enumerate(row):
                if value is None:
                    reason = self.reasons.get((g, k), Unscored.UNEXPLAINED)
                    counts.setdefault(self.names[k], Counter())[reason] += 1
        return {name: dict(counter) for name, counter in counts.items()}


def completion_text(completion: Any) -> str:
    """The text of a completion: a string, or chat messages whose content is text or text parts.

    Raises:
        DataError: it is neither.
    """
    if isinstance(completion, str):
        return completion
    try:
        return "".join(_content_text(message["content"]) for message in completion)
    except (TypeError, KeyError) as error:
        raise DataError(
            f"completion: {completion!r:.80} is neither a string nor a list of chat messages; "
            'pass "text" or [{"role": "assistant", "content": "text"}]'
        ) from error


def _content_text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "".join(part["text"] for part in content if part.get("type") == "text")


_parse = lru_cache(maxsize=4096)(parse)


def staged(completion: Any) -> StagedOutput:
    """The stages of a completion. Cached: several rewards look at the same text."""
    return _parse(completion_text(completion))


def rows(completions: Sequence[Any], **columns: Sequence[Any] | None) -> Iterable[tuple[Any, ...]]:
    """Each completion with its value of each column; None for a column that was not passed.

    Raises:
        DataError: a column is not as long as there are completions.
    """
    for name, column in columns.items():
        if column is not None and len(column) != len(completions):
            raise DataError(
                f"column {name!r} has {len(column)} values for {len(completions)} completions; "
                "pass one per completion"
            )
    empty = [None] * len(completions)
    filled = [empty if column is None else column for column in columns.values()]
    return zip(completions, *filled, strict=True)


def settle(
    outcomes: Iterable[float | Unscored], log_unscored: LogUnscored | None
) -> list[float | None]:
    """What a reward function returns: None in place of a reason, which is logged."""
    values: list[float | None] = []
    for index, outcome in enumerate(outcomes):
        if isinstance(outcome, Unscored):
            if log_unscored:
                log_unscored(index, outcome)
            values.append(None)
        else:
            values.append(outcome)
    return values


def score(
    functions: Mapping[str, RewardFunction],
    samples: Sequence[Sample],
    completions: Sequence[Any],
    prompts: Sequence[Any] | None = None,
) -> RewardTable:
    """Score completions with every function. Async functions are awaited together.

    Args:
        functions: By the name they have in the table, in the order of its columns.
        samples: One per completion.
        completions: Texts or chat messages.
        prompts: What was asked, one per completion; the questions when left out.

    Raises:
        DataError: `samples`, `prompts` and `completions` differ in length.
        RewardError: a function raises, or returns too few or too many values, or a value that is
            not None or within [0, 1]. The message names the reward and the sample.
    """
    prompts = [sample.question for sample in samples] if prompts is None else prompts
    if not len(samples) == len(completions) == len(prompts):
        raise DataError(
            f"{len(samples)} samples and {len(prompts)} prompts for {len(completions)} "
            "completions; repeat each sample once for each of its completions"
        )
    names = tuple(functions)
    if not completions:
        return RewardTable(names, ())
    batch = _Batch(samples, list(prompts), list(completions), sample_columns(samples))
    reasons: dict[tuple[int, int], Unscored] = {}
    results = _run_all(functions, batch, reasons)
    columns = [_checked(name, results[name], samples) for name in names]
    values_GK = tuple(zip(*columns, strict=True)) if columns else ((),) * len(completions)
    return RewardTable(names, values_GK, reasons)


def score_group(
    functions: Mapping[str, RewardFunction], sample: Sample, completions: Sequence[Any]
) -> RewardTable:
    """`score` for the completions of one sample."""
    return score(functions, [sample] * len(completions), completions)


@dataclass(frozen=True)
class _Batch:
    """What every function of one `score` call is given."""

    samples: Sequence[Sample]
    prompts: list[Any]
    completions: list[Any]
    columns: dict[str, list[Any]]

    def call(self, function: RewardFunction, log_unscored: LogUnscored) -> Any:
        return function(
            prompts=self.prompts,
            completions=self.completions,
            log_unscored=log_unscored,
            **self.columns,
        )

    def single(self, index: int) -> "_Batch":
        part = slice(index, index + 1)
        columns = {name: values[part] for name, values in self.columns.items()}
        return _Batch(self.samples[part], self.prompts[part], self.completions[part], columns)


def is_async(function: RewardFunction) -> bool:
    """Whether calling the function gives something to await."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - its kind matters, not its presence
    )


def _run_all(
    functions: Mapping[str, RewardFunction],
    batch: _Batch,
    reasons: dict[tuple[int, int], Unscored],
) -> dict[str, Any]:
    """Sync functions one after the other, then all async ones at once."""
    loggers = {
        name: lambda index, reason, k=k: reasons.__setitem__((index, k), reason)
        for k, name in enumerate(functions)
    }
    results: dict[str, Any] = {}
    for name, function in functions.items():
        if not is_async(function):
            try:
                results[name] = batch.call(function, loggers[name])
            except Exception as error:
                raise _failure(name, error, _failing_part(function, batch)) from error
    pending = {name: function for name, function in functions.items() if is_async(function)}
    if pending:
        awaited = _run_async(_gather(pending, batch, loggers))
        for name, result in zip(pending, awaited, strict=True):
            if isinstance(result, BaseException):
                raise _failure(name, result, batch.samples) from result
            results[name] = result
    return results


async def _gather(
    pending: Mapping[str, RewardFunction], batch: _Batch, loggers: Mapping[str, LogUnscored]
) -> list[Any]:
    calls = (batch.call(function, loggers[name]) for name, function in pending.items())
    return await asyncio.gather(*calls, return_exceptions=True)


def _run_async(work: Coroutine[Any, Any, list[Any]]) -> list[Any]:
    """Run to the end, also where an event loop runs already (a notebook): then in a thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(asyncio.run, work).result()


def _failing_part(function: RewardFunction, batch: _Batch) -> Sequence[Sample]:
    """The sample that makes a failed function fail, found by one call each; else all of them."""
    for index in range(len(batch.samples)):
        single = batch.single(index)
        try:
            single.call(function, lambda *_: None)
        except Exception:
            return single.samples
    return batch.samples


def _failure(name: str, error: BaseException, samples: Sequence[Sample]) -> RewardError:
    ids = list(dict.fromkeys(repr(sample.id) for sample in samples))
    if isinstance(error, TriptychError):  # says itself what to do, and is about no sample or one
        where = f"sample {ids[0]}: " if len(ids) == 1 else ""
        return RewardError(f"reward {name!r}: {where}{error}")
    where = ", ".join(ids[:3]) + (f" and {len(ids) - 3} more" if len(ids) > 3 else "")
    return RewardError(
        f"reward {name!r}: sample {where}: {type(error).__name__}: {error}; "
        "return None for a completion that cannot be scored"
    )


def _checked(name: str, result: Any, samples: Sequence[Sample]) -> list[float | None]:
    """The function's result as floats and None, or a `RewardError`."""
    if not isinstance(result, Iterable) or isinstance(result, str | Mapping):
        raise RewardError(
            f"reward {name!r}: returned {type(result).__name__}, not a list of rewards; "
            "return one value per completion (and declare an async function with async def)"
        )
    values = list(result)
    if len(values) != len(samples):
        raise RewardError(
            f"reward {name!r}: returned {len(values)} values for {len(samples)} completions; "
            "return one value per completion"
        )
    checked: list[float | None] = []
    for value, sample in zip(values, samples, strict=True):
        try:
            number = None if value is None else float(value)
        except (TypeError, ValueError):
            number = math.nan
        if isinstance(value, str) or not (number is None or 0.0 <= number <= 1.0):
            raise RewardError(
                f"reward {name!r}: sample {sample.id!r}: {value!r} is not a number within [0, 1]; "
                "scale it, or return None for a completion that cannot be scored"
            )
        checked.append(number)
    return checked
