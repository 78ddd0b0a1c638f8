"""The benchmark of the scorers, run small."""

import json
from pathlib import Path

import pytest
import torch

from benchmarks import rewards
from benchmarks.harness import write_json
from benchmarks.rewards import Competitor, Differs, Record, Sizes, report, run, verdict
from triptych.data.sample import Sample
from triptych.rewards.scorer.text import TextScorer

NAMES = ["ours, float32", "ours, bfloat16", "pipeline, float32", "pipeline, bfloat16"]
SMALL = Sizes(encoder="tiny", clip_pairs=12, prose_pairs=8, rounds=1, threads=1)


@pytest.fixture(scope="module")
def record() -> Record:
    return run(SMALL)


@pytest.mark.slow
def test_ours_and_the_pipeline_are_measured_on_both_kinds_of_text(
    record: Record, tmp_path: Path
) -> None:
    write_json(tmp_path / "rewards.json", record)
    written = json.loads((tmp_path / "rewards.json").read_text(encoding="utf-8"))
    clips, prose = written["texts"]
    assert (clips["name"], prose["name"]) == ("clips", "prose")
    for texts in (clips, prose):
        names = [one["name"] for one in texts["competitors"]]
        assert names == NAMES
        assert texts["padding"] >= 1
        for one in texts["competitors"]:
            assert one["pairs_per_second"]["median"] > 0
            assert one["to_bound"]["median"] > 0
        assert texts["competitors"][2]["to_pipeline"]["median"] == 1
    assert [one["target"] for one in clips["competitors"] if "target" in one] == [200.0]
    assert report(written).count("| pipeline, float32") == 2


def test_pairs_are_never_measured_twice(questions: list[Sample]) -> None:
    rounds = list(rewards._rounds(questions, 900, 2))
    assert [len(pairs) for pairs in rounds] == [900] * 3
    assert len(set().union(*rounds)) == 2700


def test_a_pipeline_that_computes_something_else_is_not_measured(
    context_scorer: TextScorer, questions: list[Sample]
) -> None:
    (pairs,) = rewards._rounds(questions, 8, 0)
    same = Competitor("same", torch.float32, rewards._pipeline(context_scorer, torch.float32))
    rewards._check_equal(context_scorer, same, pairs)
    other = Competitor("other", torch.float32, lambda pairs: [{"score": 0.1} for _ in pairs])
    with pytest.raises(Differs, match="other"):
        rewards._check_equal(context_scorer, other, pairs)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(200.0, 300.0, "met"), (150.0, 199.0, "missed"), (190.0, 210.0, "not certain")],
)
def test_a_target_is_met_by_the_whole_interval(low: float, high: float, expected: str) -> None:
    assert verdict({"low": low, "high": high}, least=200.0) == expected
