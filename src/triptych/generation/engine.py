"""What every engine that writes completions takes and gives."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from triptych.data.sample import Sample


class StopReason(StrEnum):
    """Why a completion ended."""

    END = "end"
    """The model emitted an end token."""
    LENGTH = "length"
    """``max_new_tokens`` was reached: the completion is truncated."""


@dataclass(frozen=True)
class SamplingConfig:
    """How completions are drawn."""

    max_new_tokens: int = 512
    """Longest completion, in tokens, the end token included."""
    temperature: float = 1.0
    """Softmax temperature; 0 is greedy."""
    top_p: float = 1.0
    """Keep the most likely tokens that together hold this much probability; 1 keeps all."""
    top_k: int = 0
    """Keep this many most likely tokens; 0 keeps all."""
    seed: int = 0
    """Seed of the sampler's own generator: global random state is neither read nor moved."""


@dataclass(frozen=True)
class Completion:
    """What the model wrote for one prompt.

    Attributes:
        token_ids: generated ids, the end token included when it was emitted.
        text: their text without the end token, as ``stages.parse`` reads it.
        stop_reason: why it ended.
        forced: per token, True where a grammar left only one choice (no gradient flows there).
    """

    token_ids: tuple[int, ...]
    text: str
    stop_reason: StopReason
    forced: tuple[bool, ...]


class Engine(Protocol):
    """Anything that answers samples: a model in this process, or a server."""

    def generate(
        self, samples: Sequence[Sample], n: int, sampling: SamplingConfig
    ) -> list[list[Completion]]:
        """``n`` completions for each sample, in the order of ``samples``."""
        ...
