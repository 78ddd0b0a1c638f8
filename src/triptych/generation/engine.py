"""What every engine that writes completions takes and gives."""

import hashlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, TypeAlias, TypeGuard

from triptych.data.sample import Sample
from triptych.errors import ConfigError


class StopReason(StrEnum):
    """Why a completion ended."""

    END = "end"
    """The model emitted an end token."""
    LENGTH = "length"
    """``max_new_tokens`` was reached: the completion is truncated."""
    WITHHELD = "withheld"
    """A server's filter stopped the completion, or kept it back."""


class Enforce(StrEnum):
    """What a completion is held to, token by token, while it is written."""

    OFF = "off"
    """Nothing: the model as it is."""
    STAGES = "stages"
    """The stages of the format in their order, within their budgets."""
    STAGES_AND_ANSWER = "stages+answer"
    """The same, and an answer of the form that the question asks for."""


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
    seed_per_sample: bool = False
    """Draw for each sample by a seed of its own, made from `seed` and its id: then what is drawn
    does not depend on the samples that it is completed together with. Otherwise one generator draws
    for all samples of a call."""
    enforce: Enforce = Enforce.OFF
    """What the completion is held to. Enforced completions are valid and end in time."""
    min_stage_tokens: Mapping[str, int] = field(default_factory=dict)
    """Fewest tokens of a stage's body, by stage, when enforced; 0 sets none."""
    max_stage_tokens: Mapping[str, int] = field(default_factory=dict)
    """Most tokens of a stage's body, by stage, when enforced; 0 sets none."""

    def __post_init__(self) -> None:
        for name, fits in (
            ("max_new_tokens", self.max_new_tokens >= 1),
            ("temperature", self.temperature >= 0),
            ("top_p", 0 < self.top_p <= 1),
            ("top_k", self.top_k >= 0),
        ):
            if not fits:
                raise ConfigError(f"{name} cannot be {getattr(self, name)}")

    def seeds(self, samples: Sequence[Sample]) -> list[int]:
        """One seed for all samples of a call, or one for each."""
        if self.seed_per_sample:
            return [sample_seed(self.seed, sample.id) for sample in samples]
        return [self.seed]


@dataclass(frozen=True)
class SeededSampling(SamplingConfig):
    """Sampling by a given seed for each sample of a call; one that stands there twice has two."""

    given_seeds: tuple[int, ...] = ()
    """In the order of the samples."""

    def seeds(self, samples: Sequence[Sample]) -> list[int]:
        """The given ones, if there are any."""
        return list(self.given_seeds) or super().seeds(samples)


def sample_seed(seed: int, sample_id: str) -> int:
    """The seed of one sample's completions, wherever it stands and whatever stands beside it."""
    digest = hashlib.sha256(f"{seed} {sample_id}".encode(errors="surrogatepass")).digest()
    return int.from_bytes(digest[:8]) >> 1  # as torch takes it: below 2**63


@dataclass(frozen=True)
class Completion:
    """What the model wrote for one prompt.

    Attributes:
        token_ids: generated ids, the end token included when it was emitted.
        text: their text without the end token, as ``stages.parse`` reads it.
        stop_reason: why it ended.
        forced: per token, True where the enforcement left one choice (no gradient flows there).
        overruled: tokens that the model drew otherwise and the enforcement refused.
        counted: how many tokens there were, from a server that says no more of them.
    """

    token_ids: tuple[int, ...]
    text: str
    stop_reason: StopReason
    forced: tuple[bool, ...]
    overruled: int = 0
    counted: int | None = None

    @property
    def num_tokens(self) -> int | None:
        """How many tokens were generated; None where a server does not say."""
        return len(self.token_ids) or self.counted


@dataclass(frozen=True)
class NoCompletion:
    """What there is of a sample that an engine could not answer.

    Attributes:
        reason: in one word, to be counted by: "timeout", "unavailable", "bad_reply", "failed".
        cause: in words; never holds a key.
    """

    reason: str
    cause: str


@dataclass(frozen=True)
class Answer:
    """One sample's turn with an engine.

    Attributes:
        index: number of the sample, in the order they were given.
        outcome: its completion, or why there is none.
        seconds: wall time that it took; of samples that were answered together, an equal share.
    """

    index: int
    outcome: Completion | NoCompletion
    seconds: float


OnGroup: TypeAlias = Callable[[int, Sequence[Completion]], None]
"""Told the number of a sample, and all its completions, when they are done."""


class Engine(Protocol):
    """Anything that answers samples: a model in this process, or a server."""

    def generate(
        self, samples: Sequence[Sample], n: int, sampling: SamplingConfig
    ) -> list[list[Completion]]:
        """``n`` completions for each sample, in the order of ``samples``."""
        ...


class GroupEngine(Engine, Protocol):
    """An engine that tells of each sample when its completions are done, before all are.

    The trainer asks a judge about them while the engine goes on. Engines need not do that.
    """

    def generate(
        self,
        samples: Sequence[Sample],
        n: int,
        sampling: SamplingConfig,
        *,
        on_group: OnGroup | None = None,
    ) -> list[list[Completion]]:
        """See `Engine.generate`; ``on_group`` is told of each sample once, in any order."""
        ...


def tells_of_groups(engine: Engine) -> TypeGuard[GroupEngine]:
    """Whether the engine's ``generate`` takes ``on_group``."""
    return "on_group" in inspect.signature(engine.generate).parameters


class AnswerEngine(Protocol):
    """An engine that answers each sample when it can, and goes on where one has no answer."""

    def answers(self, samples: Sequence[Sample], sampling: SamplingConfig) -> Iterator[Answer]:
        """One answer for each sample, in the order in which they are ready."""
        ...
