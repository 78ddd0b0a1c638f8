"""Any data set in any form that is known, as a benchmark of one's own."""

from triptych.evaluation.benchmarks.base import Benchmark, field_of
from triptych.evaluation.published import HUMANOMNI_V2

SAMPLES = Benchmark(
    name="samples",
    title="a data set of one's own",
    groups={
        "problem_type": lambda sample: str(sample.problem_type),
        "kind": field_of("kind"),
        "alignment": field_of("alignment"),
    },
    protocol=HUMANOMNI_V2,
)
