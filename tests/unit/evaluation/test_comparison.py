"""Runs are compared on the same questions, and a verdict claims no more than the clips allow."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random

import pytest

from triptych.errors import ConfigError, DataError
from triptych.evaluation.comparison import Row, Verdict, compare_runs
from triptych.evaluation.metrics import ItemScore
from triptych.evaluation.pairing import pair_runs
from triptych.evaluation.predictions import Prediction, Predictions
from triptych.evaluation.summary import compare, summarise
from triptych.statistics import (
    bootstrap_difference,
    detectable_difference,
    mcnemar_test,
    sign_flip_test,
)


def prediction(
    number: int,
    scores: Mapping[str, float | None],
    kind: str | None = None,
    clip: str | None = None,
    asked: str = "Why?",
) -> Prediction:
    item = ItemScore(f"q{number}", clip or f"clip{number // 2}", kind, None, scores)
    return Prediction(item, {} if kind is None else {"kind": kind}, asked)


def run_of(*predictions: Prediction, name: str = "run", data: str | None = None) -> Predictions:
    by_id = {one.item.sample_id: one for one in predictions}
    return Predictions(Path(name), by_id, None if data is None else (data,))


def answers(values: Sequence[float | None], **metrics: Sequence[float | None]) -> Predictions:
    """One question a clip."""
    return run_of(
        *(
            prediction(
                i, {"answer": one, **{name: of[i] for name, of in metrics.items()}}, clip=f"c{i}"
            )
            for i, one in enumerate(values)
        )
    )


def only_row(*runs: Predictions) -> Row:
    (row,) = compare_runs(pair_runs(runs))
    return row


def random_answers(seed: int, share: float, count: int = 60) -> list[float]:
    rng = Random(seed)
    return [float(rng.random() < share) for _ in range(count)]


# --- what is said ------------------------------------------------------------------------------


def test_a_row_holds_what_the_statistics_say() -> None:
    rng = Random(0)
    runs = [
        run_of(*(prediction(i, {"answer": float(rng.random() < share)}) for i in range(60)))
        for share in (0.4, 0.6)
    ]
    first, second = (
        [float(one.item.scores["answer"] or 0) for one in run.by_id.values()] for run in runs
    )
    clips = [f"clip{i // 2}" for i in range(60)]
    gains = [b - a for a, b in zip(first, second, strict=True)]
    row = only_row(*runs)
    assert row.paired.num_clusters == 30
    assert row.paired.first_mean == pytest.approx(sum(first) / 60)
    assert row.paired.second_mean == pytest.approx(sum(second) / 60)
    assert row.difference == bootstrap_difference(second, first, clips)
    assert row.test == sign_flip_test(gains, clips)
    assert row.p_holm == row.test.p
    assert row.detectable == detectable_difference(gains, clips)
    assert row.mcnemar == mcnemar_test(first, second)


def test_the_interval_is_the_one_that_summaries_have() -> None:
    runs = [answers(random_answers(seed, 0.5)) for seed in (1, 2)]
    summaries = [summarise([one.item for one in run.by_id.values()]) for run in runs]
    assert only_row(*runs).difference == compare(summaries[1], summaries[0])["balanced"]["answer"]


@pytest.mark.parametrize(
    ("metric", "gain", "verdict"),
    [
        ("answer", 1.0, Verdict.BETTER),
        ("answer", -1.0, Verdict.WORSE),
        ("truncated", 1.0, Verdict.WORSE),
        ("truncated", -1.0, Verdict.BETTER),
        ("refused", 1.0, Verdict.WORSE),
        ("answer.published", 1.0, Verdict.BETTER),
        ("tokens", 1.0, Verdict.HIGHER),
        ("tokens", -1.0, Verdict.LOWER),
        ("context.mouth", 1.0, Verdict.HIGHER),
    ],
)
def test_better_is_said_of_what_is_better(metric: str, gain: float, verdict: Verdict) -> None:
    runs = [
        run_of(*(prediction(i, {metric: value}, clip=f"c{i}") for i in range(20)))
        for value in (1.0, 1.0 + gain)
    ]
    (row,) = compare_runs(pair_runs(runs, metrics=[metric]))
    assert row.verdict is verdict


def test_chance_is_not_told_apart() -> None:
    row = only_row(answers(random_answers(1, 0.5)), answers(random_answers(2, 0.5)))
    assert row.verdict is Verdict.NOT_TOLD_APART
    assert row.detectable is not None


def test_equal_runs_are_the_same() -> None:
    row = only_row(answers([1.0, 0.0] * 20), answers([1.0, 0.0] * 20))
    assert (row.verdict, row.p_holm, row.detectable) == (Verdict.SAME, 1.0, None)


@pytest.mark.parametrize(("clips", "verdict"), [(5, Verdict.TOO_FEW), (6, Verdict.BETTER)])
def test_five_clips_can_never_tell(clips: int, verdict: Verdict) -> None:
    """All for one run: 2 of 2^5 sign patterns are as extreme, which is more than 1 in 20."""
    assert only_row(answers([0.0] * clips), answers([1.0] * clips)).verdict is verdict


def test_six_clips_may_tell_and_need_not() -> None:
    row = only_row(answers([0.0] * 6), answers([1.0, 1.0, 1.0, 0.0, 1.0, 1.0]))
    assert row.verdict is Verdict.NOT_TOLD_APART


@pytest.mark.parametrize(("unit", "metric"), [(1.0, "context"), (100.0, "tokens")])
def test_no_difference_is_promised_that_scores_cannot_have(unit: float, metric: str) -> None:
    """Nine clips and six rows: a ninth of the level, for which all of the range would be needed."""
    first, second = (
        {name: [unit * value for value in random_answers(seed + at, 0.5, 9)]
         for seed, name in enumerate((metric, *"uvwxy"))}
        for at in (0, 6)
    )  # fmt: skip
    runs = [answers([1.0] * 9, **scores) for scores in (first, second)]
    rows = compare_runs(pair_runs(runs, metrics=[metric, *"uvwxy"]))
    assert len(rows) == 6
    for row in rows:
        assert row.detectable is not None
        too_few = row.detectable >= unit
        assert row.verdict is (Verdict.TOO_FEW if too_few else Verdict.NOT_TOLD_APART)
    assert {row.verdict for row in rows} == {Verdict.TOO_FEW, Verdict.NOT_TOLD_APART}


def test_more_rows_demand_more_of_each() -> None:
    """Six clips are enough for one row, not for two."""
    pairing = pair_runs(
        [answers([0.0] * 6, context=[0.0] * 6), answers([1.0] * 6, context=[0.5] * 6)]
    )
    assert [row.verdict for row in compare_runs(pairing)] == [Verdict.TOO_FEW] * 2


def test_p_values_are_adjusted_and_the_detectable_difference_with_them() -> None:
    noise = [random_answers(seed, 0.5) for seed in range(4)]
    alone = only_row(answers(noise[0]), answers(noise[1]))
    first = answers(noise[0], context=noise[2], format=[1.0] * 60)
    second = answers(noise[1], context=noise[3], format=[1.0] * 60)
    rows = compare_runs(pair_runs([first, second]))
    assert [row.paired.metric for row in rows] == ["answer", "context", "format"]
    smaller, larger = sorted(row.test.p for row in rows[:2])
    assert sorted(row.p_holm for row in rows[:2]) == [
        min(1.0, 2 * smaller),
        max(larger, min(1.0, 2 * smaller)),
    ]
    assert alone.detectable is not None
    assert rows[0].detectable is not None
    # Of two tests, for in the third row nothing differs.
    assert rows[0].detectable == detectable_difference(
        rows[0].paired.differences, rows[0].paired.clusters, alpha=0.025
    )
    assert rows[2].verdict is Verdict.SAME


def test_there_are_sign_patterns_enough_for_many_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """With 99 of them no p-value could be small enough for 30 rows."""
    monkeypatch.setattr("triptych.evaluation.comparison._DRAWS", 99)
    names = [f"reward{i}" for i in range(30)]
    runs = [
        run_of(*(prediction(i, dict.fromkeys(names, value), clip=f"c{i}") for i in range(40)))
        for value in (0.0, 1.0)
    ]
    rows = compare_runs(pair_runs(runs))
    assert {row.verdict for row in rows} == {Verdict.BETTER}


@pytest.mark.slow
def test_a_table_of_nothing_claims_nothing_in_19_of_20() -> None:
    """Six metrics of two equally good runs, 300 times: any claim is a false one."""
    claims = 0
    for seed in range(300):
        rng = Random(seed)
        first, second = (
            {name: [float(rng.random() < 0.6) for _ in range(40)] for name in "uvwxyz"}
            for _ in range(2)
        )
        rows = compare_runs(
            pair_runs([answers([1.0] * 40, **first), answers([1.0] * 40, **second)])
        )
        claims += any(row.verdict in (Verdict.BETTER, Verdict.WORSE) for row in rows)
    assert claims / 300 <= 0.08


def test_mcnemar_is_for_right_and_wrong_alone() -> None:
    assert only_row(answers([0.0, 1.0] * 5), answers([1.0, 1.0] * 5)).mcnemar is not None
    assert only_row(answers([0.0, 1.0] * 5), answers([0.5, 1.0] * 5)).mcnemar is None


# --- which questions ---------------------------------------------------------------------------


def test_questions_are_paired_by_id_whatever_their_order() -> None:
    values = random_answers(3, 0.5)
    first = answers(values)
    second = run_of(*reversed(list(answers(values).by_id.values())))
    assert only_row(first, second).verdict is Verdict.SAME


def test_other_samples_are_refused_by_name() -> None:
    first, second = answers([1.0] * 4), answers([1.0] * 6)
    with pytest.raises(DataError, match=r"B \(run\).*2 are not in A \('q4', 'q5'\).*--common"):
        pair_runs([first, second])
    with pytest.raises(DataError, match=r"2 that A has are missing \('q4', 'q5'\)"):
        pair_runs([second, first])


def test_common_samples_are_those_of_all_runs() -> None:
    runs = [answers([1.0] * 6), run_of(prediction(2, {"answer": 1.0})), answers([0.0] * 5)]
    pairing = pair_runs(runs, common=True)
    assert [two.first for two in pairing.paired] == [[1.0], [1.0]]
    assert pairing.questions == 1
    assert pairing.notices == (
        "5 of the 6 samples of A are left out: not all runs have them",
        "4 of the 5 samples of C are left out: not all runs have them",
    )
    with pytest.raises(DataError, match="share no sample"):
        pair_runs([runs[0], run_of(prediction(9, {"answer": 1.0}))], common=True)


def test_other_data_are_a_notice() -> None:
    same = prediction(1, {"answer": 1.0})
    first = run_of(prediction(0, {"answer": 1.0}), same, data="ab")
    second = run_of(prediction(0, {"answer": 1.0}, asked="Who?"), same, data="cd")
    assert pair_runs([first, second]).notices == (
        "A and B read data files of different content; samples are paired by id",
        "1 of 2 samples ask something else in B than in A: question, options or answer differ "
        "('q0')",
    )
    assert pair_runs([first, first]).notices == ()


def test_the_baseline_says_what_a_question_is() -> None:
    """Its kind and its clip, which the other run's file may lack."""
    values = random_answers(4, 0.5, 12)
    kinds = ["intention", "intention", "emotion", "emotion"] * 3
    first = run_of(*(prediction(i, {"answer": values[i]}, kinds[i]) for i in range(12)))
    pairing = pair_runs([first, answers([1.0 - value for value in values])])
    said = [(two.metric, len(two.first), two.num_clusters) for two in pairing.paired]
    assert said == [("answer", 6, 3), ("answer_emotion", 6, 3)]
    assert pairing.notices == ()


