"""What becomes of an item in the event loop: asked, asked again, given up; and the run with it."""

import asyncio
import math
from collections import Counter
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    wait_exponential,
    wait_random,
)

from triptych.endpoint.chat import ChatMessages
from triptych.endpoint.config import EndpointConfig
from triptych.endpoint.failures import Failure, FailureReason, Remedy, RequestError
from triptych.endpoint.limits import Breaker, Pace
from triptych.endpoint.reply import Reply
from triptych.endpoint.usage import EndpointUsage

Result = TypeVar("Result")
Usage = TypeVar("Usage", bound=EndpointUsage)

_RETRIES = 4
_RETRIES_OF_OUTAGE = 8  # with the default waits 1 + 2 + ... + 32 + 60 + 60 s: three minutes
_THREADS = 4  # for media and other things that would hold up the loop


@dataclass(frozen=True)
class Wording:
    """How messages speak of those who ask and are asked.

    Attributes:
        asked: "judge".
        wanted: what an item is to get: "score".
        threads: name of the threads.
        bad_reply: what to do about replies from which nothing can be read.
    """

    asked: str
    wanted: str
    threads: str
    bad_reply: str


class Session(Generic[Usage]):
    """The state of a client that is patient. All but the constructor runs in one event loop.

    Args:
        config: which server and model, how patiently.
        wording: for messages.
        usage: to begin with.

    Raises:
        ConfigError: no model is named, or the key cannot be sent.
    """

    def __init__(self, config: EndpointConfig, wording: Wording, usage: Usage) -> None:
        from triptych.endpoint.client import Client  # late: its library takes half a second

        self.config, self.usage = config, usage
        asked = f"{wording.asked} {config.model} at {config.base_url}"
        self._breaker = Breaker(
            config.max_failures, asked, wording.wanted, partial(_advice_on_row, config, wording)
        )
        self._client = Client(config, self._before_request)
        self._places = asyncio.Semaphore(config.max_concurrency)
        self._pace = Pace(config.requests_per_minute)
        self._threads = ThreadPoolExecutor(_THREADS, wording.threads)
        self._stopping = asyncio.Lock()
        self._backoff = wait_exponential(multiplier=config.backoff, max=config.max_wait)
        self._jitter = wait_random(0, config.backoff)
        self.given_up: Counter[FailureReason] = Counter()
        """Items that got nothing, by reason."""
        self._was_heard = self._has_answered = False

    @property
    def last_cause(self) -> str:
        """Why the last item that got nothing got nothing."""
        return self._breaker.last_cause

    def check(self) -> None:
        """Go on, or raise what stopped the session.

        Raises:
            EndpointError: too many items in a row got nothing, or no item can.
        """
        self._breaker.check()

    async def attempt(self, work: Callable[..., Awaitable[Result]], *args: Any) -> Result | Failure:
        """The outcome of work that sends requests, done anew while its failures may pass.

        Raises:
            EndpointError: the server cannot be used, or gave nothing for too many items in a row;
                from then on nothing is asked any more.
        """
        self.check()
        retrying = AsyncRetrying(
            retry=retry_if_exception(self._may_pass),
            stop=self._is_enough,
            wait=self._wait,
            before_sleep=self._count_retry,
            reraise=True,
        )
        try:
            result: Result = await retrying(self._in_its_place, work, *args)
        except RequestError as error:
            failure = error.failure
        else:
            self._breaker.passed()
            self._has_answered = True
            return result
        return await self._give_up(failure)

    async def complete(self, messages: ChatMessages, **fields: Any) -> Reply:
        """One request of an attempt.

        Raises:
            RequestError: it has no reply.
        """
        try:
            reply = await self._client.complete(messages, fields)
        except RequestError as error:
            self._was_heard |= error.failure.status is not None
            raise
        self._was_heard = True
        self.usage = self.usage.plus_reply(reply)
        return reply

    async def in_thread(self, work: Callable[..., Result], *args: Any) -> Result:
        """The result of a function that would hold up the loop."""
        loop = asyncio.get_running_loop()
        result: Result = await loop.run_in_executor(self._threads, work, *args)
        return result

    async def close(self) -> None:
        """Close the connections, and end the threads."""
        await self._client.close()
        self._threads.shutdown(wait=True, cancel_futures=True)

    async def _in_its_place(self, work: Callable[..., Awaitable[Result]], *args: Any) -> Result:
        async with self._places:
            return await work(*args)

    async def _before_request(self) -> None:
        await self._pace.wait()
        self.check()
        self.usage = self.usage.plus(requests=1)

    def _may_pass(self, error: BaseException) -> bool:
        return (
            isinstance(error, RequestError)
            and error.failure.remedy is Remedy.RETRY
            and error.failure.retry_after <= self.config.max_wait
        )

    def _is_enough(self, state: RetryCallState) -> bool:
        """Whether an item was asked often enough; the first attempt is no retry.

        An outage is waited for longer. A timeout took its time already, another reply is no better
        later, and a server that was never heard of may be elsewhere.
        """
        most = self.config.max_retries
        if most is None:
            most = _RETRIES_OF_OUTAGE if self._is_out(state) else _RETRIES
        return state.attempt_number > most

    def _is_out(self, state: RetryCallState) -> bool:
        error = state.outcome.exception() if state.outcome else None
        if not isinstance(error, RequestError):
            return False
        gone = self._was_heard and error.failure.reason is FailureReason.UNAVAILABLE
        return gone or error.failure.status is not None

    def _wait(self, state: RetryCallState) -> float:
        """Seconds: backoff or what the server wants, and jitter, lest all come back at once."""
        error = state.outcome.exception() if state.outcome else None
        wanted = error.failure.retry_after if isinstance(error, RequestError) else 0.0
        return max(self._backoff(state), wanted) + self._jitter(state)

    def _count_retry(self, _: RetryCallState) -> None:
        self.usage = self.usage.plus(retries=1)

    async def _give_up(self, failure: Failure) -> Failure:
        if failure.remedy is Remedy.STOP:
            async with self._stopping:  # one of them asks for advice; the others hear it
                self.check()
                self._breaker.open(f"{failure.cause}; {await self._advice(failure)}")
        self.given_up[failure.reason] += 1
        # A server that has answered others and refuses an item has nothing against the rest.
        counts = not (failure.remedy is Remedy.NONE and self._has_answered)
        self._breaker.failed(failure, counts=counts)
        return failure

    async def _advice(self, failure: Failure) -> str:
        section = self.config.section
        if failure.advice:
            return failure.advice
        match failure.status:
            case 401 | 403:
                return (
                    f"put a key that this server accepts into the environment variable "
                    f"{self.config.api_key_env} ({section}.api_key_env)"
                )
            case 404:
                names = await self._client.model_names()
                if self.config.model in names or not names:
                    return (
                        f"see that {section}.base_url (it usually ends in /v1) and "
                        f"{section}.model exist"
                    )
                return f"set {section}.model to one that the server has: {', '.join(names[:10])}"
            case 402 | 429:
                return "see to the account's balance"
            case _:
                return f"see that {section}.base_url is the address of a chat completions server"


def _advice_on_row(config: EndpointConfig, wording: Wording, failure: Failure) -> str:
    """What to do where too many items in a row got nothing, by one of their failures."""
    section = config.section
    if failure.retry_after > config.max_wait:
        return (
            f"ask again later, or raise {section}.max_wait to the "
            f"{math.ceil(failure.retry_after)} s that the server wants to be left alone for"
        )
    match failure:
        case Failure(reason=FailureReason.BAD_REPLY):
            return wording.bad_reply
        case Failure(reason=FailureReason.FAILED):
            return "change the setting that the server refuses, or use a model that takes more"
        case Failure(reason=FailureReason.TIMEOUT, status=None):
            return f"raise {section}.timeout or lower {section}.max_concurrency"
        case Failure(reason=FailureReason.TIMEOUT):
            return f"raise the server's own time limit, or lower {section}.max_concurrency"
        case Failure(status=429):
            return (
                f"set {section}.requests_per_minute to what the server allows, or lower "
                f"{section}.max_concurrency"
            )
        case Failure(status=None):
            return f"see that the server runs and that {section}.base_url is its address"
        case _:
            return (
                "see that the server runs and what its log says, or lower "
                f"{section}.max_concurrency"
            )
