"""Means by split and kind, what is left out, and paired comparisons."""

import json
from dataclasses import replace

import pytest

from triptych.errors import DataError
from triptych.evaluation.metrics import ItemScore
from triptych.evaluation.summary import (
    compare,
    groups_to_json,
    reasons,
    summarise,
    summary_to_json,
)
from triptych.generation.engine import NoCompletion


def item(
    index: int,
    answer: float | None,
    kind: str | None = "intention",
    alignment: str | None = None,
    **scores: float | None,
) -> ItemScore:
    return ItemScore(
        sample_id=f"q{index}",
        cluster=f"clip{index // 2}",
        kind=kind,
        alignment=alignment,
        scores={"answer": answer, "answer.alone": answer, **scores},
    )


def test_answer_is_the_main_kind_and_others_stand_beside_it() -> None:
    records = [
        item(0, 1.0, reasoning=1.0),
        item(1, 0.0, "emotion", reasoning=0.5),
        item(2, 1.0, reasoning=0.0),
        item(3, 0.5, "sincerity", reasoning=0.5),
    ]
    means = summarise(records).means("balanced")
    assert means == {
        "answer": 1.0,
        "answer.alone": 1.0,
        "answer_emotion": 0.0,
        "answer_sincerity": 0.5,
        "reasoning": 0.5,
    }


def test_without_kinds_answer_is_over_all() -> None:
    result = summarise([item(0, 1.0, None), item(1, 0.0, None), item(2, 0.0, None)], "test")
    assert result.means("test") == {
        "answer": pytest.approx(1 / 3),
        "answer.alone": pytest.approx(1 / 3),
    }


def test_without_the_main_kind_answer_is_over_all_and_by_kind() -> None:
    result = summarise([item(0, 1.0, "event"), item(1, 0.0, "inference")])
    means = result.means("balanced")
    assert means["answer"] == 0.5
    assert (means["answer_event"], means["answer_inference"]) == (1.0, 0.0)


def test_alignment_splits_are_there_only_where_marked() -> None:
    assert list(summarise([item(0, 1.0)]).summary) == ["balanced"]
    records = [
        item(0, 1.0, alignment="aligned"),
        item(1, 0.0, "emotion", alignment="aligned"),
        item(2, 0.0, alignment="conflict"),
        item(3, 1.0),
    ]
    result = summarise(records)
    assert list(result.summary) == ["balanced", "aligned", "conflict"]
    assert result.means("aligned")["answer"] == 1.0
    assert result.means("aligned")["answer_emotion"] == 0.0
    assert result.means("conflict")["answer"] == 0.0
    assert result.summary["balanced"]["answer"].n == 3


def test_unscored_items_are_left_out_and_counted() -> None:
    records = [item(0, 1.0, reasoning=None), item(1, 0.0, reasoning=0.8), item(2, 1.0, judge=None)]
    result = summarise(records)
    assert result.summary["balanced"]["reasoning"].n == 1
    assert result.means("balanced")["reasoning"] == 0.8
    assert "judge" not in result.summary["balanced"]
    assert result.unscored == {"balanced": {"reasoning": 1, "judge": 1}}