def test_what_one_run_could_not_score_is_left_out_of_both_and_counted() -> None:
    pairing = pair_runs([answers([1.0, None, 0.0, 1.0]), answers([None, 1.0, 1.0, 0.0])])
    (two,) = pairing.paired
    assert (two.first, two.second, two.unscored) == ([0.0, 1.0], [1.0, 0.0], 2)
    assert pairing.notices == (
        "answer: 2 of 4 questions could not be scored in A or B, and are left out",
    )


def test_what_one_run_did_not_answer_is_left_out_of_both_and_counted() -> None:
    unanswered = prediction(1, {}, clip="c1")
    ours = run_of(prediction(0, {"answer": 1.0}, clip="c0"), unanswered)
    pairing = pair_runs([answers([1.0, 0.0]), ours])
    (two,) = pairing.paired
    assert (two.first, two.second, two.unscored) == ([1.0], [1.0], 1)
    assert pairing.notices[0].startswith("answer: 1 of 2 questions could not be scored in A or B")


def test_metrics_of_one_run_only_are_named() -> None:
    both = answers([1.0, 0.0])
    judged = answers([1.0, 1.0], judge=[0.5, 0.5])
    pairing = pair_runs([both, judged])
    assert [two.metric for two in pairing.paired] == ["answer"]
    assert pairing.notices == ("judge: not in A, so not compared there",)
    with pytest.raises(DataError, match="no metric"):
        pair_runs([both, judged], metrics=["judge"])


