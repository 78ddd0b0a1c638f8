"""What keeps requests within their bounds: how fast they are sent, when they are given up."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable

from triptych.endpoint.failures import EndpointError, Failure, FailureReason


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
    """Opens after so many failures in a row, and stays open: nothing is asked any more.

    Args:
        limit: how many are too many.
        asked: who is asked, for messages.
        wanted: what an item is to get: "score".
        advise: what to do about a failure; it is given the last one of the commonest reason.
    """

    def __init__(
        self, limit: int, asked: str, wanted: str, advise: Callable[[Failure], str]
    ) -> None:
        self._limit, self._asked, self._wanted, self._advise = limit, asked, wanted, advise
        self._row: Counter[FailureReason] = Counter()
        self._last: dict[FailureReason, Failure] = {}
        self._why = ""
        self.last_cause = ""

    def check(self) -> None:
        """Go on, or raise `EndpointError` where the breaker is open."""
        if self._why:
            raise EndpointError(self._why)

    def passed(self) -> None:
        """An item got what it was to get."""
        self._row.clear()

    def failed(self, failure: Failure, *, counts: bool = True) -> None:
        """An item was given up.

        Args:
            failure: of its last request.
            counts: whether it says anything about other items.

        Raises:
            EndpointError: as the last of too many in a row.
        """
        self.last_cause = failure.cause
        self._row[failure.reason] += counts
        self._last[failure.reason] = failure
        if self._row.total() >= self._limit:
            causes = self._row.most_common()
            listed = ", ".join(f"{reason} {count}" for reason, count in causes)
            self.open(
                f"{self._row.total()} items in a row got no {self._wanted} ({listed}; the last: "
                f"{failure.cause}); {self._advise(self._last[causes[0][0]])}"
            )

    def open(self, why: str) -> None:
        """Open at once.

        Raises:
            EndpointError: always.
        """
        self._why = self._why or f"{self._asked}: {why}"
        self.check()
