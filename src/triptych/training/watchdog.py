"""A run of several processes that cannot go on says so, and ends.

A process that waits for another waits for ever, or until its backend gives up after half an hour,
and then names a collective operation, not a cause. Here a thread of every process writes what its
main thread does, every two seconds, to ``RUN/processes/PHASE/rank-N.json``, and reads what the
others write:

* A process that gives no sign of life was killed, or its machine is down. One that failed has said
  why. Either way the others end themselves, with that message, once they wait.
* Where no process gets on for a set time, and all of them wait inside torch, they wait for each
  other: all end, and every one says where each of them stands.
* Where this one does not get on but another does, that is told, and waited for.

Whether a process gets on is seen from outside, by the Python frames of its main thread: they stay
the same while it waits, and in nothing else for so long.

The folder must be one that all machines share, as for checkpoints.
"""

import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

import torch

import triptych
from triptych.errors import Preempted, TriptychError
from triptych.files import write_text

DONE = "done"
BEAT_SECONDS = 2.0
"""From one sign of life to the next."""
SILENT_SECONDS = 30.0
"""Without a sign of life a process counts as dead after this time."""
WAIT_BEATS = 5
"""A process that has stood still for so many signs of life of its own waits."""
_OURS, _TORCH = (str(Path(str(package.__file__)).parent) for package in (triptych, torch))


class RankError(TriptychError):
    """Another process of the run is gone, or all wait for each other."""


@dataclass(frozen=True)
class Beat:
    """What a process says of itself.

    Attributes:
        rank: its number.
        place: host and process id.
        attempt: which start of the run it belongs to.
        beats: signs of life so far.
        moves: times that its main thread stood somewhere else than before.
        phase: of the step that it is in; "" between phases.
        step: optimizer steps that it has made.
        where: the lines of code that it is at, of ours and of what is called there.
        in_torch: it waits in torch, for other processes or for its device.
        ended: how it ended: `DONE`, or the error; None while it runs.
    """

    rank: int
    place: str
    attempt: str = ""
    beats: int = 0
    moves: int = 0
    phase: str = ""
    step: int = 0
    where: str = ""
    in_torch: bool = False
    ended: str | None = None

    def line(self, still: float) -> str:
        """One line for people; `still` is for how long it has not got on, in seconds."""
        if self.ended is not None:
            return f"rank {self.rank} ({self.place}): ended: {self.ended}"
        doing = f"{self.phase or 'between phases'} of step {self.step + 1}"
        return f"rank {self.rank} ({self.place}): {doing}, for {still:.0f} s at {self.where}"


class _Seen:
    """What was last read of a process, and since when on the clock here it is so."""

    def __init__(self, now: float) -> None:
        self.beat: Beat | None = None
        self.alive_at = self.moved_at = now

    def take(self, beat: Beat, now: float) -> None:
        if self.beat is None or beat.beats != self.beat.beats:
            self.alive_at = now
        if self.beat is None or beat.moves != self.beat.moves:
            self.moved_at = now
        self.beat = beat


