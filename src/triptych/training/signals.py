"""Stopping on request: SIGTERM, SIGUSR1 and a first Ctrl-C ask a run to stop after its step.

Clusters warn a job before they kill it: Kubernetes and `scancel` by SIGTERM, `sbatch
--signal=USR1@300` by SIGUSR1. A run then writes a checkpoint at the next step's end and stops, so
that nothing of it is lost. A second signal stops it at once.
"""

import os
import signal
import threading
import time
from types import FrameType
from typing import Any, Self

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
_SAME_REQUEST = 1.0
"""Seconds within which further signals are the first one again: a launcher passes on to its
processes what these may have got themselves."""


class StopRequest:
    """Notes, while it is entered, that the process was asked to stop.

    Handlers belong to a process's main thread: entered in another one, this notes nothing.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._at = 0.0
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        self.received = None
        if threading.current_thread() is threading.main_thread():
            # What was ignored stays so: Ctrl-C is not meant for jobs in a shell's background.
            heard = [one for one in SIGNALS if signal.getsignal(one) is not signal.SIG_IGN]
            self._before = {one: signal.signal(one, self._on_signal) for one in heard}
        return self

    def __exit__(self, *_: object) -> None:
        for one, handler in self._before.items():
            signal.signal(one, handler)
        self._before = {}

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.received is None:
            self.received, self._at = signal.Signals(number), time.monotonic()
            # Not print: the signal may have come in the middle of one.
            line = f"triptych: {self.received.name}: stops after this step; again stops at once\n"
            os.write(2, line.encode())
        elif time.monotonic() - self._at > _SAME_REQUEST:
            self.__exit__()
            os.kill(os.getpid(), number)
