"""Where the time of a training run goes: by phase over the run, and per optimizer step."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import torch

TOTAL = "total"
OVERLAPPED = "reward_overlapped"
_NO_PHASES = (TOTAL, OVERLAPPED)  # their time is that of phases, too


class Timeline:
    """Adds up what phases take. Phases follow each other: one ends before the next begins.

    Args:
        device: where the model computes. What is asked of an accelerator runs on after the call
            that asked; a phase lasts until it is done.
    """

    def __init__(self, device: torch.device) -> None:
        self._waits = device.type != "cpu"
        self.seconds: dict[str, float] = defaultdict(float)
        self._begun: dict[str, float] = {}
        self._lap_begun, self._at_lap = time.perf_counter(), dict[str, float]()
        self._broken: str | None = None

    @property
    def running(self) -> str:
        """The phase that has begun and not ended; "" where there is none. Any thread may ask."""
        running = [phase for phase in tuple(self._begun) if phase != TOTAL]
        return running[-1] if running else ""

    @property
    def broke_off(self) -> str:
        """The phase that an error came from; "" where it was none."""
        return self._broken or self.running

    def begin(self, phase: str) -> None:
        """From now on time belongs to a phase."""
        self._begun[phase] = time.perf_counter()

    def end(self, phase: str) -> None:
        """Until now it did."""
        if self._waits:
            torch.accelerator.synchronize()
        self.seconds[phase] += time.perf_counter() - self._begun.pop(phase)

    @contextmanager
    def clock(self, phase: str) -> Iterator[None]:
        """Time inside belongs to a phase."""
        self.begin(phase)
        try:
            yield
        except BaseException:
            if phase != TOTAL:
                self._broken = self._broken or phase
            raise
        finally:
            self.end(phase)

    def start(self) -> None:
        """Steps begin now: what was before is no part of the first `lap`."""
        self._lap_begun, self._at_lap = time.perf_counter(), dict(self.seconds)
        self._broken = None

    def lap(self, steps: int) -> dict[str, float]:
        """Seconds per step since the last lap, by phase.

        ``step`` is the time from one step's end to the next one's, ``other`` what no phase took of
        it, so that the phases and ``other`` make the step.
        """
        before = self._lap_begun, self._at_lap
        self.start()
        whole = self._lap_begun - before[0]
        spent = {
            phase: seconds - before[1].get(phase, 0.0)
            for phase, seconds in self.seconds.items()
            if phase != TOTAL
        }
        phases = sum(spent[phase] for phase in spent if phase not in _NO_PHASES)
        spent |= {"other": max(0.0, whole - phases), "step": whole}
        return {phase: seconds / steps for phase, seconds in spent.items()}
