"""How often an item is asked, how long that takes, and what is advised when nothing helped."""

import asyncio
import re
from collections.abc import Sequence
from typing import Any

import pytest

from triptych.endpoint import EndpointError, FailureReason
from triptych.endpoint.failures import Failure, Remedy, RequestError
from triptych.endpoint.reply import Reply
from triptych.endpoint.session import Session, Wording
from triptych.endpoint.usage import EndpointUsage
from triptych.rewards.judge.config import JudgeConfig

WORDING = Wording("judge", "score", "judging", "use a model that keeps to JSON")
BUSY = Failure(FailureReason.UNAVAILABLE, "HTTP 429: rate limit", status=429)
BROKEN = Failure(FailureReason.UNAVAILABLE, "HTTP 500: internal", status=500)
GONE = Failure(FailureReason.UNAVAILABLE, "ConnectError: refused")
SLOW = Failure(FailureReason.TIMEOUT, "no whole reply")
SLOW_GATEWAY = Failure(FailureReason.TIMEOUT, "HTTP 504: gateway", status=504)
ODD = Failure(FailureReason.BAD_REPLY, "not JSON")
TOO_LONG = Failure(FailureReason.FAILED, "HTTP 400: too long", Remedy.NONE, 400)
CLOSED = Failure(FailureReason.UNAVAILABLE, "HTTP 503: closed", status=503, retry_after=300.2)


class Endless:
    """A client that fails in the same way from some request on, and counts them."""

    def __init__(self, failure: Failure, replies: int) -> None:
        self.failure, self.replies, self.requests = failure, replies, 0

    async def complete(self, *_: Any) -> Reply:
        self.requests += 1
        if self.requests > self.replies:
            raise RequestError(self.failure)
        return Reply("4")

    async def close(self) -> None:
        pass


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that were slept, without that anybody does."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    return slept


def asked(failure: Failure, replies: int = 0, **settings: Any) -> int:
    """Requests for the last of some items: those before it get replies."""

    async def work() -> int:
        session = Session(JudgeConfig(model="m", **settings), WORDING, EndpointUsage())
        session._client = client = Endless(failure, replies)  # type: ignore[assignment]
        for _ in range(replies + 1):
            await session.attempt(session.complete, [])
        await session.close()
        return client.requests - replies

    return asyncio.run(work())


@pytest.mark.parametrize(
    ("failure", "never_heard", "heard"),
    [
        *((BUSY, 9, 9), (BROKEN, 9, 9), (SLOW_GATEWAY, 9, 9), (GONE, 5, 9)),
        *((SLOW, 5, 5), (ODD, 5, 5), (TOO_LONG, 1, 1), (CLOSED, 1, 1)),
    ],
)
@pytest.mark.usefixtures("naps")
def test_outages_are_waited_for_and_what_waiting_does_not_mend_is_not(
    failure: Failure, never_heard: int, heard: int
) -> None:
    assert (asked(failure), asked(failure, replies=1)) == (never_heard, heard)
    assert asked(failure, max_retries=0) == 1


@pytest.mark.parametrize(("failure", "least"), [(BUSY, 183.0), (ODD, 15.0)])
def test_how_long_an_item_is_waited_for(
    failure: Failure, least: float, naps: Sequence[float]
) -> None:
    asked(failure)
    assert least <= sum(naps) <= least + len(naps), "and up to a second of jitter each"


@pytest.mark.parametrize(
    ("failure", "advice"),
    [
        (BUSY, "set judge.requests_per_minute to what the server allows, or lower judge.max_conc"),
        (BROKEN, "see that the server runs and what its log says, or lower judge.max_concurrency"),
        (GONE, "see that the server runs and that judge.base_url is its address"),
        (CLOSED, "ask again later, or raise judge.max_wait to the 301 s that the server wants"),
        (SLOW, "raise judge.timeout or lower judge.max_concurrency"),
        (SLOW_GATEWAY, "raise the server's own time limit, or lower judge.max_concurrency"),
        (ODD, "use a model that keeps to JSON"),
        (TOO_LONG, "change the setting that the server refuses, or use a model that takes more"),
    ],
)
@pytest.mark.usefixtures("naps")
def test_what_is_advised_helps_against_what_happened(failure: Failure, advice: str) -> None:
    with pytest.raises(EndpointError, match=re.escape(f"{failure.cause}); {advice}")):
        asked(failure, max_failures=1)