def test_whole_clips_are_resampled() -> None:
    """Both questions of a clip agree, so eight answers are worth four."""
    agreeing = [item(index, float(index // 2 % 2)) for index in range(16)]
    scattered = [
        ItemScore(f"q{index}", f"own{index}", "intention", None, {"answer": float(index % 2)})
        for index in range(16)
    ]
    clustered = summarise(agreeing).summary["balanced"]["answer"]
    independent = summarise(scattered).summary["balanced"]["answer"]
    assert clustered.low is not None
    assert independent.low is not None
    assert clustered.mean == independent.mean == 0.5
    assert clustered.mean - clustered.low > independent.mean - independent.low


def test_metrics_stand_in_the_order_of_a_table() -> None:
    scores = {"tokens": 3.0, "format": 1.0, "context.b": 1.0, "brevity": 1.0, "context": 1.0}
    record = item(
        0, 1.0, "intention", None, **scores, context_relevant=1.0, reasoning=1.0, truncated=0.0
    )
    other = item(1, 1.0, "emotion")
    assert list(summarise([record, other]).summary["balanced"]) == [
        *("answer", "answer.alone", "answer_emotion", "context", "context_relevant", "context.b"),
        *("reasoning", "format", "brevity", "tokens", "truncated"),
    ]


def test_metrics_of_one_rank_stand_in_the_order_of_their_split() -> None:
    records = [
        item(0, 1.0, "intention", "aligned", **{"context.b": 1.0}),
        item(1, 1.0, "intention", "conflict", **{"context.a": 1.0}),
        item(2, 1.0, "intention", "conflict", **{"context.b": 1.0}),
    ]
    summary = summarise(records).summary
    assert list(summary["balanced"])[-2:] == ["context.b", "context.a"]
    assert list(summary["conflict"])[-2:] == ["context.a", "context.b"]


def test_a_score_that_is_no_number_is_not_taken_for_a_missing_one() -> None:
    with pytest.raises(DataError, match=r"a score is NaN, among: answer, answer\.alone, context"):
        summarise([item(0, 1.0, context=None), item(1, 1.0, context=float("nan"))])


def test_json_form_round_trips_and_is_plain() -> None:
    summary = summarise([item(index, float(index % 2)) for index in range(6)]).summary
    text = json.dumps(summary_to_json(summary), allow_nan=False)
    record = json.loads(text)["balanced"]["answer"]
    assert set(record) == {"mean", "low", "high", "n"}
    assert record["mean"] == 0.5
    assert record["low"] <= 0.5 <= record["high"]


def test_comparison_is_paired_and_leaves_out_what_one_could_not_score() -> None:
    first = summarise([item(0, 1.0), item(1, 1.0), item(2, None), item(3, 1.0)])
    second = summarise([item(0, 0.0), item(1, 1.0), item(2, 1.0), item(3, 0.0)])
    difference = compare(first, second)["balanced"]["answer"]
    assert difference.mean == pytest.approx(2 / 3)
    assert difference.n == 3
    assert compare(first, first)["balanced"]["answer"].mean == 0.0


def test_comparison_of_metrics_that_only_one_has_is_left_out() -> None:
    first = summarise([item(0, 1.0, judge=1.0), item(1, 1.0, judge=1.0)])
    second = summarise([item(0, 0.0), item(1, 0.0)])
    assert "judge" not in compare(first, second)["balanced"]


def test_comparison_of_different_samples_is_refused() -> None:
    with pytest.raises(DataError, match="different samples"):
        compare(summarise([item(0, 1.0)]), summarise([item(1, 1.0)]))


def grouped(index: int, answer: float, **groups: str) -> ItemScore:
    scores = {"answer": answer, "context": 0.5, "tokens": 9.0}
    return ItemScore(f"q{index}", f"clip{index}", None, None, scores, groups=groups)


def test_groups_are_summarised_apart() -> None:
    records = [
        grouped(0, 1.0, task="b", length="short"),
        grouped(1, 0.0, task="b"),
        grouped(2, 1.0, task="a", length="long"),
        grouped(3, 1.0, task="a", length="long"),
    ]
    groups = summarise(records).groups
    assert list(groups) == ["task", "length"]
    assert list(groups["task"]) == ["a", "b"]
    assert groups["task"]["b"]["answer"].mean == 0.5
    assert groups["task"]["b"]["answer"].n == 2
    assert list(groups["task"]["a"]) == ["answer", "context"], "no tokens by group"
    assert sum(part["answer"].n for part in groups["length"].values()) == 3
    plain = json.loads(json.dumps(groups_to_json(groups)))
    assert plain["length"]["long"]["answer"]["mean"] == 1.0


def test_in_data_with_intention_questions_the_answer_of_a_group_is_theirs() -> None:
    records = [replace(grouped(i, float(i), task="a"), kind=kind)
               for i, kind in enumerate(("intention", "emotion"))]  # fmt: skip
    assert summarise(records).groups["task"]["a"]["answer"].n == 1


def test_the_published_metric_is_over_all_kinds() -> None:
    records = [
        replace(grouped(i, 1.0), kind=kind, scores={"answer": 1.0, "answer.published": float(i)})
        for i, kind in enumerate(("intention", "emotion"))
    ]
    summary = summarise(records).summary["balanced"]
    assert (summary["answer"].n, summary["answer.published"].n) == (1, 2)


def test_the_seed_reaches_the_intervals() -> None:
    records = [grouped(index, (index * 0.37) % 1, task="a") for index in range(40)]
    first, again, other = (summarise(records, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first.summary != other.summary
    assert first.groups != other.groups
    assert first.means("balanced") == other.means("balanced")


def test_reasons_are_counted() -> None:
    why = {str(i): NoCompletion(reason, "") for i, reason in enumerate("abb")}
    assert reasons(why) == {"b": 2, "a": 1}
