"""Rewards of a rollout that is still being written.

Async functions (a judge on a server) are asked about each group as soon as it is there, in an event
loop of their own, and what needs no reward is done while they reply. Sync functions are called
once, for the whole rollout.

What comes of it is what `score` gives for the whole rollout: values, reasons, and errors with their
words.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Self

from triptych.data.sample import Sample
from triptych.endpoint.loop import LoopThread
from triptych.errors import ConfigError
from triptych.generation import Completion
from triptych.rewards.base import (
    LogUnscored,
    RewardError,
    RewardFunction,
    RewardTable,
    Unscored,
    is_async,
    score,
)
from triptych.rewards.columns import sample_columns
from triptych.rewards.registry import NeedsModel


@dataclass(frozen=True)
class _Call:
    """What an async function was asked about a group, and why it left completions unscored."""

    reply: Future[Any]
    reasons: Mapping[int, Unscored]
    size: int


class RewardCalls:
    """The rewards of one rollout. A context: what is outstanding when it is left is given up.

    Args:
        functions: by name, in the order of the table.
        samples: one for each group.
        around_model: in which rewards are called that ask the model (`NeedsModel`).

    Attributes:
        overlapped: seconds in which replies were outstanding before `table` waited for them.
    """

    def __init__(
        self,
        functions: Mapping[str, RewardFunction],
        samples: Sequence[Sample],
        around_model: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._samples = samples
        self._names = tuple(functions)
        self._sync = {
            name: _inside(around_model, one) if isinstance(one, NeedsModel) else one
            for name, one in functions.items()
            if not is_async(one)
        }
        self._async = {name: one for name, one in functions.items() if is_async(one)}
        self._calls: dict[tuple[str, int], _Call] = {}
        self._groups: dict[int, tuple[Completion, ...]] = {}
        self._spans: list[tuple[float, float]] = []
        self._loop = LoopThread("rewards", "the rollout", _nothing) if self._async else None
        self.overlapped = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._loop is not None:
            self._loop.close()

    def begin(self, index: int, group: Sequence[Completion]) -> None:
        """Ask the async functions about the completions of a group; see `engine.OnGroup`."""
        self._groups[index] = tuple(group)
        if self._loop is None:
            return
        samples = [self._samples[index]] * len(group)
        columns = sample_columns(samples)
        for name, function in self._async.items():
            reasons: dict[int, Unscored] = {}
            work = self._ask(
                function,
                prompts=[sample.question for sample in samples],
                completions=[one.text for one in group],
                log_unscored=reasons.__setitem__,
                **columns,
            )
            self._calls[name, index] = _Call(self._loop.submit(work), reasons, len(group))

    def run_sync(self, completions: Sequence[Sequence[Completion]]) -> None:
        """Call the sync functions, and ask about the groups that `begin` was not told of.

        Raises:
            RewardError: a function fails.
            ConfigError: `begin` was told of other completions.
        """
        for index, group in enumerate(completions):
            if index not in self._groups:
                self.begin(index, group)
            elif self._groups[index] != tuple(group):
                raise ConfigError(
                    f"sample {self._samples[index].id}: the engine returned other completions than "
                    "it told on_group before; tell of a sample when all its completions are done"
                )
        self._repeated = [
            sample for sample, group in zip(self._samples, completions, strict=True) for _ in group
        ]
        self._texts = [one.text for group in completions for one in group]
        self._of_sync = score(self._sync, self._repeated, self._texts)

    def table(self) -> RewardTable:
        """All rewards, in the order of the completions of `run_sync`; waits for the replies.

        Raises:
            RewardError: a function failed.
        """
        if not self._async:
            return self._of_sync
        waits_from = time.perf_counter()
        replies = {name: self._replies(name) for name in self._async}
        of_async = score(replies, self._repeated, self._texts)
        self.overlapped = _covered(self._spans, waits_from)
        return _joined(self._names, (self._of_sync, of_async))

    async def _ask(self, function: Callable[..., Any], **arguments: Any) -> Any:
        begun = time.perf_counter()
        try:
            return await function(**arguments)
        finally:
            self._spans.append((begun, time.perf_counter()))

    def _replies(self, name: str) -> RewardFunction:
        """What a function replied about all groups, in the way of one that is asked once."""

        async def replies(*, log_unscored: LogUnscored, **_: Any) -> Any:
            values: list[Any] = []
            for index in range(len(self._samples)):
                call = self._calls[name, index]
                reply = await asyncio.wrap_future(call.reply)
                if not isinstance(reply, Iterable) or isinstance(reply, str | Mapping):
                    return reply  # for `score` to refuse
                of_group = list(reply)
                if len(of_group) != call.size:
                    raise RewardError(
                        f"returned {len(of_group)} values for {call.size} completions; return one "
                        "value per completion"
                    )
                for number, reason in call.reasons.items():
                    log_unscored(len(values) + number, reason)
                values += of_group
            return values

        return replies


def _inside(
    around: Callable[[], AbstractContextManager[None]], function: RewardFunction
) -> RewardFunction:
    def called(**arguments: Any) -> Any:
        with around():
            return function(**arguments)

    return called


async def _nothing() -> None:
    """What is to be done before the event loop ends."""


def _covered(spans: Iterable[tuple[float, float]], until: float) -> float:
    """Length of the union of some spans of time, up to a moment."""
    covered, reached = 0.0, 0.0
    for begun, ended in sorted(spans):
        ended = min(ended, until)
        covered += max(0.0, ended - max(begun, reached))
        reached = max(reached, ended)
    return covered


def _joined(names: Sequence[str], tables: Sequence[RewardTable]) -> RewardTable:
    """One table of all columns, in the order of `names`."""
    columns = {
        name: [row[k] for row in table.values_GK]
        for table in tables
        for k, name in enumerate(table.names)
    }
    reasons = {
        (g, names.index(table.names[k])): reason
        for table in tables
        for (g, k), reason in table.reasons.items()
    }
    values_GK = tuple(zip(*(columns[name] for name in names), strict=True))
    return RewardTable(tuple(names), values_GK, reasons)
