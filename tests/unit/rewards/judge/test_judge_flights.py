import asyncio
from collections.abc import Awaitable, Callable

from triptych.rewards.judge.flights import Flights


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
