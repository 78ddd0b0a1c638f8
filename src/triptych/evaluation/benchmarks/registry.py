"""The benchmarks that are known. A new one is a file and a line here."""

from triptych.evaluation.benchmarks.base import Benchmark
from triptych.evaluation.benchmarks.clips import CLIPS
from triptych.evaluation.benchmarks.daily_omni import DAILY_OMNI
from triptych.evaluation.benchmarks.intent_bench import INTENT_BENCH
from triptych.evaluation.benchmarks.samples import SAMPLES
from triptych.evaluation.benchmarks.worldsense import WORLDSENSE

BENCHMARKS: dict[str, Benchmark] = {
    benchmark.name: benchmark
    for benchmark in (INTENT_BENCH, DAILY_OMNI, WORLDSENSE, CLIPS, SAMPLES)
}
"""By name."""
