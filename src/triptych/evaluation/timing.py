"""How long answers took. It is kept apart from them: of two runs that answer the same, the files of
answers are the same.

A *note* says how long some answers took: ``{"call", "rank", "waited", "answers": [{"sample_id",
"seconds", "tokens"}]}``. `waited` is how long the process had waited for its engine since the call
of `evaluate` began.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

import numpy as np

Note: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Timing:
    """How long the answers of an evaluation took, over all its calls and processes.

    Attributes:
        answers: how many there are times of.
        mean_seconds: per answer, media included; of samples that were answered together, each has
            an equal share.
        median_seconds: the same.
        p95_seconds: the same; one answer in twenty took longer.
        wall_seconds: time that the engine was waited for, scoring left out. Where several
            processes ask, the time of the slowest.
        tokens_per_second: of all processes together; None where the engine counts no tokens.
    """

    answers: int
    mean_seconds: float
    median_seconds: float
    p95_seconds: float
    wall_seconds: float
    tokens_per_second: float | None

    @classmethod
    def of(cls, notes: Iterable[Note]) -> "Timing | None":
        """What notes come to; None where there are none."""
        notes = list(notes)
        answers = [answer for note in notes for answer in note["answers"]]
        if not answers:
            return None
        seconds = [answer["seconds"] for answer in answers]
        tokens = [answer["tokens"] for answer in answers]
        wall = _wall(notes)
        median, p95 = np.percentile(seconds, (50, 95)).tolist()
        counted = None not in tokens and wall > 0
        return cls(
            answers=len(answers),
            mean_seconds=float(np.mean(seconds)),
            median_seconds=median,
            p95_seconds=p95,
            wall_seconds=wall,
            tokens_per_second=sum(tokens) / wall if counted else None,
        )

    def to_json(self) -> Mapping[str, float | int | None]:
        """The figures as plain values."""
        return asdict(self)


def next_call(notes: Iterable[Note]) -> int:
    """The number of a call that these notes are older than."""
    return 1 + max((note["call"] for note in notes), default=-1)


def together(*parts: Iterable[Note]) -> list[Note]:
    """Notes of several files, each once, in the order in which calls, then ranks, made them."""
    found = {(note["call"], note["rank"], note["waited"]): note for part in parts for note in part}
    return [found[key] for key in sorted(found)]


def _wall(notes: Iterable[Note]) -> float:
    """Calls come one after the other; the processes of a call wait side by side."""
    waited: dict[int, float] = {}
    for note in notes:
        waited[note["call"]] = max(waited.get(note["call"], 0.0), note["waited"])
    return sum(waited.values())
