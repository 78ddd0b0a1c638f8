"""Work that is done in a thread before anyone asks for it."""

import threading
from collections import deque
from collections.abc import Callable, Hashable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from queue import SimpleQueue
from typing import Generic, TypeVar

Item = TypeVar("Item")

_END_SECONDS = 5.0  # after which a thread that is in the middle of an item is left to itself


class Prefetcher(Generic[Item]):
    """Works on items, in the order in which they are added, in one thread.

    Close it at the end. It is not thread-safe: one thread adds, takes and closes.

    Args:
        begin: gives the item with work on it begun elsewhere, in a process for instance.
        finish: gives the item as it is wanted.
        ahead: items that are begun before the first of them is finished.
    """

    def __init__(
        self, begin: Callable[[Item], Item], finish: Callable[[Item], Item], ahead: int
    ) -> None:
        self._begin, self._finish, self._ahead = begin, finish, ahead
        self._futures: dict[Hashable, Future[Item]] = {}
        self._jobs: SimpleQueue[tuple[Item, Future[Item]] | None] = SimpleQueue()
        self._begun: deque[tuple[Item, Future[Item]]] = deque()
        self._closed = False
        # A daemon: a file that hangs must not keep the process from ending.
        self._thread = threading.Thread(target=self._serve, name="prefetching", daemon=True)
        self._thread.start()

    def add(self, key: Hashable, item: Item) -> None:
        """Work on a further item, unless its key is there already."""
        if key not in self._futures:
            self._futures[key] = Future()
            self._jobs.put((item, self._futures[key]))

    def take(self, key: Hashable) -> "Future[Item] | None":
        """The item of a key, finished, for the caller alone; None where there is none.

        The future's result raises what `begin` or `finish` raised.
        """
        return self._futures.pop(key, None)

    def close(self) -> None:
        """Give up what nobody has taken, and end the thread."""
        self._closed = True
        for future in self._futures.values():
            future.cancel()
        self._futures.clear()
        self._jobs.put(None)
        self._thread.join(_END_SECONDS)

    def _serve(self) -> None:
        while not self._closed:
            if self._begun and (len(self._begun) > self._ahead or self._jobs.empty()):
                self._finish_one()
            else:
                self._begin_one()

    def _begin_one(self) -> None:
        job = self._jobs.get()
        if job is None or job[1].cancelled():
            return
        item, future = job
        try:
            self._begun.append((self._begin(item), future))
        except Exception as error:
            _settle(future, error)

    def _finish_one(self) -> None:
        begun, future = self._begun.popleft()
        try:
            made: Item | Exception = self._finish(begun)
        except Exception as error:
            made = error
        _settle(future, made)


def _settle(future: "Future[Item]", outcome: Item | Exception) -> None:
    with suppress(InvalidStateError):  # cancelled meanwhile
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
