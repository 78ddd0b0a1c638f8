"""Engines that know every answer, and break off, fail or scramble as a test wants it."""

import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from triptych.data.sample import Sample
from triptych.errors import TriptychError
from triptych.evaluation import EvaluationResult, evaluate
from triptych.generation.engine import (
    Answer,
    Completion,
    NoCompletion,
    SamplingConfig,
    StopReason,
)
from triptych.rewards import RewardFunction, Unscored, rule_rewards
from triptych.stages.format import DEFAULT_FORMAT

GROUPS = {"kind": lambda sample: str(sample.extra["kind"])}
ORIGIN = {"model": "tiny"}


def completion(sample: Sample) -> Completion:
    bodies = {
        "context": sample.reference.context or "",
        "think": sample.reference.reasoning or "",
        "answer": sample.answer,
    }
    # Two halves of one character: what is read of them is the whole of it.
    text = DEFAULT_FORMAT.render(bodies) + "\ud83d\ude00"
    return Completion((1, 2, 3), text, StopReason.END, (False,) * 3)


@dataclass
class Engine:
    """Knows every answer, remembers its batches, and may be interrupted after some."""

    calls: int | None = None
    asked: list[list[str]] = field(default_factory=list)

    def generate(
        self, samples: Sequence[Sample], n: int, sampling: SamplingConfig
    ) -> list[list[Completion]]:
        if self.calls == len(self.asked):
            raise KeyboardInterrupt
        self.asked.append([sample.id for sample in samples])
        return [[completion(sample)] for sample in samples]


@dataclass
class Server:
    """Answers in a scrambled order, none of them for `failing`, and may break down after some."""

    failing: Callable[[Sample], bool] = lambda sample: False
    most: int | None = None
    asked: list[str] = field(default_factory=list)

    def answers(self, samples: Sequence[Sample], sampling: SamplingConfig) -> Iterator[Answer]:
        order = list(range(len(samples)))
        random.Random(0).shuffle(order)
        for number, index in enumerate(order):
            if number == self.most:
                raise TriptychError("the server is gone")
            self.asked.append(samples[index].id)
            failed = NoCompletion("timeout", "no reply within 60 s")
            outcome = failed if self.failing(samples[index]) else completion(samples[index])
            yield Answer(index, outcome, seconds=0.5)


def run(
    engine: Any, samples: Sequence[Sample], out: Path | None, **kwargs: Any
) -> EvaluationResult:
    settings: dict[str, Any] = {"batch_size": 3, "groups": GROUPS, "origin": ORIGIN, **kwargs}
    return evaluate(engine, samples, out=out, **settings)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().split(b"\n") if line]


class Judge:
    """Gives every context 0.5, some after it was asked once more only; counts what it is asked."""

    def __init__(self, failing: set[str], reason: Unscored = Unscored.UNAVAILABLE) -> None:
        self.failing, self.reason = failing, reason
        self.asked: list[str] = []

    def __call__(
        self, prompts: Any, completions: Any, *, sample_id: list[str], log_unscored: Any, **_: Any
    ) -> list[float | None]:
        self.asked += sample_id
        values: list[float | None] = []
        for index, one in enumerate(sample_id):
            if one in self.failing:
                log_unscored(index, self.reason)
            values.append(None if one in self.failing else 0.5)
        return values


def judged(judge: Judge) -> dict[str, RewardFunction]:
    return {**rule_rewards(), "context": judge}
