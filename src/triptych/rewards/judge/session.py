"""What a judge does in its event loop: look up, ask, keep, and say why there is no score."""

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from triptych.data.decoding import DecodePool
from triptych.data.sample import Media
from triptych.endpoint.chat import Part
from triptych.endpoint.failures import Failure, FailureReason, RequestError
from triptych.endpoint.reply import BadReplyError, Reply
from triptych.endpoint.session import Session, Wording
from triptych.endpoint.shelf import MediaShelf
from triptych.rewards.base import Unscored
from triptych.rewards.guards import find_injections
from triptych.rewards.judge.cache import KeptReply, ReplyCache
from triptych.rewards.judge.config import JudgeConfig
from triptych.rewards.judge.flights import Flights
from triptych.rewards.judge.forms import ReplyForms
from triptych.rewards.judge.media import digest, message_parts
from triptych.rewards.judge.reply import read_score
from triptych.rewards.judge.request import Query, key, messages, sampling
from triptych.rewards.judge.usage import JudgeUsage

_log = logging.getLogger(__name__)

_WORDING = Wording(
    asked="judge",
    wanted="score",
    threads="judging",
    bad_reply="use a model that keeps to JSON, or raise judge.max_tokens",
)


class JudgeSession:
    """The state of a judge. All but the constructor runs in one event loop."""

    def __init__(self, config: JudgeConfig, pool: DecodePool | None) -> None:
        self.config = config
        self._endpoint = Session(config, _WORDING, JudgeUsage())
        self._cache = ReplyCache(config.cache) if config.cache else None
        self._flights: Flights[float | Unscored] = Flights()
        self._shelf: MediaShelf[list[Part]] = MediaShelf(
            self._show, config.max_concurrency, pool, self._endpoint.in_thread
        )
        self._forms = ReplyForms(config.base_url)

    @property
    def usage(self) -> JudgeUsage:
        """What was done and spent so far."""
        unscored = {Unscored(why): count for why, count in self._endpoint.given_up.items()}
        return replace(self._endpoint.usage.priced(self.config), unscored=unscored)

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
        await self._endpoint.close()
        self._shelf.close()
        if self._cache:
            self._cache.close()
        _log.info("judge %s: %s", self.config.model, self.usage)

    def _report(self, outcomes: Sequence[float | Unscored]) -> None:
        counts = Counter(outcome for outcome in outcomes if isinstance(outcome, Unscored))
        if counts:
            _log.warning(
                "judge %s: %d of %d items got no score (%s; the last: %s)",
                self.config.model,
                counts.total(),
                len(outcomes),
                ", ".join(f"{reason} {count}" for reason, count in counts.most_common()),
                self._endpoint.last_cause,
            )

    async def _score(self, query: Query) -> float | Unscored:
        digests = [await self._endpoint.in_thread(digest, item.path) for item in query.media]
        flagged = any(find_injections(text) for text in query.candidate.values())
        name = key(self.config, query, digests, flagged=flagged)
        self._count(flagged=flagged, shared=name in self._flights)
        return await self._flights.join(name, lambda: self._look_up_or_ask(name, query, flagged))

    async def _look_up_or_ask(self, name: str, query: Query, flagged: bool) -> float | Unscored:
        self._endpoint.check()
        if self._cache and (kept := await self._endpoint.in_thread(self._cache.get, name)):
            self._count(cache_hits=1)
            return kept.score
        outcome = await self._endpoint.attempt(self._ask, name, query, flagged)
        if isinstance(outcome, Failure):
            return Unscored(outcome.reason)
        self._count(scored=1)
        return outcome

    async def _ask(self, name: str, query: Query, flagged: bool) -> float:
        # All of it is one attempt: decoding runs no further ahead than the requests, and a process
        # that is killed loses no more replies than it asks for at once.
        parts = await self._shelf.get(query.media) if query.media else []
        chat = messages(query, parts, flagged=flagged)

        async def request(form: dict[str, Any]) -> Reply:
            return await self._endpoint.complete(chat, **form, **sampling(self.config))

        reply = await self._forms.ask(request, query.rubric)
        try:
            score = read_score(reply, query.rubric)
        except BadReplyError as error:
            raise RequestError(Failure(FailureReason.BAD_REPLY, str(error))) from error
        if self._cache:
            kept = self._kept(query, reply, score)
            await self._endpoint.in_thread(self._cache.put, name, kept)
        return score

    def _show(self, media: Sequence[Media], pool: DecodePool) -> list[Part]:
        return message_parts(media, self.config.media, pool)

    def _count(self, **counts: int) -> None:
        self._endpoint.usage = self._endpoint.usage.plus(**counts)

    def _kept(self, query: Query, reply: Reply, score: float) -> KeptReply:
        return KeptReply(
            model=self.config.named_model,
            rubric=f"{query.rubric.name} {query.rubric.version}",
            score=score,
            reply=reply.text,
            prompt_tokens=reply.prompt_tokens,
            completion_tokens=reply.completion_tokens,
        )
