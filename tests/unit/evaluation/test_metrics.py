"""What one completion scores: by stage, by element, and where a stage is missing."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from triptych.data.sample import Element, Media, MediaKind, ProblemType, Reference, Sample
from triptych.errors import DataError
from triptych.evaluation.metrics import ItemScore, cluster_of, score_items
from triptych.generation.engine import Completion, StopReason
from triptych.rewards import ElementStatus, RewardFunction, Unscored, rule_rewards

ELEMENTS = (
    Element(name="mouth", phrases=("mouth is smiling",), contradictions=("mouth is frowning",)),
    Element(name="pitch", phrases=("voice is rising",), contradictions=("voice is flat",)),
    Element(name="brows", phrases=("brows are level",), relevant=False),
)
GOOD = (
    "<context>The mouth is smiling. The voice is rising. The brows are level.</context>"
    "<think>A smiling mouth and a rising voice, so the answer is B.</think><answer>B</answer>"
)


def make_sample(**changes: Any) -> Sample:
    fields: dict[str, Any] = {
        "id": "q1",
        "question": "What does the person feel?",
        "problem_type": ProblemType.MULTIPLE_CHOICE,
        "options": ("angry", "happy", "calm"),
        "answer": "B",
        "media": (Media(kind=MediaKind.VIDEO, path=Path("/data/a.mp4")),),
        "reference": Reference(
            context="The mouth is smiling. The voice is rising. The brows are level.",
            reasoning="A smiling mouth and a rising voice, so the answer is B.",
            elements=ELEMENTS,
        ),
        "extra": {"kind": "intention", "clip": "a", "alignment": "aligned"},
    }
    return Sample.model_validate(fields | changes)


def complete(text: str, stop: StopReason = StopReason.END, tokens: int = 7) -> Completion:
    return Completion(tuple(range(tokens)), text, stop, (False,) * tokens)


def score_one(
    text: str,
    sample: Sample | None = None,
    rewards: dict[str, RewardFunction] | None = None,
    stop: StopReason = StopReason.END,
) -> ItemScore:
    items = score_items(
        rewards or rule_rewards(), [sample or make_sample()], [complete(text, stop)]
    )
    assert len(items) == 1
    return items[0]


def test_a_good_completion_scores_fully() -> None:
    item = score_one(GOOD)
    assert item.scores == {
        "context": pytest.approx(1.0),
        "reasoning": pytest.approx(1.0),
        "answer": 1.0,
        "format": 1.0,
        "answer.alone": 1.0,
        "context_relevant": 1.0,
        "context_irrelevant": 1.0,
        "context.mouth": 1.0,
        "context.pitch": 1.0,
        "context.brows": 1.0,
        "truncated": 0.0,
        "refused": 0.0,
        "tokens": 7.0,
    }
    assert (item.sample_id, item.cluster, item.kind) == ("q1", "a", "intention")
    assert item.alignment == "aligned"


def test_elements_are_counted_by_relevance_and_a_contradiction_is_not_named() -> None:
    item = score_one(GOOD.replace("voice is rising", "voice is flat"))
    assert item.elements["pitch"] is ElementStatus.CONTRADICTED
    assert item.scores["context.pitch"] == 0.0
    assert item.scores["context_relevant"] == 0.5
    assert item.scores["context_irrelevant"] == 1.0


def test_elements_of_one_name_keep_their_own_relevance() -> None:
    twins = (
        Element(name="cue", phrases=("mouth is smiling",)),
        Element(name="cue", phrases=("brows are level",), relevant=False),
    )
    sample = make_sample(reference=Reference(context="c", elements=twins))
    item = score_one(GOOD.replace("The brows are level.", ""), sample)
    assert item.scores["context_relevant"] == 1.0
    assert item.scores["context_irrelevant"] == 0.0


def test_without_stated_elements_there_are_no_element_metrics() -> None:
    sample = make_sample(reference=Reference(context="The mouth is smiling.", reasoning="so B"))
    item = score_one(GOOD, sample)
    assert item.elements
    assert not [name for name in item.scores if name.startswith(("context.", "context_"))]


def test_an_answer_that_the_reasoning_contradicts_counts_only_by_itself() -> None:
    item = score_one(GOOD.replace("the answer is B", "the answer is C"))
    assert item.scores["answer"] == 0.0
    assert item.scores["answer.alone"] == 1.0


def test_broken_format_is_judged_on_the_stages_that_are_there() -> None:
    item = score_one(GOOD + " trailing words")
    assert item.scores["format"] == 0.0
    assert item.scores["answer"] == 1.0
    assert item.scores["context"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("B", {"context", "reasoning", "answer", "answer.alone"}),
        ("<answer>B</answer>", {"context", "reasoning"}),
        (GOOD.split("<answer>")[0], {"answer", "answer.alone"}),
    ],
)
def test_a_missing_stage_scores_zero(text: str, missing: set[str]) -> None:
    item = score_one(text)
    assert {name for name in missing if item.scores[name] == 0.0} == missing


def test_an_answer_outside_its_stage_does_not_count() -> None:
    assert score_one("The answer is B.").scores["answer"] == 0.0
    assert score_one("<think>B</think><answer></answer>").scores["answer.alone"] == 0.0


def _generous(prompts: Sequence[Any], completions: Sequence[Any], **_: Any) -> list[float | None]:
    return [1.0] * len(completions)


def _silent(prompts: Sequence[Any], completions: Sequence[Any], **_: Any) -> list[float | None]:
    return [None] * len(completions)


def test_leaving_a_stage_out_never_pays_whatever_the_reward_says() -> None:
    rewards: dict[str, RewardFunction] = {"context": _generous, "reasoning": _silent}
    item = score_one("<answer>B</answer>", rewards=rewards)
    assert item.scores["context"] == 0.0
    assert item.scores["reasoning"] == 0.0


def test_an_unscored_stage_that_is_there_stays_unscored() -> None:
    assert score_one(GOOD, rewards={"reasoning": _silent}).scores["reasoning"] is None


def test_a_sample_without_reference_is_unscored_even_where_the_stage_is_missing() -> None:
    sample = make_sample(reference=Reference())
    for text in (GOOD, "<answer>B</answer>"):
        scores = score_one(text, sample).scores
        assert scores["context"] is None
        assert scores["reasoning"] is None
        assert scores["answer"] == 1.0


def test_own_rewards_become_metrics_under_their_names() -> None:
    item = score_one(GOOD, rewards={"brevity": _generous})
    assert item.scores["brevity"] == 1.0
    assert "format" not in item.scores


def test_truncation_and_length_are_recorded() -> None:
    item = score_one(GOOD[:40], stop=StopReason.LENGTH)
    assert item.scores["truncated"] == 1.0
    assert item.scores["tokens"] == 7.0


def test_clusters_are_clips_else_media_else_the_sample() -> None:
    assert cluster_of(make_sample()) == "a"
    assert cluster_of(make_sample(extra={"clip": 1})) == "1"
    assert cluster_of(make_sample(extra={})) == "/data/a.mp4"
    assert cluster_of(make_sample(extra={"clip": None})) == "/data/a.mp4"
    assert cluster_of(make_sample(extra={}, media=())) == "q1"


def test_samples_without_kind_or_alignment() -> None:
    item = score_one(GOOD, make_sample(extra={}))
    assert item.kind is None
    assert item.alignment is None


def test_a_completion_too_few_is_refused() -> None:
    with pytest.raises(DataError, match="2 samples"):
        score_items(rule_rewards(), [make_sample(), make_sample(id="q2")], [complete(GOOD)])


REFUSAL = "I'm sorry, but I can't help with that."


@pytest.mark.parametrize(
    ("text", "stop", "refused"),
    [
        (GOOD, StopReason.END, False),
        (GOOD, StopReason.WITHHELD, True),
        ("", StopReason.WITHHELD, True),
        ("", StopReason.END, False),
        (REFUSAL, StopReason.END, True),
        (f"<context>{REFUSAL}</context><think>.</think><answer></answer>", StopReason.END, True),
        (GOOD.replace(">B<", f">{REFUSAL}<"), StopReason.END, True),
        # Whoever answers has not refused, whatever else is said.
        (GOOD.replace("<think>", f"<think>{REFUSAL} "), StopReason.END, False),
        # Cut off, it might still have answered.
        (REFUSAL, StopReason.LENGTH, False),
    ],
)
def test_a_refusal_is_told_from_an_answer(text: str, stop: StopReason, refused: bool) -> None:
    assert score_one(text, stop=stop).scores["refused"] == float(refused)


def test_an_option_that_reads_like_a_refusal_is_an_answer() -> None:
    sample = make_sample(options=("he agrees", "I cannot answer that", "he is silent"))
    item = score_one(GOOD.replace(">B<", ">B. I cannot answer that<"), sample)
    assert item.scores["answer.alone"] == 1.0
    assert item.scores["refused"] == 0.0


def test_a_server_counts_tokens_or_does_not() -> None:
    counted = Completion((), GOOD, StopReason.END, (), counted=41)
    silent = Completion((), GOOD, StopReason.END, ())
    first, second = score_items(
        rule_rewards(), [make_sample(), make_sample(id="q2")], [counted, silent]
    )
    assert first.scores["tokens"] == 41.0
    assert "tokens" not in second.scores
    assert second.scores["answer"] == 1.0


def test_the_published_metric_stands_beside_ours() -> None:
    seen = []

    def published(sample: Sample, text: str) -> float | None:
        seen.append((sample.id, text))
        return None if sample.id == "q2" else 0.25

    first, second = score_items(
        rule_rewards(),
        [make_sample(), make_sample(id="q2")],
        [complete(GOOD)] * 2,
        published=published,
    )
    assert first.scores["answer.published"] == 0.25
    assert second.scores["answer.published"] is None
    assert seen == [("q1", GOOD), ("q2", GOOD)]
    assert "answer.published" not in score_one(GOOD).scores


def test_why_a_reward_has_no_value_is_kept() -> None:
    def judge(prompts: Any, completions: Any, *, log_unscored: Any, **_: Any) -> list[float | None]:
        log_unscored(0, Unscored.TIMEOUT)
        return [None]

    item = score_one(GOOD, rewards={"context": judge, "mine": _silent, "format": _generous})
    assert item.unscored == {"context": Unscored.TIMEOUT, "mine": Unscored.UNEXPLAINED}
    # A stage that is missing is scored, whatever the judge says.
    assert score_one("B", rewards={"context": judge}).unscored == {}
