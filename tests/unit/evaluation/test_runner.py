"""One evaluation from samples to predictions, with an engine that knows what to say."""

import json
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from triptych.data.sample import Sample, read_samples
from triptych.errors import DataError
from triptych.evaluation import GREEDY, evaluate
from triptych.generation.engine import Completion, Enforce, SamplingConfig, StopReason
from triptych.rewards import RewardError
from triptych.stages.format import DEFAULT_FORMAT


class ReferenceEngine:
    """Answers with the reference; samples whose id is in ``wrong`` get a broken text."""

    def __init__(self, wrong: Sequence[str] = (), copies: int = 1) -> None:
        self.wrong, self.copies = wrong, copies
        self.asked: list[tuple[int, SamplingConfig]] = []

    def generate(
        self, samples: Sequence[Sample], n: int, sampling: SamplingConfig
    ) -> list[list[Completion]]:
        assert n == 1
        self.asked.append((len(samples), sampling))
        return [[self._complete(sample)] * self.copies for sample in samples]

    def _complete(self, sample: Sample) -> Completion:
        bodies = {
            "context": sample.reference.context or "",
            "think": sample.reference.reasoning or "",
            "answer": sample.answer,
        }
        text = DEFAULT_FORMAT.render(bodies)
        if sample.id in self.wrong:
            return Completion((1, 2), text[:30] + "\ud800", StopReason.LENGTH, (False, False))
        return Completion((1, 2, 3), text, StopReason.END, (False,) * 3)


@pytest.fixture
def questions(clips_folder: Path) -> list[Sample]:
    return read_samples(clips_folder / "test-balanced.jsonl")


def test_the_reference_scores_fully_on_every_split(questions: list[Sample]) -> None:
    result = evaluate(ReferenceEngine(), questions)
    assert list(result.summary) == ["balanced", "aligned", "conflict"]
    for metrics in result.summary.values():
        names = ("answer", "answer_emotion", "answer_sincerity", "context", "reasoning", "format")
        for name in (*names, "context_relevant", "context_irrelevant", "context.pitch"):
            assert metrics[name].mean == pytest.approx(1.0), name
        assert metrics["truncated"].mean == 0.0
        assert metrics["tokens"].mean == 3.0
    assert result.unscored == {"balanced": {}, "aligned": {}, "conflict": {}}


def test_greedy_by_default_in_batches_with_progress(questions: list[Sample]) -> None:
    engine = ReferenceEngine()
    seen: list[tuple[int, int]] = []
    total = len(questions)
    evaluate(engine, questions, batch_size=4, progress=lambda *done: seen.append(done))
    assert {sampling.temperature for _, sampling in engine.asked} == {0.0}
    assert [size for size, _ in engine.asked][:-1] == [4] * (len(engine.asked) - 1)
    assert seen[0] == (4, total)
    assert seen[-1] == (total, total)


def test_batches_change_nothing(questions: list[Sample]) -> None:
    wrong = [sample.id for sample in questions[::3]]
    first = evaluate(ReferenceEngine(wrong), questions, batch_size=3)
    assert first == evaluate(ReferenceEngine(wrong), questions, batch_size=64)
    assert first.means("balanced")["format"] < 1.0


def test_the_seed_reaches_the_intervals(questions: list[Sample]) -> None:
    def uneven(prompts: Any, completions: Any, *, sample_id: list[str], **_: Any) -> list[float]:
        return [zlib.crc32(one.encode()) / 2**32 for one in sample_id]

    engine, rewards = ReferenceEngine(), {"answer": uneven}
    first, again, other = (
        evaluate(engine, questions, rewards=rewards, seed=seed) for seed in (0, 0, 1)
    )
    assert first == again
    assert first.summary != other.summary


def test_predictions_hold_text_stages_and_scores(questions: list[Sample], tmp_path: Path) -> None:
    out = tmp_path / "predictions" / "arm.jsonl"
    broken = questions[1].id
    evaluate(ReferenceEngine([broken]), questions, out=out)
    lines = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [line["sample_id"] for line in lines] == [sample.id for sample in questions]
    good, bad = lines[:2]
    assert good["rewards"]["answer"] == 1.0
    assert set(good["rewards"]) == {"context", "reasoning", "answer", "format"}
    assert good["bodies"]["answer"] == questions[0].answer
    assert good["violations"] == []
    assert {item["kind"] for item in good["media"]} == {"video", "audio"}
    assert bad["stop_reason"] == "length"
    assert bad["text"].endswith("\ud800")
    assert {violation["kind"] for violation in bad["violations"]} >= {"missing"}
    assert good["groups"] == {}
    assert good["unscored"] == {}


