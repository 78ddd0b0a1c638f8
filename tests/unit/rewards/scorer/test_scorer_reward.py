from pathlib import Path
from typing import Any

import pytest

from triptych.data.sample import Sample
from triptych.errors import ConfigError
from triptych.rewards import Unscored, score_group
from triptych.rewards.scorer import scorer_reward
from triptych.rewards.scorer.base import Candidate
from triptych.rewards.scorer.text import TextScorer

THINK = "A smile with a rising voice means happy."


def completion(context: str, think: str = THINK, answer: str = "A") -> str:
    return f"<context>{context}</context><think>{think}</think><answer>{answer}</answer>"


def value(scorer: TextScorer, candidate: Candidate) -> Any:
    return scorer.score([candidate])[0]


def test_a_context_is_held_against_the_reference(
    context_scorer: TextScorer, questions: list[Sample]
) -> None:
    sample = questions[0]
    texts = ["The mouth ends smiling.", "The voice is flat.", ""]
    table = score_group(
        {"context": scorer_reward(context_scorer)}, sample, [completion(text) for text in texts]
    )
    expected = [
        value(context_scorer, Candidate(text, sample.reference.context or "")) for text in texts
    ]
    assert [row[0] for row in table.values_GK] == pytest.approx(expected, abs=1e-6)
    assert table.values_GK[2] == (0.0,)


def test_reasoning_is_held_against_the_models_own_context(
    reasoning_scorer: TextScorer, questions: list[Sample]
) -> None:
    sample = questions[0]
    contexts = ["The mouth ends smiling.", "The voice is flat."]
    table = score_group(
        {"reasoning": scorer_reward(reasoning_scorer)},
        sample,
        [completion(text, THINK, "B") for text in contexts],
    )
    expected = [
        value(
            reasoning_scorer,
            Candidate(THINK, text, sample.question, "multiple_choice", sample.options, "B"),
        )
        for text in contexts
    ]
    assert expected[0] != expected[1]
    assert [row[0] for row in table.values_GK] == pytest.approx(expected, abs=1e-6)


def test_it_is_called_as_trl_calls_it(context_scorer: TextScorer, questions: list[Sample]) -> None:
    """Chat messages, plain dicts and lists, gaps filled with None, unknown columns."""
    reward = scorer_reward(context_scorer)
    reference = questions[0].reference.model_dump(mode="json")
    text = completion("The mouth ends smiling.")
    values = reward(
        prompts=[[{"role": "user", "content": "?"}]] * 3,
        completions=[[{"role": "assistant", "content": text}]] * 2 + [text],
        reference=[reference, None, {**reference, "elements": None}],
        question=["?", None, None],
        options=[["a", "b"], None, None],
        problem_type=["multiple_choice", None, None],
        completion_ids=[[1], [2], [3]],
        trainer_state=None,
    )
    assert isinstance(values, list)
    assert values[1] is None
    assert values[0] == values[2]
    assert reward.__name__ == "context_scorer_reward"


def test_without_a_reference_it_says_why(
    context_scorer: TextScorer, questions: list[Sample]
) -> None:
    bare = questions[0].model_copy(update={"reference": type(questions[0].reference)()})
    table = score_group({"context": scorer_reward(context_scorer)}, bare, [completion("A smile.")])
    assert table.reasons == {(0, 0): Unscored.NO_REFERENCE}


def test_a_scorer_of_another_stage_is_refused_before_its_weights_are_read(
    context_scorer: TextScorer, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="scores context; train one with --stage reasoning"):
        scorer_reward(context_scorer, stage="reasoning")
    context_scorer.save(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match="scores context"):
        scorer_reward(tmp_path, stage="reasoning")


def test_a_folder_is_as_good_as_its_scorer(
    context_scorer: TextScorer, questions: list[Sample], tmp_path: Path
) -> None:
    context_scorer.save(tmp_path)
    texts = [completion("The mouth ends smiling.")]
    values = [
        score_group({"context": reward}, questions[0], texts).values_GK[0][0]
        for reward in (scorer_reward(context_scorer), scorer_reward(str(tmp_path), "context"))
    ]
    assert values[0] == pytest.approx(values[1], abs=0.03)  # the folder may compute in bfloat16
