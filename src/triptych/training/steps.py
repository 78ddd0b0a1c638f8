"""Which samples every step of a run sees."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from triptych.data.sample import Sample
from triptych.errors import ConfigError


@dataclass(frozen=True)
class StepLayout:
    """How the samples of a run come in steps and micro-batches.

    One optimizer step sees `per_step` samples over all ranks, `per_micro_batch` of them in one
    forward of one rank. Every step's samples come `repeats` times in a row.
    """

    steps: int
    per_step: int
    per_micro_batch: int
    repeats: int = 1

    def accumulation(self, num_processes: int) -> int:
        """Micro-batches per optimizer step and rank."""
        at_once = self.per_micro_batch * num_processes
        if self.per_step % at_once:
            raise ConfigError(
                f"{self.per_step} samples a step do not divide into micro-batches of "
                f"{self.per_micro_batch} on {num_processes} process(es); "
                f"make the first a multiple of {at_once}"
            )
        return self.per_step // at_once

    def places(self, rank: int, num_processes: int) -> list[list[int]]:
        """Where the samples of each of a rank's micro-batches stand in their step."""
        size = self.per_micro_batch
        firsts = range(rank * size, self.per_step, num_processes * size)
        return [list(range(first, first + size)) for first in firsts]

    def passes(self, step: int, num_samples: int) -> float:
        """How often the data have been gone through after `step` steps."""
        return -(-step // self.repeats) * self.per_step / num_samples


def place_seed(seed: int, step: int, place: int) -> int:
    """What is drawn for a sample depends on these alone: not on when a run was resumed, nor on how
    many processes.
    """
    return int(np.random.SeedSequence((seed, step, place)).generate_state(1, np.uint64)[0] >> 1)


class StepSampler(Sampler[int]):
    """Sample numbers of a whole run, step after step, each pass over the data in a new order."""

    def __init__(self, num_samples: int, layout: StepLayout, seed: int) -> None:
        self._num_samples, self._layout, self._seed = num_samples, layout, seed

    def __len__(self) -> int:
        return self._layout.steps * self._layout.per_step

    def __iter__(self) -> Iterator[int]:
        stream = self._passes()
        for first in range(0, self._layout.steps, self._layout.repeats):
            step = list(islice(stream, self._layout.per_step))
            for _ in range(first, min(first + self._layout.repeats, self._layout.steps)):
                yield from step

    def _passes(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self._seed)
        while True:
            yield from torch.randperm(self._num_samples, generator=generator).tolist()


class SampleDataset(Dataset[Sample]):
    """A list of samples as torch wants it."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        return self.samples[index]
