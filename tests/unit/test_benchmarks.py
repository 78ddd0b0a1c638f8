"""The benchmark of the grammar, run small: whatever is installed is measured, the rest is named."""

import json
from pathlib import Path

import pytest
from torch import Tensor

from benchmarks.completions import ROWS, Length
from benchmarks.grammar import Record, Sizes, report, run, verdict
from benchmarks.grammar_masks import examine
from benchmarks.grammar_peers import COMPETITORS, Refused, Setting, Triptych
from benchmarks.harness import MedianInterval, Spread, alternate, write_json
from benchmarks.vocabulary import large_tokenizer
from triptych.models.tiny import build_tokenizer

SMALL = Sizes(
    large_vocabulary=900,
    length=Length(stage_tokens=3, answer_tokens=2),
    large_length=Length(stage_tokens=2, answer_tokens=1),
    compilations=1,
    replays=1,
    pairs=1,
    large_pairs=1,
)


@pytest.fixture(scope="module")
def record() -> Record:
    return run(SMALL)


@pytest.mark.slow
def test_ours_is_measured_and_peers_are_measured_or_named(record: Record) -> None:
    assert [masks["vocabulary"] for masks in record["masks"]] == [len(build_tokenizer()), 900]
    for masks in record["masks"]:
        ours, *peers = masks["competitors"]
        assert [one["name"] for one in (ours, *peers)] == [kind.package for kind in COMPETITORS]
        assert "missing" not in ours
        missing = [peer["missing"] for peer in peers if "missing" in peer]
        assert all(why.startswith("not installed") for why in missing)
        for one in (ours, *(peer for peer in peers if "missing" not in peer)):
            assert 0 < one["checked_us"]["q1"] <= one["checked_us"]["median"]
            assert one["checked_us"]["n"] == one["masked_us"]["n"] == masks["steps"]
            assert one["cold_worst_ms"]["median"] <= one["cold_all_ms"]["median"]
            assert one["allowed_tokens"] > 0
        assert all(
            peer["missing"].startswith("not installed") for peer in peers if "missing" in peer
        )


@pytest.mark.slow
def test_the_loops_compare_equal_steps_and_are_judged(record: Record) -> None:
    arms = [(loop["vocabulary"], loop["model"], loop["temperature"]) for loop in record["loops"]]
    tiny = len(build_tokenizer())
    kinds = [(model, heat) for model in ("fluent", "untrained") for heat in (0.0, 1.0)]
    assert arms == [(size, *kind) for size in (tiny, 900) for kind in kinds]
    for loop in record["loops"]:
        assert loop["steps"] > 0
        assert loop["ratio"]["low"] <= loop["ratio"]["median"] <= loop["ratio"]["high"]
        assert loop["verdict"] in {"met", "missed", "not certain"}
        fluent = loop["model"] == "fluent"
        assert (loop["refused"] == 0) == fluent
        assert loop["ratio"]["n"] == 1


@pytest.mark.slow
def test_the_record_is_json_and_the_report_names_all(record: Record, tmp_path: Path) -> None:
    write_json(tmp_path / "grammar.json", record)
    written = json.loads((tmp_path / "grammar.json").read_text(encoding="utf-8"))
    assert written["environment"]["torch_threads"] == 1
    assert written["sizes"]["length"] == {"stage_tokens": 3, "answer_tokens": 2}
    text = report(written)
    for kind in COMPETITORS:
        assert text.count(f"| {kind.package}") == 2, "a line in each table"
    assert text.count("| untrained") == 4


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0.98, 1.03, "met"), (1.031, 1.04, "missed"), (1.0, 1.04, "not certain")],
)
def test_a_target_is_met_only_by_the_whole_interval(low: float, high: float, expected: str) -> None:
    assert verdict({"low": low, "high": high}, most=1.03) == expected


class Loose(Triptych):
    """Masks nothing."""

    def mask(self, logits_RV: Tensor) -> Tensor:
        return logits_RV


@pytest.mark.slow
def test_a_competitor_that_allows_something_else_is_not_measured() -> None:
    tokenizer = build_tokenizer()
    setting = Setting(tokenizer, int(tokenizer.eos_token_id), 60, {})
    think, context = tokenizer.encode("<think>"), tokenizer.encode("<context>")
    with pytest.raises(Refused, match="masks a token"):
        examine(Triptych(setting), [[think[0]] * ROWS])
    with pytest.raises(Refused, match="does not end"):
        examine(Triptych(setting), [[token] * ROWS for token in context])
    with pytest.raises(Refused, match="does not end"):
        examine(Loose(setting), [])
    ours = Triptych(setting)
    ours.prepare()
    ours.compile()
    ours.start(1)
    with pytest.raises(Refused):
        ours.advance(think[:1])


def test_the_large_tokenizer_is_always_the_same_and_spells_anything() -> None:
    tokenizer = large_tokenizer(3000)
    assert len(tokenizer) == 3000
    vocabulary = tokenizer.get_vocab()
    large_tokenizer.cache_clear()
    assert large_tokenizer(3000).get_vocab() == vocabulary
    text = "<context>Она улыбается. 她在微笑</context>\n<think>é 🙂</think>"
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_figures_of_timings() -> None:
    assert str(Spread.of([*range(1, 102)])) == "51 (26-76)"
    interval = MedianInterval.of([1.0, 1.1, 1.2, 1.3, 9.0])
    assert interval.low < interval.median == 1.2 < interval.high
    assert alternate("abc", 0) == [*"abc"]
    assert alternate("abc", 1) == [*"cba"]
