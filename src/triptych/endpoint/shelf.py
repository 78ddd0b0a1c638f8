"""What the media of the latest samples became: the completions of one sample share it."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Generic, TypeVar

from triptych.data.decoding import DecodeLimits, DecodePool
from triptych.data.sample import Media

Made = TypeVar("Made")


class MediaShelf(Generic[Made]):
    """Makes something of the media of a sample, once for all who ask at about the same time.

    Args:
        make: what is made of media, with a pool that decodes.
        size: samples that are remembered.
        pool: decodes; None starts one when it is needed.
        in_thread: awaits a function that takes its time.
    """

    def __init__(
        self,
        make: Callable[[Sequence[Media], DecodePool], Made],
        size: int,
        pool: DecodePool | None,
        in_thread: Callable[..., Coroutine[Any, Any, Made]],
    ) -> None:
        self._make, self._size, self._in_thread = make, size, in_thread
        self._pool, self._own_pool = pool, pool is None
        self._tasks: OrderedDict[tuple[Media, ...], asyncio.Task[Made]] = OrderedDict()

    async def get(self, media: Sequence[Media]) -> Made:
        """What is made of these media.

        Raises:
            MediaError: one of them cannot be decoded.
        """
        name = tuple(media)
        if self._pool is None:
            self._pool = DecodePool(DecodeLimits())
        task = self._tasks.get(name)
        if task is None:
            task = asyncio.create_task(self._in_thread(self._make, name, self._pool))
            self._tasks[name] = task
            while len(self._tasks) > self._size:
                self._tasks.popitem(last=False)
        return await asyncio.shield(task)

    def close(self) -> None:
        """End the workers that it started."""
        if self._pool and self._own_pool:
            self._pool.close()
