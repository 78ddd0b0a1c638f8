"""Daily-Omni (arXiv 2505.17862): sound and picture of everyday videos, and when they meet.

1,197 multiple-choice questions about videos of 30 and 60 seconds. Its own form of records is read,
and the copy in HumanOmniV2's form that its published evaluation used.
"""

from collections.abc import Iterator
from pathlib import Path

from triptych.data.sample import ProblemType, Sample
from triptych.evaluation.benchmarks.base import Benchmark, KnownResult, Source, field_of
from triptych.evaluation.published import HUMANOMNI_V2

_FOLDER = Path("data/Daily-Omni")
_PAPER = "arXiv 2506.21277"
_BOARD = "github.com/Lliar-liar/Daily-Omni (01667a2)"
_TYPES = (
    "AV Event Alignment",
    "Comparative",
    "Context understanding",
    "Event Sequence",
    "Inference",
    "Reasoning",
)
_DURATIONS = ("30s", "60s")
_BY_SYSTEM = {
    "Qwen3-Omni-30B-A3B-Thinking": (65.97, 80.92, 65.80, 71.57, 85.06, 80.57, 76.04, 70.73),
    "Gemini 2.5 Flash": (73.82, 66.41, 72.04, 68.03, 78.67, 81.87, 69.86, 77.09),
    "Qwen2.5-Omni-7B": (48.32, 69.47, 58.55, 58.17, 76.62, 73.14, 64.61, 59.09),
}


def _foreign(sample: Sample) -> str | None:
    if sample.problem_type is not ProblemType.MULTIPLE_CHOICE:
        return f"is of type {str(sample.problem_type)!r}, which Daily-Omni does not have"
    return "has the 'task_domain' of WorldSense" if "task_domain" in sample.extra else None


def _by_group() -> Iterator[KnownResult]:
    for system, figures in _BY_SYSTEM.items():
        for value, percent in zip((*_TYPES, *_DURATIONS), figures, strict=True):
            group = "duration" if value in _DURATIONS else "task_type"
            yield KnownResult(system, percent, _BOARD, group, value)


DAILY_OMNI = Benchmark(
    name="daily_omni",
    title="Daily-Omni",
    groups={
        "task_type": field_of("Type"),
        "duration": field_of("video_duration"),
        "video_category": field_of("video_category"),
        "parent_category": field_of("content_parent_category"),
    },
    source=Source(
        _FOLDER,
        ("qa.json", "qa_think.json"),
        (
            f"hf download liarliar/Daily-Omni --repo-type dataset --local-dir {_FOLDER}",
            f"tar -xf {_FOLDER}/Videos.tar -C {_FOLDER}",
        ),
    ),
    forms=("daily_omni", "humanomni", "native"),
    foreign=_foreign,
    questions=1197,
    protocol=HUMANOMNI_V2,
    known=(
        KnownResult("HumanOmniV2 (7B)", 58.47, _PAPER),
        KnownResult("Qwen2.5-Omni-7B", 47.45, _PAPER),
        KnownResult("Qwen3-Omni-30B-A3B-Thinking", 73.60, _BOARD),
        KnownResult("Gemini 2.5 Flash", 73.06, _BOARD),
        KnownResult("Qwen3-Omni-30B-A3B-Instruct", 71.85, _BOARD),
        KnownResult("Qwen2.5-Omni-7B", 62.07, _BOARD),
        KnownResult("Qwen3-Omni-30B-A3B-Thinking", 75.8, "github.com/QwenLM/Qwen3-Omni (0309c20)"),
        *_by_group(),
    ),
)
