"""The synthetic clips (`triptych clips make`), a benchmark whose truth is known.

By default the balanced test split is read; any other split may be named.
"""

from pathlib import Path

from triptych.data.sample import Sample
from triptych.evaluation.benchmarks.base import Benchmark, Source, field_of
from triptych.evaluation.published import HUMANOMNI_V2


def _foreign(sample: Sample) -> str | None:
    if {"kind", "alignment"} <= sample.extra.keys():
        return None
    return "does not say its kind and alignment"


CLIPS = Benchmark(
    name="clips",
    title="the synthetic clips",
    groups={"kind": field_of("kind"), "alignment": field_of("alignment")},
    source=Source(
        Path("data/clips"), ("test-balanced.jsonl",), ("triptych clips make data/clips --seed 0",)
    ),
    forms=("native",),
    foreign=_foreign,
    protocol=HUMANOMNI_V2,
)
