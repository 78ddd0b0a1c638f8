"""IntentBench (arXiv 2506.21277): what people feel, mean, and whether they lie.

633 videos and 2,689 questions: Social-IQ 2.0 (multiple choice), EMER (all emotions that are shown)
and MDPE (is this the truth?). Records have the form of HumanOmniV2.
"""

from pathlib import Path

from triptych.data.sample import ProblemType, Sample
from triptych.evaluation.benchmarks.base import Benchmark, KnownResult, Source
from triptych.evaluation.published import HUMANOMNI_V2
from triptych.evaluation.published_scores import PublishedType, published_type

_FOLDER = Path("data/IntentBench")
_PAPER = "arXiv 2506.21277"
_CATEGORIES = {
    PublishedType.MULTIPLE_CHOICE: "social",
    PublishedType.EMOTIONS: "emotion",
    PublishedType.JUDGE: "deception",
}


def _category(sample: Sample) -> str | None:
    return _CATEGORIES.get(published_type(sample))


def _foreign(sample: Sample) -> str | None:
    if found := {"Type", "task_domain"} & sample.extra.keys():
        return f"has the {min(found)!r} of another benchmark"
    # Records of HumanOmniV2 keep its names for the types that have another one here.
    named = sample.extra.get("problem_type")
    if sample.problem_type is ProblemType.MULTIPLE_CHOICE or named in tuple(_CATEGORIES):
        return None
    return f"is of type {named or str(sample.problem_type)!r}, which IntentBench does not have"


INTENT_BENCH = Benchmark(
    name="intent_bench",
    title="IntentBench",
    groups={
        "category": _category,
        "problem_type": lambda sample: published_type(sample).value,
    },
    source=Source(
        _FOLDER,
        ("qa.json",),
        (
            f"hf download PhilipC/IntentBench --repo-type dataset --local-dir {_FOLDER}",
            f"unzip -q {_FOLDER}/videos.zip -d {_FOLDER}",
        ),
    ),
    forms=("humanomni", "native"),
    foreign=_foreign,
    questions=2689,
    protocol=HUMANOMNI_V2,
    known=(
        KnownResult("HumanOmniV2 (7B)", 69.33, _PAPER),
        KnownResult("HumanOmniV2 (7B), no rewards but format and answer", 68.44, _PAPER),
        KnownResult("HumanOmniV2 (7B), no context reward", 66.72, _PAPER),
        KnownResult("HumanOmniV2 (7B), cold start only", 62.03, _PAPER),
        KnownResult("Qwen2.5-Omni-7B", 64.20, _PAPER),
        KnownResult("HumanOmniV2 (7B)", 82.41, _PAPER, "category", "emotion"),
        KnownResult("HumanOmniV2 (7B)", 64.00, _PAPER, "category", "deception"),
    ),
)
