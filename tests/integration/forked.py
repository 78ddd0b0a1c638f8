"""`triptych` in processes that begin without delay: forked from one that has imported everything.

A run of a tiny model takes about as long as importing what it needs; here it may be killed and
started again thirty times.
"""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import psutil

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(
    ["triptych.cli.training", "triptych.training.grpo", "triptych.training.validation"]
)


def letters(prompts: Any, completions: Any, **columns: Any) -> list[float | None]:
    """A reward that tells the random completions of an untrained model apart."""
    return [sum(map(str.isalpha, text)) / (1 + len(text)) for text in completions]


def _die_writing(name: str) -> None:
    def watch(event: str, args: tuple[Any, ...]) -> None:
        if event == "open" and "w" in str(args[1]) and str(args[0]).endswith(name):
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


def _run(words: Sequence[str], log: Path, dies_writing: str) -> None:
    import torch

    from triptych.cli.main import main

    if dies_writing:
        _die_writing(dies_writing)
    torch.set_num_threads(1)
    with log.open("a", encoding="utf-8") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    code = main(words)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


class Run:
    """`triptych WORDS` in a process of its own.

    Args:
        words: of the command.
        log: receives what it prints.
        dies_writing: the end of a path; SIGKILL when Python opens such a file to write it.
    """

    def __init__(self, words: Sequence[str], log: Path, dies_writing: str = "") -> None:
        self.log = log
        args = list(words), log, dies_writing
        self.process: ForkServerProcess = _context.Process(target=_run, args=args)
        self.process.start()

    @property
    def printed(self) -> str:
        return self.log.read_text(encoding="utf-8")

    def wait(self) -> int:
        """Its exit status, when it has ended by itself."""
        self.process.join()
        assert self.process.exitcode is not None
        return self.process.exitcode

    def was_killed(self) -> bool:
        """Whether SIGKILL ended it, when it has ended."""
        self.process.join()
        return self.process.exitcode == -signal.SIGKILL

    def cpu_seconds(self) -> float:
        """Of work so far: the same on a machine with others, where wall time is not."""
        assert self.process.pid is not None
        try:
            times = psutil.Process(self.process.pid).cpu_times()
        except psutil.NoSuchProcess:
            return 0.0
        return float(times.user + times.system)

    def until(self, moment: Callable[[], bool]) -> bool:
        """Wait for a moment; False where the run ended before."""
        while self.process.is_alive():
            if moment():
                return True
            time.sleep(0.0005)
        return False

    def send(self, number: signal.Signals) -> None:
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    def kill_at(self, moment: Callable[[], bool]) -> bool:
        """SIGKILL at a moment; False where the run ended before."""
        in_time = self.until(moment)
        self.process.kill()
        return self.was_killed() and in_time
