"""What all benchmarks share: fair timing, spreads, the machine, tables and JSON."""

import ctypes
import gc
import importlib.metadata
import json
import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
import psutil
import torch

T = TypeVar("T")

_RESAMPLES = 2000
_SCHEDULERS = {0: "SCHED_OTHER", 1: "SCHED_FIFO", 2: "SCHED_RR"}


@dataclass(frozen=True)
class Spread:
    """Of many timings: the middle half, and what one in a hundred exceeds."""

    median: float
    q1: float
    q3: float
    p99: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        q1, median, q3, p99 = np.percentile(values, (25, 50, 75, 99)).tolist()
        return cls(median, q1, q3, p99, len(values))

    def __str__(self) -> str:
        return f"{figure(self.median)} ({figure(self.q1)}-{figure(self.q3)})"


@dataclass(frozen=True)
class MedianInterval:
    """A median with the ends of its 95% percentile bootstrap interval."""

    median: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        draws = np.random.default_rng(0).choice(values, (_RESAMPLES, len(values)))
        low, high = np.percentile(np.median(draws, axis=1), (2.5, 97.5)).tolist()
        return cls(float(np.median(values)), low, high, len(values))

    def __str__(self) -> str:
        return f"{self.median:.3f} ({self.low:.3f} to {self.high:.3f})"


class Rest:
    """Called between timed moments; sleeps now and then.

    Linux stops a real-time process (``chrt``) that does not sleep by itself for 50 ms in each
    second, in the midst of whatever is being timed.
    """

    def __init__(self) -> None:
        self._woke = time.perf_counter()

    def __call__(self) -> None:
        if time.perf_counter() - self._woke > 0.3:
            time.sleep(0.06)
            self._woke = time.perf_counter()


def stay_on_one_core() -> None:
    """Keep the process where its caches are, and its libraries from using other cores."""
    if hasattr(os, "sched_setaffinity"):  # Linux
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def alternate(competitors: Sequence[T], number: int) -> list[T]:
    """The order of a round: forwards, then backwards, so that nobody always comes after another."""
    return list(competitors) if number % 2 == 0 else list(reversed(competitors))


def resident_mib() -> float:
    """Memory of the process that is in use; what was freed is given back first, with glibc."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim:
        trim(0)
    return float(psutil.Process().memory_info().rss) / 2**20


def environment(packages: Sequence[str]) -> dict[str, Any]:
    """The machine, the versions, the threads, the day."""
    scheduler = os.sched_getscheduler(0) if hasattr(os, "sched_getscheduler") else 0
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": platform.platform(),
        "scheduler": _SCHEDULERS.get(scheduler, str(scheduler)),
        "cores_used": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
        "python": platform.python_version(),
        "versions": {name: installed_version(name) for name in packages},
    }


def installed_version(package: str) -> str | None:
    """None where it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def figure(value: float) -> str:
    """Three digits, or all before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, its columns aligned."""
    lines = [header, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    text = [
        "| " + " | ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)) + " |"
        for line in lines
    ]
    text.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(text)


def write_json(path: Path, record: Mapping[str, Any]) -> None:
    """Write a record, rounded to what a timing can mean."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(_rounded(record), indent=1, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def _rounded(value: Any) -> Any:
    match value:
        case float():
            return float(f"{value:.5g}")
        case Mapping():
            return {key: _rounded(inner) for key, inner in value.items()}
        case list():
            return [_rounded(inner) for inner in value]
        case _:
            return value


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return platform.processor()
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor()
