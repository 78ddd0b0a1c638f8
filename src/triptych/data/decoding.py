"""Decode media in worker processes, so that a bad file costs itself and nothing else.

Decoders are C code that reads whatever was downloaded: they hang, they crash, they take all memory.
In a worker that ends as a MediaError of the file, and the next one finds a new worker.
"""

import math
import os
import signal
import socket
import subprocess
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Self, TypeAlias

from triptych.data.decode_worker import DONE, READY, Decoded, decode_media, from_answer, to_request
from triptych.data.media import MediaBudget
from triptych.data.sample import Media
from triptych.errors import ConfigError, MediaError, TriptychError

_START_SECONDS = 120.0  # for a worker to import its libraries, from a slow disk
_END_SECONDS = 5.0  # after which a killed worker is left to the kernel: its disk may be gone


@dataclass(frozen=True)
class DecodeLimits:
    """Where media are decoded, and when a decoder is given up.

    Attributes:
        workers: processes that decode side by side, for each training process. 0 decodes in the
            process itself and without limits: a file that hangs or crashes the decoder takes the
            run with it.
        seconds: longest time for one media item; then its worker is killed and replaced.
        memory_gib: most memory that decoding one media item may take. Held to on Linux only.
    """

    workers: int = 2
    seconds: float = 120.0
    memory_gib: float = 4.0

    def __post_init__(self) -> None:
        if self.workers < 0:
            raise ConfigError(f"decode.workers is {self.workers}; use 0 or more")
        for name in ("seconds", "memory_gib"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise ConfigError(f"decode.{name} is {getattr(self, name)}; use a number above 0")


IN_PROCESS = DecodeLimits(workers=0)


class DecodePool:
    """Decodes media items side by side. The workers start at once, and live on.

    Close it, or use it as a context, to end the workers; they also end with the pool, and with the
    process that owns it, however that ends.
    """

    def __init__(self, limits: DecodeLimits = IN_PROCESS) -> None:
        self.limits = limits
        self._jobs: _Jobs = SimpleQueue()
        seats = [_Seat(limits, self._jobs) for _ in range(limits.workers)]
        self._end = weakref.finalize(self, _end, self._jobs, seats, os.getpid())

    def submit(self, media: Media, budget: MediaBudget) -> "Future[Decoded]":
        """Begin to decode an item. The future's result raises MediaError, by file and cause."""
        job = _Job(Future(), media, budget)
        if not self._end.alive:
            raise ValueError("the decode pool is closed")
        if self.limits.workers:
            self._jobs.put(job)
        else:
            job.run(decode_media)
        return job.future

    def decode(self, media: Sequence[Media], budget: MediaBudget) -> list[Decoded]:
        """Decode the items of a sample, side by side.

        Raises:
            MediaError: one of them cannot be decoded, in time and memory.
        """
        futures = [self.submit(item, budget) for item in media]
        try:
            return [future.result() for future in futures]
        finally:
            for future in futures:
                future.cancel()

    def outcomes(
        self, media: Iterable[Media], budget: MediaBudget
    ) -> Iterator[Decoded | MediaError]:
        """Decode many items, in order and not far ahead: what was decoded, or why it was not."""
        ahead: deque[Future[Decoded]] = deque()
        for item in media:
            ahead.append(self.submit(item, budget))
            if len(ahead) > 2 * self.limits.workers:
                yield _outcome(ahead.popleft())
        while ahead:
            yield _outcome(ahead.popleft())

    def close(self) -> None:
        """End the workers. What waits is cancelled, what is being decoded is given up."""
        self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _outcome(future: "Future[Decoded]") -> Decoded | MediaError:
    try:
        return future.result()
    except MediaError as error:
        return error


@dataclass(frozen=True)
class _Job:
    future: "Future[Decoded]"
    media: Media
    budget: MediaBudget

    def run(self, decode: Callable[[Media, MediaBudget], Decoded]) -> None:
        if self.future.set_running_or_notify_cancel():
            try:
                self.future.set_result(decode(self.media, self.budget))
            except Exception as error:
                self.future.set_exception(error)


_Jobs: TypeAlias = "SimpleQueue[_Job | None]"


class _Seat:
    """A thread, and the worker process that does its jobs, one after the other."""

    def __init__(self, limits: DecodeLimits, jobs: _Jobs) -> None:
        self._limits, self._jobs = limits, jobs
        self._worker: _Worker | None = _Worker(limits)
        self._given_up = False
        # Of the two above. The garbage collector may call `give_up` from wherever it holds.
        self._lock = threading.RLock()
        self._thread = threading.Thread(target=self._serve, name="decoding", daemon=True)
        self._thread.start()

    def give_up(self) -> None:
        """Interrupt the worker, if it is in the middle of something, and start no other."""
        with self._lock:
            self._given_up = True
            if self._worker:
                self._worker.interrupt()

    def join(self) -> None:
        """Wait for the thread, unless it is the one that calls: it may collect the garbage."""
        if self._thread is not threading.current_thread():
            self._thread.join(_END_SECONDS)

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None:
            job.run(self._decode)
            del job  # while waiting for the next one it would keep the frames in memory
        if self._worker:
            self._worker.bury()

    def _decode(self, media: Media, budget: MediaBudget) -> Decoded:
        worker = self._living_worker(media)
        try:
            return worker.decode(media, budget)
        except _LostWorkerError as error:
            worker.bury()
            raise MediaError(f"{media.path}: {error}") from None

    def _living_worker(self, media: Media) -> "_Worker":
        """The worker, or another one, where it died over the last item or while it had nothing to
        do.
        """
        if self._worker and not self._worker.lives:
            self._worker.bury()
        with self._lock:
            if self._given_up:
                raise MediaError(f"{media.path}: is not decoded, for the decode pool was closed")
            if self._worker is None or not self._worker.lives:
                self._worker = _Worker(self._limits)
            worker = self._worker
        worker.await_start()
        return worker


class _LostWorkerError(Exception):
    """A worker died or must be ended; the message says what became of the decoder."""


class _Worker:
    """A process that decodes."""

    def __init__(self, limits: DecodeLimits) -> None:
        self._seconds = limits.seconds
        self._has_started = False
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-P", "-m", "triptych.data.decode_worker"),
                    *(str(theirs.fileno()), str(limits.seconds)),
                    str(int(limits.memory_gib * 2**30)),
                ],
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
                    "OPENBLAS_NUM_THREADS": "1",  # NumPy reserves memory for each thread
                },
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,  # ours may be a pipe that expects nothing of a decoder
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C is for the run to hear
            )

    @property
    def lives(self) -> bool:
        return self._process.poll() is None

    def await_start(self) -> None:
        """Wait until the process is ready, so that starting takes nothing of an item's time.

        Raises:
            TriptychError: it does not start.
        """
        if self._has_started:
            return
        started = self._receive(_START_SECONDS)
        if started is None or started[0] != READY:
            self.bury()
            raise TriptychError(
                "no decode worker can be started here (it may have said why, above); set "
                "decode.workers to 0 to decode in the process itself"
            )
        self._has_started = True

    def decode(self, media: Media, budget: MediaBudget) -> Decoded:
        """Decode an item.

        Raises:
            MediaError: it cannot be decoded.
            _LostWorkerError: the worker hangs or died over it.
        """
        with suppress(BrokenPipeError):  # it is dying; that no answer comes will tell
            self._socket.sendall(to_request(media, budget))
        answer = self._receive(self._seconds)
        if answer is None:
            raise _LostWorkerError(
                f"the decoder took more than {self._seconds:g} s (decode.seconds) and was killed"
            )
        message, descriptor = answer
        if message != DONE or descriptor is None:
            raise _LostWorkerError(self._last_words())
        try:
            return from_answer(descriptor)
        finally:
            os.close(descriptor)

    def interrupt(self) -> None:
        """Kill the process. From another thread, which must leave the socket alone."""
        self._process.kill()

    def bury(self) -> None:
        """Kill the process if it still lives, and let go of what it held."""
        self._process.kill()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_SECONDS)
        self._socket.close()

    def _receive(self, seconds: float) -> tuple[bytes, int | None] | None:
        """A message and the file that came with it; b"" from a dead worker, None if too late."""
        self._socket.settimeout(seconds)
        try:
            message, descriptors, *_ = socket.recv_fds(self._socket, 1, 1)
        except TimeoutError:
            return None
        except ConnectionResetError:
            return b"", None
        return message, descriptors[0] if descriptors else None

    def _last_words(self) -> str:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_SECONDS)
        code = self._process.returncode
        if code == -signal.SIGKILL:
            return "the decoder was killed; did it take all memory? (decode.memory_gib)"
        if code is not None and code < 0:
            return f"the decoder crashed ({signal.Signals(-code).name})"
        return f"the decoder ended without an answer (exit code {code})"


def _end(jobs: _Jobs, seats: Sequence[_Seat], owner: int) -> None:
    if os.getpid() != owner:  # a fork of the process, with neither threads nor workers
        return
    with suppress(Empty):
        while job := jobs.get_nowait():
            job.future.cancel()
    for seat in seats:
        seat.give_up()
        jobs.put(None)
    for seat in seats:
        seat.join()
