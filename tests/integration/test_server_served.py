"""The engine against `transformers serve`: another's server, a model that sees, weights on disk."""

from pathlib import Path
from typing import Any

import pytest
from serving import served
from tiny_seer import build_tiny_seer, completion, picture, sample

from triptych.data.media import MediaBudget
from triptych.data.sample import Media, MediaKind, Sample
from triptych.endpoint import EndpointError
from triptych.generation.engine import NoCompletion, SamplingConfig, StopReason
from triptych.generation.server import ServerConfig, ServerEngine
from triptych.stages import parse

pytestmark = pytest.mark.slow

GREEDY = SamplingConfig(max_new_tokens=96, temperature=0)


def engine(url: str, model: Path, **more: Any) -> ServerEngine:
    settings = {"timeout": 120.0, "backoff": 0.05, "max_retries": 1, "max_concurrency": 4, **more}
    config = ServerConfig(
        base_url=url, model=str(model), api_key_env="NO_KEY_FOR_THESE_TESTS", **settings
    )
    return ServerEngine(config, MediaBudget())


def shown(number: int, folder: Path) -> Sample:
    path = folder / f"{number}.png"
    picture(number).save(path)
    return sample(number, Media(kind=MediaKind.IMAGE, path=path))


def test_a_model_that_sees_answers_by_what_is_in_the_picture(tmp_path: Path) -> None:
    model = build_tiny_seer(tmp_path / "model")
    asked = [shown(number, tmp_path) for number in range(10)]
    with served(model, tmp_path / "log") as url:
        for stream in (False, True):
            with engine(url, model, stream=stream) as seer:
                outcomes = {one.index: one.outcome for one in seer.answers(asked, GREEDY)}
            for number, outcome in outcomes.items():
                assert not isinstance(outcome, NoCompletion), outcome
                assert outcome.text == completion(number)
                assert outcome.stop_reason is StopReason.END
                assert not parse(outcome.text).violations
                assert stream or (outcome.num_tokens or 0) > 10
            assert sorted(outcomes) == list(range(10))

        with engine(url, model) as seer:
            ((cut,),) = seer.generate(asked[:1], 1, SamplingConfig(max_new_tokens=5, temperature=0))
            assert cut.stop_reason is StopReason.LENGTH
            assert cut.num_tokens == 5
            assert completion(0).startswith(cut.text)
            blind = sample(0)
            ((said,),) = seer.generate([blind], 1, GREEDY)
            assert said.stop_reason in (StopReason.END, StopReason.LENGTH)
            assert seer.usage.prompt_tokens > 100

        # A field that it does not know; and a model that it does not have.
        wrong = engine(url, model, max_failures=2, extra_body={"top_k": -1})
        with (
            wrong as seer,
            pytest.raises(EndpointError, match=r"failed 2; .*top_k.*change the set"),
        ):
            list(seer.answers(asked, GREEDY))
        with (
            engine(url, model.with_name("other"), max_failures=2) as seer,
            pytest.raises(EndpointError, match=r"failed 2; .* pinned to"),
        ):
            list(seer.answers(asked, GREEDY))
