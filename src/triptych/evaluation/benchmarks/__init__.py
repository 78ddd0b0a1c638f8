"""Benchmarks: one file each says where the data are had, how they are grouped, what is known."""

from triptych.evaluation.benchmarks.base import Benchmark, Group, KnownResult, Source
from triptych.evaluation.benchmarks.known import KnownRow, beside_known
from triptych.evaluation.benchmarks.registry import BENCHMARKS

__all__ = [
    "BENCHMARKS",
    "Benchmark",
    "Group",
    "KnownResult",
    "KnownRow",
    "Source",
    "beside_known",
]
