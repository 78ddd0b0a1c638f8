"""Questions to a server whose answers are known by their number."""

import json
import random
import re
from collections.abc import Iterable, Mapping
from typing import Any

from faulty import MODEL, Answer, Fault, FaultyServer, Seen, completion

from triptych.data.media import MediaBudget
from triptych.data.sample import Media, Sample
from triptych.generation.engine import Completion, SamplingConfig, StopReason
from triptych.generation.server import ServerConfig, ServerEngine
from triptych.stages.prompt import ProblemType

GREEDY = SamplingConfig(max_new_tokens=64, temperature=0)


def question(index: int, *media: Media) -> Sample:
    return Sample(
        id=f"q{index}",
        question=f"Question {index}?",
        problem_type=ProblemType.YES_NO,
        answer="yes",
        media=media,
    )


def number(seen: Seen) -> str:
    """The number of the question that a request asks."""
    found = re.search(r"Question (\d+)\?", seen.text)
    assert found
    return found[1]


def choice(index: int) -> dict[str, Any]:
    """What the model says to a question: all ways to end a reply."""
    text = f"<answer>The {index}th, \U0001f600.</answer>"
    match index % 8:
        case 0:
            return {"message": {"content": text[:9]}, "finish_reason": "content_filter"}
        case 1:
            return {"message": {"content": ""}, "finish_reason": "stop"}
        case 2:
            return {"message": {"content": text[:20]}, "finish_reason": "length"}
        case 3:
            refused = {"content": None, "refusal": f"I will not say {index}."}
            return {"message": refused, "finish_reason": "stop"}
        case _:
            return {"message": {"content": text}, "finish_reason": "stop"}


def expected(index: int) -> Completion:
    said = choice(index)
    ends = {
        "stop": StopReason.END,
        "length": StopReason.LENGTH,
        "content_filter": StopReason.WITHHELD,
    }
    refusal = said["message"].get("refusal")
    return Completion(
        token_ids=(),
        text=refusal or said["message"]["content"],
        stop_reason=StopReason.WITHHELD if refusal else ends[said["finish_reason"]],
        forced=(),
        counted=index,
    )


def true_answer(seen: Seen) -> Answer:
    index = int(number(seen))
    return Answer(200, completion("", choices=[choice(index)], usage=usage(index)))


def usage(index: int) -> dict[str, int]:
    return {"prompt_tokens": 10, "completion_tokens": index, "total_tokens": 10 + index}


def as_stream(seen: Seen) -> Answer:
    """The same, piece by piece."""
    index = int(number(seen))
    said = choice(index)
    pieces = [
        {"delta": {name: text[at : at + 3]}}
        for name, text in said["message"].items()
        for at in range(0, len(text or ""), 3)
    ]
    events: list[dict[str, Any]] = [{"choices": [piece]} for piece in [{"delta": {}}, *pieces]]
    events.append({"choices": [{"delta": {}, "finish_reason": said["finish_reason"]}]})
    events.append({"choices": [], "usage": usage(index)})
    lines = "".join(f"data: {json.dumps(event, ensure_ascii=False)}\n\n" for event in events)
    return Answer(200, f"{lines}data: [DONE]\n\n")


def spoilt(_: Fault, seen: Seen, rng: random.Random) -> Answer:
    unfinished = completion("B")
    unfinished["choices"][0]["finish_reason"] = None
    whole = json.dumps(true_answer(seen).body)
    bodies: list[Any] = ["", "<html>", whole[:-9], {"choices": []}, {"error": "no"}, unfinished]
    return Answer(200, rng.choice(bodies))


class QuestionServer(FaultyServer):
    """A `FaultyServer` that knows the answers."""

    def __init__(
        self, faults: Mapping[Fault, float] | None = None, seed: int = 0, answer: Any = true_answer
    ) -> None:
        super().__init__(faults, seed, answer=answer, name=number, spoilt=spoilt)


def config(url: str, **more: Any) -> ServerConfig:
    """An engine's settings, in the times of a test."""
    quick: dict[str, Any] = {
        "api_key_env": "NO_KEY_FOR_THESE_TESTS",
        "timeout": 30.0,
        "backoff": 0.004,
        "max_wait": 0.1,
        "max_retries": 200,
    }
    return ServerConfig(base_url=url, model=MODEL, **{**quick, **more})


def engine(url: str, **more: Any) -> ServerEngine:
    return ServerEngine(config(url, **more), MediaBudget())


def questions(indices: Iterable[int]) -> list[Sample]:
    return [question(index) for index in indices]
