"""The judge against `transformers serve`: another's server, a model with weights on disk."""

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest
from serving import served
from tiny_judge import build_tiny_judge, query

from triptych.data.sample import Reference, Sample
from triptych.endpoint import EndpointError
from triptych.rewards import Unscored, score
from triptych.rewards.judge import Judge, JudgeConfig, judge_reward
from triptych.stages.prompt import ProblemType

pytestmark = pytest.mark.slow


def settings(url: str, model: Path, **more: Any) -> JudgeConfig:
    return JudgeConfig(
        base_url=url,
        model=str(model),
        api_key_env="NO_KEY_FOR_THESE_TESTS",
        timeout=120.0,
        backoff=0.05,
        max_tokens=24,
        max_concurrency=4,
        **{"max_retries": 1, **more},
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_judge(tmp_path_factory.mktemp("judge") / "model")


def test_a_model_that_keeps_to_json_gives_the_scores_that_are_due(
    model: Path, tmp_path: Path
) -> None:
    rng = random.Random(1)
    asked = [query(rng) for _ in range(24)]
    smiling = Sample(
        id="q",
        question="What is meant?",
        problem_type=ProblemType.YES_NO,
        answer="yes",
        media=(),
        reference=Reference(context="Someone is glad."),
    )
    written = [
        f"<context>The man {does}; the voice is flat.</context><think>So yes.</think>"
        "<answer>yes</answer>"
        for does in ("smiles", "frowns")
    ]
    with served(model, tmp_path / "log") as url:
        with Judge(settings(url, model)) as judge:
            outcomes = asyncio.run(judge.score([one for one, _ in asked]))
            table = score({"context": judge_reward(judge, "context")}, [smiling] * 2, written)
        assert outcomes == [points / 5 for _, points in asked]
        assert {*outcomes} == {0.0, 1.0}
        assert table.values_GK == ((1.0,), (0.0,))
        assert judge.usage.prompt_tokens > 24 * 100
        assert judge.usage.completion_tokens > 24 * 3

        other = settings(url, model.with_name("other"), max_failures=3)
        with Judge(other) as wrong, pytest.raises(EndpointError, match=r"failed 3; .* pinned to"):
            asyncio.run(wrong.score([one for one, _ in asked[:6]]))


def test_a_model_that_writes_nonsense_scores_nothing_and_stops_the_run(
    model: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    nonsense = tmp_path / "nonsense"
    weights = AutoModelForCausalLM.from_pretrained(model)
    weights.model.embed_tokens.weight.data.normal_(0.0, 1.0)
    weights.save_pretrained(nonsense)
    AutoTokenizer.from_pretrained(model).save_pretrained(nonsense)
    rng = random.Random(2)
    with served(nonsense, tmp_path / "log") as url:
        with Judge(settings(url, nonsense, max_failures=50)) as judge:
            outcomes = asyncio.run(judge.score([query(rng)[0] for _ in range(6)]))
            assert set(outcomes) == {Unscored.BAD_REPLY}
        expectation = pytest.raises(
            EndpointError, match=r"3 items in a row .* \(bad_reply 3; .*JSON"
        )
        with Judge(settings(url, nonsense, max_failures=3)) as judge, expectation:
            asyncio.run(judge.score([query(rng)[0] for _ in range(6)]))
