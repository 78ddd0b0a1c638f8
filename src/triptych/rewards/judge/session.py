"""What a judge does in its event loop: look up, ask, ask again, keep, give up."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_attempt,
    wait_exponential,
    wait_random,
)

from triptych.data.decoding import DecodePool
from triptych.rewards.base import Unscored
from triptych.rewards.guards import find_injections
from triptych.rewards.judge.cache import KeptReply, ReplyCache
from triptych.rewards.judge.config import JudgeConfig
from triptych.rewards.judge.failures import Failure, Remedy, RequestError
from triptych.rewards.judge.limits import Breaker, Flights, Pace
from triptych.rewards.judge.media import MediaShelf, digest
from triptych.rewards.judge.reply import BadReplyError, Reply, read_score
from triptych.rewards.judge.request import Query, key, messages
from triptych.rewards.judge.usage import JudgeUsage

Result = TypeVar("Result")

_log = logging.getLogger(__name__)

_THREADS = 4  # for the cache, the media and their digests


class Session:
    """The state of a judge. All but the constructor runs in one event loop."""

    def __init__(self, config: JudgeConfig, pool: DecodePool | None) -> None:
        from triptych.rewards.judge.client import Client  # late: its library takes half a second

        self.config, self.usage = config, JudgeUsage()
        self._breaker = Breaker(config.max_failures, f"judge {config.model} at {config.base_url}")
        self._client = Client(config, self._before_request)
        self._cache = ReplyCache(config.cache) if config.cache else None
        self._places = asyncio.Semaphore(config.max_concurrency)
        self._pace = Pace(config.requests_per_minute)
        self._flights: Flights[float | Unscored] = Flights()
        self._threads = ThreadPoolExecutor(_THREADS, "judging")
        self._shelf = MediaShelf(config, pool, self._in_thread)
        self._stopping = asyncio.Lock()
        self._backoff = wait_exponential(multiplier=config.backoff, max=config.max_wait)
        self._jitter = wait_random(0, config.backoff)

    async def score(self, queries: Sequence[Query]) -> list[float | Unscored]:
        """The outcome of each query; see `Judge.score`."""
        tasks = [asyncio.create_task(self._score(query)) for query in queries]
        try:
            outcomes = await asyncio.gather(*tasks)
        finally:  # after an error: what is asked now would be paid for nothing
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        self._report(outcomes)
        return outcomes

    async def close(self) -> None:
        """Close all that is open."""
        await self._client.close()
        self._shelf.close()
        self._threads.shutdown(wait=True, cancel_futures=True)
        if self._cache:
            self._cache.close()

    def _report(self, outcomes: Sequence[float | Unscored]) -> None:
        counts = Counter(outcome for outcome in outcomes if isinstance(outcome, Unscored))
        if counts:
            _log.warning(
                "judge %s: %d of %d items got no score (%s; the last: %s)",
                self.config.model,
                counts.total(),
                len(outcomes),
                ", ".join(f"{reason} {count}" for reason, count in counts.most_common()),
                self._breaker.last_cause,
            )

    async def _score(self, query: Query) -> float | Unscored:
        digests = [await self._in_thread(digest, item.path) for item in query.media]
        flagged = any(find_injections(text) for text in query.candidate.values())
        name = key(self.config, query, digests, flagged=flagged)
        self.usage = self.usage.plus(flagged=flagged, shared=name in self._flights)
        return await self._flights.join(name, lambda: self._look_up_or_ask(name, query, flagged))

    async def _look_up_or_ask(self, name: str, query: Query, flagged: bool) -> float | Unscored:
        self._breaker.check()
        if self._cache and (kept := await self._in_thread(self._cache.get, name)):
            self.usage = self.usage.plus(cache_hits=1)
            return kept.score
        try:
            score = await self._ask_patiently(name, query, flagged)
        except RequestError as error:
            failure = error.failure
        else:
            self._breaker.passed()
            self.usage = self.usage.plus(scored=1)
            return score
        return await self._give_up(failure)

    async def _ask_patiently(self, name: str, query: Query, flagged: bool) -> float:
        retrying = AsyncRetrying(
            retry=retry_if_exception(self._may_pass),
            stop=stop_after_attempt(self.config.max_retries + 1),
            wait=self._wait,
            before_sleep=self._count_retry,
            reraise=True,
        )
        score: float = await retrying(self._ask, name, query, flagged)
        return score

    async def _ask(self, name: str, query: Query, flagged: bool) -> float:
        # All inside: decoding runs no further ahead than the requests, and a process that is killed
        # loses no more replies than it asks for at once.
        async with self._places:
            parts = await self._shelf.parts(query.media) if query.media else []
            chat = messages(query, parts, flagged=flagged)
            reply = await self._client.ask(chat, query.rubric)
            self.usage = self.usage.plus_reply(reply)
            try:
                score = read_score(reply, query.rubric)
            except BadReplyError as error:
                raise RequestError(Failure(Unscored.BAD_REPLY, str(error))) from error
            if self._cache:
                await self._in_thread(self._cache.put, name, self._kept(query, reply, score))
        return score

    async def _before_request(self) -> None:
        await self._pace.wait()
        self._breaker.check()
        self.usage = self.usage.plus(requests=1)

    def _may_pass(self, error: BaseException) -> bool:
        return (
            isinstance(error, RequestError)
            and error.failure.remedy is Remedy.RETRY
            and error.failure.retry_after <= self.config.max_wait
        )

    def _wait(self, state: RetryCallState) -> float:
        """Seconds: backoff or what the server wants, and jitter, lest all come back at once."""
        error = state.outcome.exception() if state.outcome else None
        wanted = error.failure.retry_after if isinstance(error, RequestError) else 0.0
        return max(self._backoff(state), wanted) + self._jitter(state)

    def _count_retry(self, _: RetryCallState) -> None:
        self.usage = self.usage.plus(retries=1)

    async def _give_up(self, failure: Failure) -> Unscored:
        if failure.remedy is Remedy.STOP:
            async with self._stopping:  # one of them asks for advice; the others hear it
                self._breaker.check()
                self._breaker.open(f"{failure.cause}; {await self._advice(failure)}")
        self.usage = self.usage.plus_unscored(failure.reason)
        # A server that has scored others and refuses an item has nothing against the rest.
        counts = not (failure.remedy is Remedy.NONE and self.usage.scored)
        self._breaker.failed(failure, counts=counts)
        return failure.reason

    async def _advice(self, failure: Failure) -> str:
        match failure.status:
            case 401 | 403:
                return (
                    f"put a key that this server accepts into the environment variable "
                    f"{self.config.api_key_env} (judge.api_key_env)"
                )
            case 404:
                names = await self._client.model_names()
                if self.config.model in names or not names:
                    return "see that judge.base_url (it usually ends in /v1) and judge.model exist"
                return f"set judge.model to one that the server has: {', '.join(names[:10])}"
            case 402 | 429:
                return "see to the account's balance"
            case _:
                return "see that judge.base_url is the address of a chat completions server"

    def _kept(self, query: Query, reply: Reply, score: float) -> KeptReply:
        return KeptReply(
            model=self.config.model or "",
            rubric=f"{query.rubric.name} {query.rubric.version}",
            score=score,
            reply=reply.text,
            prompt_tokens=reply.prompt_tokens,
            completion_tokens=reply.completion_tokens,
        )

    async def _in_thread(self, work: Callable[..., Result], *args: Any) -> Result:
        loop = asyncio.get_running_loop()
        result: Result = await loop.run_in_executor(self._threads, work, *args)
        return result
