"""An event loop of one's own, in a thread.

Whoever calls an async function runs it in a loop that may be gone by the next call (as
`rewards.score` and TRL do), or in several, or in none. Connections, limits and shared work outlive
that here.
"""

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import CancelledError, Future
from typing import Any, TypeVar

from triptych.endpoint.failures import EndpointError

Result = TypeVar("Result")

_END_SECONDS = 10.0


class LoopThread:
    """A thread that runs an event loop until it is closed.

    Args:
        name: of the thread.
        owner: whose it is, for messages: "the judge".
        at_end: awaited in the loop before it ends.
    """

    def __init__(self, name: str, owner: str, at_end: Callable[[], Awaitable[None]]) -> None:
        self._at_end, self._process = at_end, os.getpid()
        self._closed_why = f"{owner} is closed, or another process's; make a new one"
        self._running = threading.Event()
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
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
            EndpointError: the thread has been closed, before or meanwhile, or is another process's.
        """
        try:
            return await asyncio.wrap_future(self.submit(work))
        except asyncio.CancelledError:
            caller = asyncio.current_task()
            if caller and caller.cancelling():
                raise
        raise EndpointError(self._closed_why)

    def wait(self, work: Coroutine[Any, Any, Result]) -> Result:
        """The same for callers without a loop; cancelled when they are interrupted."""
        future = self.submit(work)
        try:
            return future.result()
        except CancelledError:
            raise EndpointError(self._closed_why) from None
        finally:
            future.cancel()

    def submit(self, work: Coroutine[Any, Any, Result]) -> "Future[Result]":
        """Begin work in the thread's loop.

        Raises:
            EndpointError: the thread has been closed, or is another process's.
        """
        if not (self._running.is_set() and self._thread.is_alive()):  # a fork has no threads
            work.close()
            raise EndpointError(self._closed_why)
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def close(self) -> None:
        """Cancel what is running, and end the thread. May be called again."""
        if os.getpid() != self._process:  # a fork of it, without the thread
            return
        if self._running.is_set():
            self._loop.call_soon_threadsafe(self._closed.set)
        if threading.current_thread() is not self._thread:  # the garbage collector runs anywhere
            self._thread.join(_END_SECONDS)
