"""How much each reward counts: always the same, by a schedule over steps, or by source.

A weight is a number from 0 upwards, or a schedule ``{step: number}``: at each of its steps it has
that number, between two of them it goes in a straight line, and before the first and after the last
it stays. Steps are optimizer steps that were made before; the first rollout of a run is at step 0.
So a weight depends on the step alone, and a resumed run goes on with what it would have had.

Shapes: N groups, K rewards.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import numpy as np
from pydantic import PlainValidator

from triptych.errors import ConfigError
from triptych.rewards.combine import weight_vector

if TYPE_CHECKING:
    from torch import Tensor

_SHOWN_SOURCES = 10


def read_weight(value: Any) -> float | dict[int, float]:
    """A weight as a config says it; a schedule comes back in the order of its steps.

    Raises:
        ValueError: it is neither a number from 0 upwards nor a schedule of such numbers.
    """
    if not isinstance(value, Mapping):
        return _amount(value)
    if not value:
        raise ValueError("a schedule needs a step; write {0: 0.5, 200: 0.25}, or a number")
    steps = sorted((_step(step), _amount(amount)) for step, amount in value.items())
    return dict(steps)


Weight: TypeAlias = Annotated[float | dict[int, float], PlainValidator(read_weight)]


def _amount(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{value!r} is no weight; write a number, or a schedule {{step: number}}")
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{value} is not a number from 0 upwards")
    return float(value)


def _step(value: Any) -> int:
    # A key of JSON is text, whatever it was in YAML.
    if isinstance(value, bool) or not str(value).isdecimal():
        raise ValueError(f"{value!r} is no step of a schedule; steps are whole numbers from 0")
    return int(value)


def weight_at(weight: float | Mapping[int, float], step: int) -> float:
    """What a weight is after `step` optimizer steps."""
    if not isinstance(weight, Mapping):
        return weight
    steps = sorted(weight)
    return float(np.interp(step, steps, [weight[step] for step in steps]))


@dataclass(frozen=True)
class RewardWeights:
    """How much each of K rewards counts, at every step and for every source.

    Attributes:
        names: the rewards, in the order of K.
        weights: the weight of each.
        of_source: by source, the weights that are others for its samples.

    Raises:
        ConfigError: a reward has no weight, a weight belongs to no reward or cannot be read, or
            all weights of a source are zero at some step.
    """

    names: tuple[str, ...]
    weights: Mapping[str, Weight]
    of_source: Mapping[str, Mapping[str, Weight]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check(self.names, self.weights, "weights")
        for source, own in self.of_source.items():
            _check(self.names, {**self.weights, **own}, f"source_weights.{source}")

    def at(self, step: int, sources: Sequence[str]) -> "Tensor":
        """(N, 1, K) float32: the weights for N groups whose samples are from `sources`."""
        import torch

        rows = [
            [weight_at(weight, step) for weight in self._of(source).values()] for source in sources
        ]
        return torch.tensor(rows, dtype=torch.float32)[:, None]

    def varying(self) -> tuple[str, ...]:
        """The rewards whose weight is not the same at every step and for every source."""
        return tuple(
            name
            for name in self.names
            if isinstance(self.weights[name], Mapping)
            or any(name in own for own in self.of_source.values())
        )

    def ever_counts(self, name: str) -> bool:
        """Whether a reward has a weight above 0 at some step, for some source."""
        places = (self.weights, *self.of_source.values())
        weights = [place[name] for place in places if name in place]
        return any(weight_at(weight, step) > 0 for weight in weights for step in _steps([weight]))

    def check_sources(self, present: Iterable[str]) -> None:
        """Refuse weights for a source that no sample has.

        Args:
            present: the source of each sample.

        Raises:
            ConfigError: there are such; the message lists the sources that there are.
        """
        counts = Counter(present)
        if unknown := [source for source in self.of_source if source not in counts]:
            known = [f"{name} ({count})" for name, count in counts.most_common(_SHOWN_SOURCES)]
            more = f" and {len(counts) - len(known)} more" if len(counts) > len(known) else ""
            raise ConfigError(
                f"source_weights: no sample is from {unknown[0]!r}; the data are from "
                f"{', '.join(known)}{more}; `triptych data check` counts all sources"
            )

    def _of(self, source: str) -> dict[str, float | dict[int, float]]:
        merged = {**self.weights, **self.of_source.get(source, {})}
        return {name: merged[name] for name in self.names}


def _check(names: Sequence[str], weights: Mapping[str, Any], where: str) -> None:
    read = {}
    for name, weight in weights.items():
        try:
            read[name] = read_weight(weight)
        except ValueError as error:
            raise ConfigError(f"{where}: {name}: {error}") from error
    weight_vector(names, dict.fromkeys(read, 1.0), where)  # the names alone
    # Weights go in straight lines: where all are zero, they are so at a step of a schedule, too.
    steps = _steps(read.values())
    for step in steps:
        at_step = f"{where} at step {step}" if len(steps) > 1 else where
        weight_vector(names, {name: weight_at(w, step) for name, w in read.items()}, at_step)


def _steps(weights: Iterable[float | Mapping[int, float]]) -> list[int]:
    """The steps at which some schedule has a number; 0 where there is no schedule."""
    return sorted(
        {step for weight in weights if isinstance(weight, Mapping) for step in weight}
    ) or [0]
