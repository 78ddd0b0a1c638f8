"""WorldSense (arXiv 2502.04326): 1,662 videos, 3,172 multiple-choice questions of 26 kinds.

Its own form of records is read (one object a video), the table that evaluation kits make of it
(one question a row), and the copy in HumanOmniV2's form that its published evaluation used.
"""

from pathlib import Path

from triptych.data.readers.fields import options
from triptych.data.sample import ProblemType, Sample
from triptych.evaluation.benchmarks.base import Benchmark, KnownResult, Source, field_of
from triptych.evaluation.published import HUMANOMNI_V2

_FOLDER = Path("data/WorldSense")
_PAPER = "arXiv 2506.21277"
_BOARD = "jaaackhongggg.github.io/WorldSense (1d671c6)"
_QWEN = "github.com/QwenLM/Qwen3-Omni (0309c20)"
_GEMINI_BY_DOMAIN = {
    "Tech & Science": 53.7,
    "Culture & Politics": 47.2,
    "Daily Life": 50.3,
    "Film & TV": 50.4,
    "Performance": 52.4,
    "Games": 46.8,
    "Sports": 40.2,
    "Music": 42.0,
}


def _audio_class(sample: Sample) -> str | None:
    """The kinds of sound that a video has, together: its classes are a list of up to three."""
    classes = sample.extra.get("audio_class")
    return None if classes is None else " + ".join(sorted(set(options(classes))))


def _foreign(sample: Sample) -> str | None:
    if sample.problem_type is not ProblemType.MULTIPLE_CHOICE:
        return f"is of type {str(sample.problem_type)!r}, which WorldSense does not have"
    return "has the 'Type' of Daily-Omni" if "Type" in sample.extra else None


WORLDSENSE = Benchmark(
    name="worldsense",
    title="WorldSense",
    groups={
        "domain": field_of("domain"),
        "task_domain": field_of("task_domain"),
        "task_type": field_of("task_type"),
        "duration": field_of("duration"),
        "audio_class": _audio_class,
    },
    source=Source(
        _FOLDER,
        ("worldsense_qa.json", "WorldSense.tsv", "qa_think.json"),
        (
            f"hf download honglyhly/WorldSense --repo-type dataset --local-dir {_FOLDER}",
            f"unzip -qj '{_FOLDER}/worldsense_videos*.zip' -d {_FOLDER}/videos",
        ),
    ),
    forms=("worldsense", "humanomni", "native"),
    foreign=_foreign,
    questions=3172,
    protocol=HUMANOMNI_V2,
    known=(
        KnownResult("HumanOmniV2 (7B)", 47.1, _PAPER),
        KnownResult("Qwen2.5-Omni-7B", 45.4, _PAPER),
        KnownResult("Qwen3-Omni-30B-A3B-Instruct", 54.0, _QWEN),
        KnownResult("Gemini 2.5 Flash", 50.9, _QWEN),
        KnownResult("Gemini 1.5 Pro", 48.0, _BOARD),
        *(
            KnownResult("Gemini 1.5 Pro", percent, _BOARD, "domain", domain)
            for domain, percent in _GEMINI_BY_DOMAIN.items()
        ),
    ),
)
