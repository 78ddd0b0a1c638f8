import asyncio
import email.utils
import time

import pytest

from triptych.endpoint import EndpointError, FailureReason
from triptych.endpoint.failures import Failure, Remedy, failure_of_status, seconds_to_wait
from triptych.endpoint.limits import Breaker, Pace
from triptych.endpoint.loop import LoopThread


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


LATE = Failure(FailureReason.TIMEOUT, "too late")
DOWN = Failure(FailureReason.UNAVAILABLE, "refused")


def advise(failure: Failure) -> str:
    return {LATE: "wait", DOWN: "see that the server runs"}[failure]


def new_breaker(limit: int) -> Breaker:
    return Breaker(limit, "judge m at http://a/v1", "score", advise)


def test_the_breaker_opens_after_failures_in_a_row_and_says_what_to_do() -> None:
    breaker = new_breaker(3)
    breaker.failed(DOWN)
    breaker.failed(DOWN)
    breaker.check()
    with pytest.raises(
        EndpointError,
        match=r"^judge m at http://a/v1: 3 items in a row got no score \(unavailable 2, timeout 1; "
        r"the last: too late\); see that the server runs",
    ):
        breaker.failed(LATE)
    with pytest.raises(EndpointError, match="3 items in a row"):
        breaker.check()


def test_a_score_in_between_closes_the_row() -> None:
    breaker = new_breaker(2)
    for _ in range(5):
        breaker.failed(DOWN)
        breaker.passed()
    breaker.check()


def test_what_says_nothing_about_others_does_not_count() -> None:
    breaker = new_breaker(1)
    breaker.failed(LATE, counts=False)
    assert breaker.last_cause == "too late"
    breaker.check()


def test_a_breaker_that_is_open_stays_open() -> None:
    breaker = new_breaker(2)
    with pytest.raises(EndpointError, match="v1: no key"):
        breaker.open("no key")
    breaker.passed()
    with pytest.raises(EndpointError, match="v1: no key"):
        breaker.check()


def test_what_to_do_follows_from_the_commonest_cause() -> None:
    breaker = new_breaker(3)
    breaker.failed(LATE)
    breaker.failed(LATE)
    with pytest.raises(EndpointError, match=r"\(timeout 2, unavailable 1; .*\); wait$"):
        breaker.failed(DOWN)


@pytest.mark.parametrize(
    ("status", "reason", "remedy"),
    [
        (408, FailureReason.TIMEOUT, Remedy.RETRY),
        (409, FailureReason.UNAVAILABLE, Remedy.RETRY),
        (425, FailureReason.UNAVAILABLE, Remedy.RETRY),
        (429, FailureReason.UNAVAILABLE, Remedy.RETRY),
        (500, FailureReason.UNAVAILABLE, Remedy.RETRY),
        (503, FailureReason.UNAVAILABLE, Remedy.RETRY),
        (504, FailureReason.TIMEOUT, Remedy.RETRY),
        (529, FailureReason.UNAVAILABLE, Remedy.RETRY),
        (400, FailureReason.FAILED, Remedy.NONE),
        (413, FailureReason.FAILED, Remedy.NONE),
        (422, FailureReason.FAILED, Remedy.NONE),
        (401, FailureReason.UNAVAILABLE, Remedy.STOP),
        (402, FailureReason.UNAVAILABLE, Remedy.STOP),
        (403, FailureReason.UNAVAILABLE, Remedy.STOP),
        (404, FailureReason.UNAVAILABLE, Remedy.STOP),
        (405, FailureReason.UNAVAILABLE, Remedy.STOP),
    ],
)
def test_what_a_status_means(status: int, reason: FailureReason, remedy: Remedy) -> None:
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

    thread = LoopThread("testing", "the test", at_end)
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
        with pytest.raises(EndpointError, match="the test is closed"):
            await waiting

    asyncio.run(close_while_it_runs())
    assert ended == ["cancelled", "cancelled", "end"]
    thread.close()
    with pytest.raises(EndpointError, match="the test is closed"):
        asyncio.run(thread.run(work()))