class Watchdog:
    """Watches over the processes of a run; see the head of the module. For a single one it is idle.

    Args:
        folder: for the signs of life; every process the same.
        rank: number of this process.
        processes: how many there are.
        patience: seconds after which a process that does not get on counts as stuck; 0 never.
        at: tells the phase and the step of this process, called in a thread.
        end: ends the process with a message; by default at once, whatever it waits for.
        beat_seconds: see `BEAT_SECONDS`.
        silent_seconds: see `SILENT_SECONDS`.
    """

    def __init__(
        self,
        folder: Path,
        rank: int,
        processes: int,
        patience: float,
        at: Callable[[], tuple[str, int]],
        *,
        end: Callable[[str], None] | None = None,
        beat_seconds: float = BEAT_SECONDS,
        silent_seconds: float = SILENT_SECONDS,
    ) -> None:
        self._folder, self._patience, self._at = folder, patience, at
        self._end = end or _end_process
        self._beat_seconds, self._silent_seconds = beat_seconds, silent_seconds
        self._beat = Beat(rank, f"{socket.gethostname()}:{os.getpid()}")
        self._others = [other for other in range(processes) if other != rank]
        self._stack: Any = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._told_at = 0.0
        self._seen: dict[int, _Seen] = {}

    @contextmanager
    def watching(self, attempt: str) -> Iterator[None]:
        """Watch while the calling thread is inside.

        Args:
            attempt: names this start of the run, the same on all processes: what an earlier one
                left in the folder is none of its.

        Raises:
            RankError: in place of what torch raises where another process is gone.
        """
        if not self._others:
            yield
            return
        self._begin(attempt)
        try:
            yield
        except Preempted:
            self._stop_thread()
            self._say_ended(DONE)
            raise
        except BaseException as error:
            self._stop_thread()
            if (cause := self._cause(error)) is not None:
                self._say_ended(f"ended because of another: {cause}")
                raise RankError(cause) from error
            self._say_ended(f"{type(error).__name__}: {error}")
            raise
        self._stop_thread()
        self._say_ended(DONE)

    def _begin(self, attempt: str) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._beat = Beat(self._beat.rank, self._beat.place, attempt)
        now = time.monotonic()
        self._seen = {rank: _Seen(now) for rank in (self._beat.rank, *self._others)}
        self._stop.clear()
        main = threading.get_ident()
        self._write()
        self._thread = threading.Thread(
            target=self._serve, args=(main,), name="watchdog", daemon=True
        )
        self._thread.start()

    def _stop_thread(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _say_ended(self, how: str) -> None:
        self._beat = replace(self._beat, ended=how, beats=self._beat.beats + 1)
        with suppress(OSError):
            self._write()

    def _serve(self, main: int) -> None:
        while not self._stop.wait(self._beat_seconds):
            self._look_at_main(main)
            with suppress(OSError):  # a file system that is away for a moment
                self._write()
                self._read()
            now = time.monotonic()
            waits = now - self._seen[self._beat.rank].moved_at > WAIT_BEATS * self._beat_seconds
            why = (self._lost(now) if waits else None) or self._stuck(now)
            if why is not None and not self._stop.is_set():
                self._beat = replace(self._beat, ended=why)
                with suppress(OSError):
                    self._write()
                self._end(why)
                return

    # --- signs of life -------------------------------------------------------------------------

    def _look_at_main(self, main: int) -> None:
        frames = list(_frames(sys._current_frames().get(main)))
        stack = [(id(frame), frame.f_lasti) for frame in frames]
        phase, step = self._at()
        moved = stack != self._stack
        self._stack = stack
        self._beat = replace(
            self._beat,
            beats=self._beat.beats + 1,
            moves=self._beat.moves + moved,
            phase=phase,
            step=step,
            where=_where(frames),
            in_torch=bool(frames) and frames[0].f_code.co_filename.startswith(_TORCH),
        )

    def _file(self, rank: int) -> Path:
        return self._folder / f"rank-{rank}.json"

    def _write(self) -> None:
        write_text(self._file(self._beat.rank), json.dumps(asdict(self._beat)) + "\n")

    def _read(self) -> None:
        now = time.monotonic()
        self._seen[self._beat.rank].take(self._beat, now)
        for rank in self._others:
            with suppress(FileNotFoundError, ValueError, TypeError):
                beat = Beat(**json.loads(self._file(rank).read_text(encoding="utf-8")))
                if beat.attempt == self._beat.attempt:
                    self._seen[rank].take(beat, now)

    # --- judging -------------------------------------------------------------------------------

    def _lost(self, now: float) -> str | None:
        """Who of the others is gone, in words."""
        for rank in self._others:
            seen = self._seen[rank]
            if seen.beat is not None and seen.beat.ended not in (None, DONE):
                return f"rank {rank} ({seen.beat.place}) failed: {seen.beat.ended}"
            ended = seen.beat is not None and seen.beat.ended is not None
            if not ended and now - seen.alive_at > self._silent_seconds:
                last = "it never began" if seen.beat is None else f"last: {self._line(rank, now)}"
                return (
                    f"rank {rank} gave no sign of life for {now - seen.alive_at:.0f} s: it was "
                    "killed (out of memory?), or its machine or file system is away; "
                    f"{last}. Go on by --resume"
                )
        return None

    def _stuck(self, now: float) -> str | None:
        """That all wait for each other; tells of a wait that is not for ever."""
        own = self._seen[self._beat.rank]
        if not self._patience or now - own.moved_at < self._patience:
            return None
        still = {rank: now - seen.moved_at for rank, seen in self._seen.items()}
        lines = "\n".join(f"  {self._line(rank, now)}" for rank in sorted(still))
        waits = [seen.beat is not None and seen.beat.in_torch for seen in self._seen.values()]
        if min(still.values()) >= self._patience and all(waits):
            return f"no process has got on for {min(still.values()):.0f} s:\n{lines}"
        if now - self._told_at >= self._patience:
            self._told_at = now
            waited = f"rank {self._beat.rank} has waited for {still[self._beat.rank]:.0f} s:"
            print(f"{waited}\n{lines}", file=sys.stderr, flush=True)
        return None

    def _line(self, rank: int, now: float) -> str:
        seen = self._seen[rank]
        if seen.beat is None:
            return f"rank {rank}: has not begun"
        return seen.beat.line(now - seen.moved_at)

    def _cause(self, error: BaseException) -> str | None:
        """Whether what torch raised came of another process; what became of that one."""
        if not isinstance(error, RuntimeError) or not _is_of_a_peer(error):
            return None
        until = time.monotonic() + self._silent_seconds + 2 * self._beat_seconds
        while time.monotonic() < until:
            with suppress(OSError):
                self._read()
            if (cause := self._lost(time.monotonic())) is not None:
                return cause
            time.sleep(min(self._beat_seconds, 0.5))
        return None


def _is_of_a_peer(error: RuntimeError) -> bool:
    """Whether a connection broke; torch has no class of its own for that with all backends."""
    if isinstance(error, torch.distributed.DistError):
        return True
    words = ("gloo", "Connection", "connection", "NCCL", "ncclRemoteError", "TCPStore")
    return any(word in str(error) for word in words)


def _frames(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _where(frames: list[FrameType]) -> str:
    """The innermost line of ours, and the innermost one of all."""
    if not frames:
        return "nothing"
    ours = next((f for f in frames if f.f_code.co_filename.startswith(_OURS)), frames[0])
    lines = [_line_of(ours)] if ours is frames[0] else [_line_of(ours), _line_of(frames[0])]
    return " > ".join(lines)


def _line_of(frame: FrameType) -> str:
    parts = Path(frame.f_code.co_filename).parts[-3:]
    return f"{'/'.join(parts)}:{frame.f_lineno} {frame.f_code.co_name}"


def _end_process(message: str) -> None:
    """At once: the main thread waits for what will not come, and nothing can wake it."""
    print(f"Error: {message}", file=sys.stderr, flush=True)
    os._exit(1)  # as any error does
