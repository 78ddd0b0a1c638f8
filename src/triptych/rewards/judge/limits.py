"""What keeps a judge within its bounds: how fast it asks, what it asks twice, when it gives up."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Generic, TypeVar

from triptych.rewards.base import Unscored
from triptych.rewards.judge.failures import Failure, JudgeError

Result = TypeVar("Result")

_ADVICE = {
    Unscored.TIMEOUT: "raise judge.timeout or lower judge.max_concurrency",
    Unscored.UNAVAILABLE: "see that the server runs and that judge.base_url is its address",
    Unscored.BAD_REPLY: "use a model that keeps to JSON, or raise judge.max_tokens",
    Unscored.FAILED: "change the setting that the server refuses, or use a model that takes more",
}


class Pace:
    """Lets requests through evenly spaced, so many per minute: a bucket of one token.

    A larger bucket would allow twice the limit within a minute: its content, and what flows in.
    """

    def __init__(
        self,
        per_minute: float | None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._gap = 60.0 / per_minute if per_minute else 0.0
        self._clock, self._sleep = clock, sleep
        self._next = 0.0

    async def wait(self) -> None:
        """Return when it is the caller's turn."""
        now = self._clock()
        turn = max(now, self._next)
        self._next = turn + self._gap
        if turn > now:
            await self._sleep(turn - now)


class Breaker:
    """Opens after so many failures in a row, and stays open: nothing is asked any more."""

    def __init__(self, limit: int, judge: str) -> None:
        self._limit, self._judge = limit, judge
        self._row: Counter[Unscored] = Counter()
        self._why = ""
        self.last_cause = ""

    def check(self) -> None:
        """Go on, or raise `JudgeError` where the breaker is open."""
        if self._why:
            raise JudgeError(self._why)

    def passed(self) -> None:
        """An item was scored."""
        self._row.clear()

    def failed(self, failure: Failure, *, counts: bool = True) -> None:
        """An item was given up.

        Args:
            failure: of its last request.
            counts: whether it says anything about other items.

        Raises:
            JudgeError: as the last of too many in a row.
        """
        self.last_cause = failure.cause
        self._row[failure.reason] += counts
        if self._row.total() >= self._limit:
            causes = self._row.most_common()
            listed = ", ".join(f"{reason} {count}" for reason, count in causes)
            self.open(
                f"{self._row.total()} items in a row got no score ({listed}; the last: "
                f"{failure.cause}); {_ADVICE[causes[0][0]]}"
            )

    def open(self, why: str) -> None:
        """Open at once.

        Raises:
            JudgeError: always.
        """
        self._why = self._why or f"{self._judge}: {why}"
        self.check()


class Flights(Generic[Result]):
    """Work that is going on, by key: who wants the same joins in.

    It is given up when all who wanted it were cancelled.
    """

    def __init__(self) -> None:
        self._flights: dict[str, _Flight[Result]] = {}

    def __contains__(self, key: str) -> bool:
        return key in self._flights

    async def join(self, key: str, start: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        """The result of the work under that key, which is begun if nobody has."""
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = _Flight(start())
        flight.passengers += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.passengers -= 1
            if not flight.passengers:
                flight.task.cancel()
                if self._flights.get(key) is flight:
                    del self._flights[key]


class _Flight(Generic[Result]):
    def __init__(self, work: Coroutine[Any, Any, Result]) -> None:
        self.task = asyncio.create_task(work)
        self.passengers = 0
