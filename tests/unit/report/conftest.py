"""A run folder as training and evaluation leave it, with real clips and hostile completions."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from triptych.data.sample import Sample, read_samples
from triptych.stages.format import DEFAULT_FORMAT, parse
from triptych.statistics import bootstrap_interval

HOSTILE = "<script>alert('x')</script><img src=\"https://evil.example/x.png\" onerror=alert(1)>"


def interval(values: Sequence[float]) -> dict[str, Any]:
    found = bootstrap_interval(values)
    assert found is not None
    return found.to_dict()


def rollout(sample: Sample, text: str, answer_reward: float | None, **more: Any) -> dict[str, Any]:
    output = parse(text)
    return {
        **more,
        "sample_id": sample.id,
        "kind": sample.extra["kind"],
        "alignment": sample.extra["alignment"],
        "media": [str(media.path) for media in sample.media],
        "question": sample.question,
        "problem_type": str(sample.problem_type),
        "options": list(sample.options),
        "answer": sample.answer,
        "text": text,
        "bodies": dict(output.bodies),
        "violations": [
            {"kind": str(found.kind), "stage": found.stage, "position": found.position}
            for found in output.violations
        ],
        "rewards": {
            "context": 0.75,
            "reasoning": None,
            "answer": answer_reward,
            "format": float(output.valid),
        },
        "stop_reason": "end",
    }


def completion(sample: Sample, context: str | None = None) -> str:
    bodies = {
        "context": context or sample.reference.context or "",
        "think": sample.reference.reasoning or "",
        "answer": sample.answer,
    }
    return DEFAULT_FORMAT.render(bodies)


def write_lines(path: Path, records: Sequence[Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")


@pytest.fixture
def questions(clips_folder: Path) -> list[Sample]:
    return read_samples(clips_folder / "test-balanced.jsonl")


@pytest.fixture
def run_folder(tmp_path: Path, questions: list[Sample]) -> Path:
    folder = tmp_path / "demo"
    folder.mkdir()
    scores = {"answer": interval([0.0, 1.0, 1.0]), "context": interval([0.5, 1.0])}
    parts = {"context.pitch": interval([0.5, 1.0]), "answer_emotion": interval([0.5])}
    results = {
        "evaluation": {
            "cold_start": {"balanced": scores, "conflict": scores},
            "stage_credit": {"balanced": {**scores, "tokens": interval([60.0, 64.0]), **parts}},
        },
        "differences": {"stage_credit - cold_start": {"balanced": {"answer": interval([-1, 0])}}},
        "baselines": {"face_only": 0.5, "voice_only": 0.5, "prior": 0.25},
        "seconds": {"cold_start": 61.25, "stage_credit": 97.5},
        "selection": {"stage_credit": {"step": 30}},
    }
    (folder / "results.json").write_text(json.dumps(results))
    metrics = [{"step": s, "phase": "cold_start", "loss": 3.0 / (s + 1)} for s in range(5)]
    for phase in ("uniform", "stage_credit"):
        metrics += [
            {"step": s, "phase": phase, "reward/context": s / 50, "loss": -s / 10, "beta": 0.04}
            for s in range(40)
        ]
    write_lines(folder / "metrics.jsonl", metrics)
    rollouts = [
        rollout(
            sample,
            completion(sample, HOSTILE if step == 1 else None),
            answer_reward=float(step % 2),
            step=step,
            phase=phase,
        )
        for phase in ("uniform", "stage_credit")
        for step in range(1, 5)
        for sample in questions
    ]
    write_lines(folder / "rollouts.jsonl", rollouts)
    for arm in ("cold_start", "stage_credit"):
        lines = [rollout(sample, completion(sample), 1.0) for sample in questions]
        write_lines(folder / "predictions" / f"{arm}.jsonl", lines)
    environment = {"seed": 7, "versions": {"torch": "2.13.0"}, "data": {"a.jsonl": "3f9a"}}
    (folder / "environment.json").write_text(json.dumps(environment))
    (folder / "config.yaml").write_text("seed: 7\nname: <b>bold</b>\n")
    return folder
