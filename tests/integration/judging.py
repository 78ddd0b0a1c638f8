"""A server that judges: scores that are known, faults that are seeded.

Also a program: ``python judging.py ADDRESS CACHE COUNT`` judges so many items and prints the
outcomes as JSON, for tests that kill it or run two of it.
"""

import asyncio
import json
import random
import sys
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from faulty import IMPATIENT, MODEL, Answer, Fault, FaultyServer, Seen, completion, refusal

from triptych.rewards import Unscored
from triptych.rewards.judge import CONTEXT, Judge, JudgeConfig, JudgeUsage, Query

__all__ = [
    "IMPATIENT", "MODEL", "REASONS", "Answer", "Fault", "JudgeServer", "Seen", "completion",
    "config", "data", "expected", "item", "points", "refusal", "run", "true_answer", "what",
]  # fmt: skip

REASONS = {
    Fault.SILENCE: Unscored.TIMEOUT,
    Fault.DRIP: Unscored.TIMEOUT,
    Fault.RATE_LIMIT: Unscored.UNAVAILABLE,
    Fault.ERROR: Unscored.UNAVAILABLE,
    Fault.CUT: Unscored.UNAVAILABLE,
    Fault.MALFORMED: Unscored.BAD_REPLY,
    Fault.OFF_SCALE: Unscored.BAD_REPLY,
}
"""What an item is recorded with whose last try met the fault."""

_MALFORMED = ("", "Good.", '{"score": ', '{"points": 4}', '{"score": 1}{"score": 2}', "[5]")
_OFF_SCALE = ("6", "-1", "2.5", "NaN", "1e999", '"5"', "true", "null", "[3]")


def data(seen: Seen) -> dict[str, Any]:
    """What was to be judged."""
    found: dict[str, Any] = json.loads(seen.text)
    return found


def what(seen: Seen) -> str:
    """The candidate's text."""
    return "\n".join(data(seen)["candidate"].values())


def points(item: str) -> int:
    """What the item deserves, 0 to 5."""
    return zlib.crc32(item.encode()) % 6


def true_answer(seen: Seen) -> Answer:
    return Answer(200, completion(json.dumps({"score": points(what(seen))})))


def _spoilt(fault: Fault, _: Seen, rng: random.Random) -> Answer:
    if fault is Fault.OFF_SCALE:
        return Answer(200, completion(f'{{"score": {rng.choice(_OFF_SCALE)}}}'))
    text = rng.choice([*_MALFORMED, None])
    return Answer(200, completion(text) if text is not None else "<html>")


class JudgeServer(FaultyServer):
    """A `FaultyServer` that judges."""

    def __init__(
        self,
        faults: Mapping[Fault, float] | None = None,
        seed: int = 0,
        answer: Callable[[Seen], Answer] = true_answer,
    ) -> None:
        super().__init__(faults, seed, answer=answer, name=what, spoilt=_spoilt)


# ---------------------------------------------------------------- the client's side


def config(url: str, **more: Any) -> JudgeConfig:
    """A judge's settings, in the times of a test."""
    quick: dict[str, Any] = {
        "api_key_env": "NO_KEY_FOR_THESE_TESTS",
        "timeout": 30.0,
        "backoff": 0.004,
        "max_wait": 0.1,
        "max_retries": 200,
    }
    return JudgeConfig(base_url=url, model=MODEL, **{**quick, **more})


def item(index: int) -> Query:
    return Query(CONTEXT, {"reference": "A man smiles."}, {"context": f"What {index} shows."})


def expected(index: int) -> float:
    return points(f"What {index} shows.") / 5


def run(settings: JudgeConfig, queries: list[Query]) -> tuple[list[float | Unscored], JudgeUsage]:
    """The outcomes of a judge of its own."""
    with Judge(settings) as judge:
        return asyncio.run(judge.score(queries)), judge.usage


def main(url: str, cache: str, count: str) -> None:
    settings = config(url, cache=Path(cache), max_concurrency=8)
    outcomes, _ = run(settings, [item(index) for index in range(int(count))])
    print(json.dumps(outcomes))


if __name__ == "__main__":
    main(*sys.argv[1:])