def _fails_on(sample_id: str) -> Any:
    def reward(prompts: Any, completions: Any, *, sample_id: list[str], **_: Any) -> list[float]:
        if wanted in sample_id:
            raise RuntimeError("no judge")
        return [1.0] * len(completions)

    wanted = sample_id
    return reward


def test_a_reward_that_fails_keeps_what_was_done(questions: list[Sample], tmp_path: Path) -> None:
    out = tmp_path / "predictions.jsonl"
    rewards = {"judge": _fails_on(questions[5].id)}
    with pytest.raises(RewardError, match="judge"):
        evaluate(ReferenceEngine(), questions, rewards=rewards, batch_size=3, out=out)
    assert not out.exists()
    done = (tmp_path / "predictions.jsonl.ledger" / "scored.0.jsonl").read_text().splitlines()
    assert [json.loads(line)["sample_id"] for line in done] == [s.id for s in questions[:3]]


def test_a_place_that_cannot_be_written_is_named(questions: list[Sample], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"file/out\.jsonl"):
        evaluate(ReferenceEngine(), questions, out=tmp_path / "file" / "out.jsonl")


def test_bad_input_is_refused(questions: list[Sample]) -> None:
    with pytest.raises(DataError, match="no samples"):
        evaluate(ReferenceEngine(), [])
    with pytest.raises(DataError, match="stands twice"):
        evaluate(ReferenceEngine(), [questions[0], questions[0]])
    with pytest.raises(DataError, match="2 completions"):
        evaluate(ReferenceEngine(copies=2), questions)
    with pytest.raises(ValueError, match="batch_size"):
        evaluate(ReferenceEngine(), questions, batch_size=0)


class EnforcingEngine(ReferenceEngine):
    """Writes the reference when the format is enforced, something broken for `wrong` when not."""

    def generate(
        self, samples: Sequence[Sample], n: int, sampling: SamplingConfig
    ) -> list[list[Completion]]:
        groups = super().generate(samples, n, sampling)
        if sampling.enforce is Enforce.OFF:
            return groups
        wrong, self.wrong = self.wrong, ()
        held = [[self._complete(sample)] for sample in samples]
        self.wrong = wrong
        return [
            [replace(one, overruled=3 * (sample.id in wrong), forced=(False, True, True))]
            for sample, (one,) in zip(samples, held, strict=True)
        ]


def test_enforced_evaluations_also_say_what_the_model_does_by_itself(
    questions: list[Sample], tmp_path: Path
) -> None:
    wrong = [sample.id for sample in questions[::3]]
    engine = EnforcingEngine(wrong)
    held = replace(GREEDY, enforce=Enforce.STAGES)
    result = evaluate(engine, questions, held, batch_size=5, out=tmp_path / "held.jsonl")
    means = result.means("balanced")
    assert means["format"] == 1.0
    assert means["answer"] == pytest.approx(1.0)
    assert means["format_unenforced"] == pytest.approx(1 - len(wrong) / len(questions))
    assert means["unchanged"] == means["format_unenforced"]
    assert means["forced"] == pytest.approx(2 / 3)
    again = sum(size for size, sampling in engine.asked if sampling.enforce is Enforce.OFF)
    assert again == len(wrong), "what was never refused need not be written again"
    records = [json.loads(line) for line in (tmp_path / "held.jsonl").read_text().splitlines()]
    assert [record["sample_id"] for record in records if record["overruled"]] == wrong
    assert {record["forced"] for record in records} == {2}

    free = evaluate(EnforcingEngine(wrong), questions)
    assert "format_unenforced" not in free.means("balanced")
    assert free.means("balanced")["format"] == means["format_unenforced"]


def test_nothing_is_written_again_where_the_format_is_not_scored(questions: list[Sample]) -> None:
    engine = EnforcingEngine([sample.id for sample in questions])
    result = evaluate(engine, questions, replace(GREEDY, enforce=Enforce.STAGES), rewards={})
    assert {sampling.enforce for _, sampling in engine.asked} == {Enforce.STAGES}
    assert "format_unenforced" not in result.means("balanced")


def test_drawn_completions_are_all_drawn_again_without_enforcement(
    questions: list[Sample],
) -> None:
    """What was never refused is a biased choice of what the model writes."""
    engine = EnforcingEngine()
    evaluate(engine, questions, SamplingConfig(temperature=1.0, enforce=Enforce.STAGES))
    asked = [(size, sampling.enforce) for size, sampling in engine.asked]
    assert asked[1::2] == [(size, Enforce.OFF) for size, _ in asked[::2]]
