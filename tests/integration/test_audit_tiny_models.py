"""A model that learned a shortcut and one that did not, told apart by the audit.

Two tiny models start from the same one. One learns from clips in which the face always gives the
voice away, the other from balanced clips; both are audited on balanced clips that neither has seen.
The figures are printed by `pytest -m slow -s` with the name of this file.

The clips of the first one are those of the biased split whose voice is the usual one. With the
tenth of others that the split has besides, the cold start learns to listen: its references say what
the voice is like.
"""

from dataclasses import replace
from pathlib import Path

import pytest

from triptych.cli.demo import MAX_NEW_TOKENS, DemoConfig
from triptych.data.clips import ClipSizes, make_clips, text_only_samples
from triptych.data.media import MediaBudget
from triptych.data.sample import MediaKind, Sample, read_samples
from triptych.evaluation.audit import (
    AuditPlan,
    AuditReport,
    Condition,
    make_report,
    run_audit,
    verdicts,
)
from triptych.generation import Enforce, SamplingConfig
from triptych.generation.local import LocalEngine
from triptych.models import OmniModel
from triptych.models.tiny import build_tiny
from triptych.runs import RunFolder
from triptych.training.sft import train_sft

SEED = 0
STEPS = 200
SIZES = ClipSizes(cold_start=6, validation=6, rl_biased=320, rl_balanced=320, test_balanced=240)
BUDGET = MediaBudget(fps=4.0)
CONDITIONS = (
    *(Condition.BLIND, Condition.DEAF),
    *(Condition.SWAPPED_VIDEO, Condition.SWAPPED_AUDIO, Condition.SWAPPED),
)


@pytest.mark.slow
def test_the_shortcut_of_clips_without_conflict_is_found(tmp_path: Path) -> None:
    config = DemoConfig(out=tmp_path)
    clips = make_clips(tmp_path / "clips", SEED, SIZES, jobs=1)
    run = RunFolder.create(tmp_path / "run")
    base = _load(build_tiny(tmp_path / "untrained", SEED))
    drills = text_only_samples(config.text_drills, SEED)
    # From a base model that warms up, the biased one learns little, and from the voice.
    lesson = replace(config.base, warmup_steps=0)
    start = train_sft(base, drills, lesson, run, phase="base").model_path
    questions = [
        one for one in read_samples(clips.path("test-balanced")) if one.extra["kind"] == "intention"
    ]
    reports = {}
    for split in ("rl-biased", "rl-balanced"):
        model = _load(start)
        learning = replace(config.cold_start, max_steps=STEPS)
        lessons = read_samples(clips.path(split))
        if split == "rl-biased":
            lessons = [one for one in lessons if one.extra["alignment"] == "aligned"]
        train_sft(model, lessons, learning, run, phase=split)
        reports[split] = _audit(model, questions, tmp_path / f"audit-{split}")
        _show(split, reports[split])
    biased, balanced = (report.index for report in reports.values())
    assert biased is not None
    assert balanced is not None
    assert biased.shortcut is not None
    assert balanced.shortcut is not None
    assert biased.least_needed is MediaKind.AUDIO
    assert biased.shortcut.low is not None
    assert balanced.shortcut.high is not None
    assert biased.shortcut.low > balanced.shortcut.high


def _load(path: Path) -> OmniModel:
    return OmniModel.from_pretrained(path, budget=BUDGET)


def _audit(model: OmniModel, questions: list[Sample], folder: Path) -> AuditReport:
    sampling = SamplingConfig(max_new_tokens=MAX_NEW_TOKENS, temperature=0, enforce=Enforce.STAGES)
    observations = run_audit(
        LocalEngine(model),
        questions,
        folder,
        AuditPlan(CONDITIONS),
        sampling,
        batch_size=64,
        budget=BUDGET,
    )
    return make_report(observations)


def _show(split: str, report: AuditReport) -> None:
    print(f"\n{split}: {report.items} questions about {report.clips} clips")
    for condition, figures in report.conditions.items():
        if figures.kept:
            print(f"  {condition:15}{figures.kept.accuracy}  kept {figures.kept.kept}")
    if report.index:
        for kind, interval in report.index.media.items():
            print(f"  index of {kind}: {interval}")
        print(f"  shortcut index: {report.index.shortcut}")
    for condition, found in report.perception.items():
        print(f"  {condition:15}describes what was not shown {found.described}")
    print("  " + "\n  ".join(verdicts(report)))
