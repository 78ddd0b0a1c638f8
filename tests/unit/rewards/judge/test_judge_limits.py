import asyncio
import email.utils
import time
from collections.abc import Awaitable, Callable

import pytest

from triptych.rewards import Unscored
from triptych.rewards.judge import JudgeError
from triptych.rewards.judge.failures import (
    Failure,
    Remedy,
    failure_of_status,
    seconds_to_wait,
)
from triptych.rewards.judge.limits import Breaker, Flights, Pace
from triptych.rewards.judge.loop import LoopThread


class Clock:
    """A clock that is moved on by those who sleep."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


def times_of(pace: Pace, clock: Clock, count: int) -> list[float]:
    async def pass_by() -> list[float]:
        times = []
        for _ in range(count):
            await pace.wait()
            times.append(clock())
        return times

    return asyncio.run(pass_by())


def test_requests_are_evenly_spaced() -> None:
    clock = Clock()
    pace = Pace(120.0, clock, clock.sleep)
    assert times_of(pace, clock, 4) == [100.0, 100.5, 101.0, 101.5]
    clock.now += 60.0  # what was not used is not made up for
    assert times_of(pace, clock, 2) == [161.5, 162.0]


def test_without_a_limit_nobody_waits() -> None:
    clock = Clock()
    assert times_of(Pace(None, clock, clock.sleep), clock, 3) == [100.0] * 3


def test_who_waits_together_is_let_through_one_by_one() -> None:
    turns: list[float] = []

    async def sleep(seconds: float) -> None:
        turns.append(seconds)

    async def all_at_once() -> None:
        pace = Pace(60.0, lambda: 0.0, sleep)
        await asyncio.gather(*(pace.wait() for _ in range(4)))

    asyncio.run(all_at_once())
    assert turns == [1.0, 2.0, 3.0]


LATE = Failure(Unscored.TIMEOUT, "too late")
DOWN = Failure(Unscored.UNAVAILABLE, "refused")


def test_the_breaker_opens_after_failures_in_a_row_and_says_what_to_do() -> None:
    breaker = Breaker(3, "judge m at http://a/v1")
    breaker.failed(DOWN)
    breaker.failed(DOWN)
    breaker.check()
    with pytest.raises(
        JudgeError,
        match=r"^judge m at http://a/v1: 3 items in a row got no score \(unavailable 2, timeout 1; "
        r"the last: too late\); see that the server runs",
    ):
        breaker.failed(LATE)
    with pytest.raises(JudgeError, match="3 items in a row"):
        breaker.check()


def test_a_score_in_between_closes_the_row() -> None:
    breaker = Breaker(2, "judge")
    for _ in range(5):
        breaker.failed(DOWN)
        breaker.passed()
    breaker.check()


def test_what_says_nothing_about_others_does_not_count() -> None:
    breaker = Breaker(1, "judge")
    breaker.failed(LATE, counts=False)
    assert breaker.last_cause == "too late"
    breaker.check()


def test_a_breaker_that_is_open_stays_open() -> None:
    breaker = Breaker(2, "judge")
    with pytest.raises(JudgeError, match="judge: no key"):
        breaker.open("no key")
    breaker.passed()
    with pytest.raises(JudgeError, match="judge: no key"):
        breaker.check()


@pytest.mark.parametrize(
    ("reason", "advice"),
    [
        (Unscored.TIMEOUT, "judge.timeout"),
        (Unscored.BAD_REPLY, "judge.max_tokens"),
        (Unscored.FAILED, "the server refuses"),
    ],
)
def test_what_to_do_follows_from_the_commonest_cause(reason: Unscored, advice: str) -> None:
    with pytest.raises(JudgeError, match=advice):
        Breaker(1, "judge").failed(Failure(reason, "why"))


@pytest.mark.parametrize(
    ("status", "reason", "remedy"),
    [
        (408, Unscored.TIMEOUT, Remedy.RETRY),
        (409, Unscored.UNAVAILABLE, Remedy.RETRY),
        (425, Unscored.UNAVAILABLE, Remedy.RETRY),
        (429, Unscored.UNAVAILABLE, Remedy.RETRY),
        (500, Unscored.UNAVAILABLE, Remedy.RETRY),
        (503, Unscored.UNAVAILABLE, Remedy.RETRY),
        (504, Unscored.TIMEOUT, Remedy.RETRY),
        (529, Unscored.UNAVAILABLE, Remedy.RETRY),
        (400, Unscored.FAILED, Remedy.NONE),
        (413, Unscored.FAILED, Remedy.NONE),
        (422, Unscored.FAILED, Remedy.NONE),
        (401, Unscored.UNAVAILABLE, Remedy.STOP),
        (402, Unscored.UNAVAILABLE, Remedy.STOP),
        (403, Unscored.UNAVAILABLE, Remedy.STOP),
        (404, Unscored.UNAVAILABLE, Remedy.STOP),
        (405, Unscored.UNAVAILABLE, Remedy.STOP),
    ],
)
def test_what_a_status_means(status: int, reason: Unscored, remedy: Remedy) -> None:
    failure = failure_of_status(status, "words", None, {"retry-after": "2"})
    assert (failure.reason, failure.remedy) == (reason, remedy)
    assert failure.cause == f"HTTP {status}: words"
    assert failure.retry_after == (2.0 if remedy is Remedy.RETRY else 0.0)


def test_an_empty_account_is_not_asked_again() -> None:
    failure = failure_of_status(429, "", "insufficient_quota", {})
    assert (failure.remedy, failure.cause) == (Remedy.STOP, "HTTP 429")


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        (" 0.25 ", 0.25),
        ("0", 0.0),
        ("-3", 0.0),
        ("nan", 0.0),
        ("inf", 0.0),
        ("", 0.0),
        ("soon", 0.0),
        ("Mon, 99 Foo 2026", 0.0),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 0.0),
    ],
)
def test_retry_after_in_seconds(value: str, seconds: float) -> None:
    assert seconds_to_wait({"retry-after": value}) == seconds
    assert seconds_to_wait({}) == 0.0
    assert seconds_to_wait({"retry-after": value, "retry-after-ms": "250"}) == 0.25


@pytest.mark.parametrize("zone", ["GMT", "-0000", "+0000"])
def test_retry_after_as_a_date(zone: str) -> None:
    date = email.utils.formatdate(time.time() + 3600, usegmt=True).replace("GMT", zone)
    assert 3500 < seconds_to_wait({"retry-after": date}) <= 3600


class Work:
    """Something that takes until it is let go, and counts how often it was begun."""

    def __init__(self) -> None:
        self.begun = self.cancelled = 0
        self.may_end = asyncio.Event()

    async def __call__(self) -> int:
        self.begun += 1
        try:
            await self.may_end.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return self.begun


def in_a_loop(test: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    def run() -> None:
        async def main() -> None:
            await test()

        asyncio.run(main())

    return run


@in_a_loop
async def test_the_same_work_is_done_once_while_it_goes_on() -> None:
    flights, work = Flights[int](), Work()
    first, second = (asyncio.create_task(flights.join("a", work)) for _ in range(2))
    other = asyncio.create_task(flights.join("b", work))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert "a" in flights
    work.may_end.set()
    assert await first == await second
    await other
    assert work.begun == 2
    assert "a" not in flights
    await flights.join("a", work)
    assert work.begun == 3


@in_a_loop
async def test_work_goes_on_while_anyone_wants_it() -> None:
    flights, work = Flights[int](), Work()
    first, second = (asyncio.create_task(flights.join("a", work)) for _ in range(2))
    await asyncio.sleep(0.01)
    first.cancel()
    await asyncio.sleep(0.01)
    assert work.cancelled == 0
    second.cancel()
    await asyncio.sleep(0.01)
    assert work.cancelled == 1
    assert "a" not in flights
    work.may_end.set()
    assert await flights.join("a", work) == 2


@in_a_loop
async def test_who_shares_work_shares_its_error() -> None:
    async def fail() -> int:
        await asyncio.sleep(0)
        raise ZeroDivisionError

    flights = Flights[int]()
    results = await asyncio.gather(
        *(flights.join("a", fail) for _ in range(3)), return_exceptions=True
    )
    assert [type(result) for result in results] == [ZeroDivisionError] * 3


def test_a_loop_of_its_own_outlives_those_of_its_callers() -> None:
    ended: list[str] = []

    async def at_end() -> None:
        ended.append("end")

    async def work() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")

    thread = LoopThread(at_end)
    one, other = (asyncio.run(thread.run(work())) for _ in range(2))
    assert one is other

    async def give_up() -> None:
        async with asyncio.timeout(0.05):
            await thread.run(forever())

    with pytest.raises(TimeoutError):
        asyncio.run(give_up())

    async def close_while_it_runs() -> None:
        waiting = asyncio.create_task(thread.run(forever()))
        await asyncio.sleep(0.05)
        thread.close()
        with pytest.raises(JudgeError, match="is closed"):
            await waiting

    asyncio.run(close_while_it_runs())
    assert ended == ["cancelled", "cancelled", "end"]
    thread.close()
    with pytest.raises(JudgeError, match="is closed"):
        asyncio.run(thread.run(work()))
