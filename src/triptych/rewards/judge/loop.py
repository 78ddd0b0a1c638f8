"""An event loop of one's own, in a thread.

Whoever calls an async reward function runs it in a loop that may be gone by the next call (as
`rewards.score` and TRL do), or in several. Connections, limits and shared work outlive that here.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from triptych.rewards.judge.failures import JudgeError

Result = TypeVar("Result")

_END_SECONDS = 10.0
_CLOSED = "the judge is closed, or another process's; make a new one"


class LoopThread:
    """A thread that runs an event loop until it is closed.

    Args:
        at_end: awaited in the loop before it ends.
    """

    def __init__(self, at_end: Callable[[], Awaitable[None]]) -> None:
        self._at_end = at_end
        self._running = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="judging", daemon=True)
        self._thread.start()
        self._running.wait()

    def _serve(self) -> None:
        asyncio.run(self._until_closed())

    async def _until_closed(self) -> None:
        self._loop, self._closed = asyncio.get_running_loop(), asyncio.Event()
        self._running.set()
        await self._closed.wait()
        self._running.clear()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._at_end()

    async def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """The result of work that is done in the thread's loop; cancelled when the caller is.

        Raises:
            JudgeError: the thread has been closed, before or meanwhile, or is another process's.
        """
        if not (self._running.is_set() and self._thread.is_alive()):  # a fork has no threads
            work.close()
            raise JudgeError(_CLOSED)
        try:
            return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))
        except asyncio.CancelledError:
            caller = asyncio.current_task()
            if caller and caller.cancelling():
                raise
        raise JudgeError(_CLOSED)

    def close(self) -> None:
        """Cancel what is running, and end the thread. May be called again."""
        if self._running.is_set():
            self._loop.call_soon_threadsafe(self._closed.set)
        if threading.current_thread() is not self._thread:  # the garbage collector runs anywhere
            self._thread.join(_END_SECONDS)
