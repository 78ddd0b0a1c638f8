"""The judge: takes items, gives scores, and says why where it cannot."""

import weakref
from collections.abc import Sequence
from typing import Self

from triptych.data.decoding import DecodePool
from triptych.endpoint.loop import LoopThread
from triptych.rewards.base import Unscored
from triptych.rewards.judge.config import JudgeConfig
from triptych.rewards.judge.request import Query
from triptych.rewards.judge.session import JudgeSession
from triptych.rewards.judge.usage import JudgeUsage


class Judge:
    """Asks a model on an OpenAI-compatible server for scores.

    Limits, cache and connections are shared by all calls, from whichever thread or event loop they
    come. Close it, or use it as a context; it also ends with the process.

    Args:
        config: which model, and how it is asked.
        pool: decodes media; by default the judge starts one of its own when it needs it.

    Raises:
        ConfigError: no model is named, or the key cannot be sent.
        EndpointError: the cache cannot be used.
    """

    def __init__(self, config: JudgeConfig, pool: DecodePool | None = None) -> None:
        self.config = config
        self._session = JudgeSession(config, pool)
        self._loop = LoopThread("judging", "the judge", self._session.close)
        self._end = weakref.finalize(self, self._loop.close)

    async def score(self, queries: Sequence[Query]) -> list[float | Unscored]:
        """The score of each query in [0, 1], or why it has none.

        Queries that are the same are asked once, and none that is in the cache.

        Raises:
            EndpointError: key, address or model are wrong, or too many queries in a row got no
                score; from then on nothing is asked any more.
            MediaError: a media file cannot be decoded.
        """
        return await self._loop.run(self._session.score(queries))

    @property
    def usage(self) -> JudgeUsage:
        """What was done and spent so far."""
        return self._session.usage

    def close(self) -> None:
        """Give up what is being asked, and close the connections and the cache."""
        self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