def test_metrics_that_are_not_shown_must_be_asked_for() -> None:
    hidden = {"tokens": [1.0] * 3, "answer.alone": [1.0] * 3, "context.mouth": [1.0] * 3}
    run = answers([1.0] * 3, **hidden)
    assert [two.metric for two in pair_runs([run, run]).paired] == ["answer"]
    asked = pair_runs([run, run], metrics=["tokens", "context.mouth", "tokens"])
    assert [two.metric for two in asked.paired] == ["tokens", "context.mouth"]
    with pytest.raises(ConfigError, match="metrics: no run has 'token'; did you mean 'tokens'"):
        pair_runs([run, run], metrics=["token"])


def test_groups_are_compared_apart_beside_all() -> None:
    kinds = ["emotion", "emotion", "event", None]
    first, second = (
        run_of(*(prediction(i, {"context": v * i}, kind) for i, kind in enumerate(kinds)))
        for v in (0.1, 0.2)
    )
    paired = pair_runs([first, second], by="kind").paired
    assert [(two.group, len(two.first)) for two in paired] == [
        (None, 4),
        ("(none)", 1),
        ("emotion", 2),
        ("event", 1),
    ]
    with pytest.raises(ConfigError, match=r"by is 'sort'.*kind"):
        pair_runs([first, second], by="sort")


def test_one_group_is_no_group() -> None:
    run = run_of(*(prediction(i, {"context": 1.0}, "event") for i in range(3)))
    pairing = pair_runs([run, run], by="kind")
    assert [two.group for two in pairing.paired] == [None]
    assert pairing.notices == ("all questions have the same kind, so there are no groups",)


@pytest.mark.parametrize(
    ("all_pairs", "pairs"), [(False, ["AB", "AC"]), (True, ["AB", "AC", "BC"])]
)
def test_runs_are_compared_with_the_first_or_with_each_other(
    all_pairs: bool, pairs: list[str]
) -> None:
    runs = [answers([float(i), 0.0, 0.0]) for i in range(3)]
    paired = pair_runs(runs, all_pairs=all_pairs).paired
    assert [two.baseline + two.run for two in paired] == pairs
    assert [two.second[0] for two in paired] == [float("ABC".index(pair[1])) for pair in pairs]


@pytest.mark.parametrize(("values", "higher"), [([1.0, 0.0] * 30, 30), ([0.5] * 7, 7)])
def test_rows_are_plain_values(values: list[float], higher: int) -> None:
    row = only_row(answers([0.0] * len(values)), answers(values)).to_json()
    assert (row["higher"], row["lower"]) == (higher, 0)
    assert row["difference"]["mean"] == pytest.approx(row["mean"] - row["baseline_mean"])
    assert type(row["verdict"]) is str
