"""What an engine says, in parts that are scored and kept together.

An `Engine` is asked batch by batch. Batches begin at the same samples whatever was answered before,
and one that was answered in part is asked as a whole again: padding moves the last bits of logits,
so only the same batch gives the same completions. An `AnswerEngine` is asked for what is missing.
"""

import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeGuard, cast

from triptych.data.policy import Ranks
from triptych.data.sample import Sample
from triptych.errors import DataError
from triptych.generation.engine import (
    AnswerEngine,
    Completion,
    Enforce,
    Engine,
    NoCompletion,
    SamplingConfig,
)

_KEEP_EVERY = 1.0
"""Seconds after which answers that came one by one are scored and kept, however few they are."""


@dataclass(frozen=True)
class Asked:
    """A sample and what the engine said.

    Attributes:
        outcome: its completion, or why there is none.
        seconds: that the engine took for it.
        unenforced: what the model writes by itself, where the completion was held to a format and
            this was asked for.
    """

    sample: Sample
    outcome: Completion | NoCompletion
    seconds: float
    unenforced: Completion | None = None


@dataclass(frozen=True)
class Part:
    """Some samples' turns with an engine, and how long it was waited for in all."""

    asked: Sequence[Asked]
    waited: float


def ask(
    engine: Engine | AnswerEngine,
    samples: Sequence[Sample],
    done: Collection[str],
    sampling: SamplingConfig,
    batch_size: int,
    ranks: Ranks,
    *,
    freely: bool,
) -> Iterator[Part]:
    """Ask for the samples of this rank that are not done.

    Args:
        engine: is asked.
        samples: all there are.
        done: ids that are answered.
        sampling: how completions are drawn.
        batch_size: samples per call of an engine; answers that come one by one are given out when
            there are so many, or sooner.
        ranks: the processes that share the work.
        freely: also ask for what the model writes if nothing is enforced, of an `Engine` that
            enforces something.

    Raises:
        DataError: the engine gave something other than one answer for each sample.
    """
    if answers_one_by_one(engine):
        missing = [one for one in samples if one.id not in done][ranks.rank :: ranks.count]
        yield from _answers(engine, missing, sampling, batch_size)
        return
    batches = [samples[at : at + batch_size] for at in range(0, len(samples), batch_size)]
    open_batches = [batch for batch in batches if any(one.id not in done for one in batch)]
    for batch in open_batches[ranks.rank :: ranks.count]:
        yield _batch(cast(Engine, engine), batch, done, sampling, freely)


def answers_one_by_one(engine: Engine | AnswerEngine) -> TypeGuard[AnswerEngine]:
    """Whether an engine answers each sample when it can; one that can do both is asked so."""
    return hasattr(engine, "answers")


def _batch(
    engine: Engine,
    batch: Sequence[Sample],
    done: Collection[str],
    sampling: SamplingConfig,
    freely: bool,
) -> Part:
    begun = time.perf_counter()
    completions = _one_each(engine.generate(batch, 1, sampling), batch)
    waited = time.perf_counter() - begun
    unenforced: Sequence[Completion | None] = [None] * len(batch)
    if freely and sampling.enforce is not Enforce.OFF:
        unenforced = _unenforced(engine, batch, completions, sampling)
    turns = zip(batch, completions, unenforced, strict=True)
    return Part(
        [
            Asked(sample, completion, waited / len(batch), free)
            for sample, completion, free in turns
            if sample.id not in done
        ],
        waited,
    )


def _answers(
    engine: AnswerEngine, samples: Sequence[Sample], sampling: SamplingConfig, most: int
) -> Iterator[Part]:
    ready: list[Asked] = []
    given: set[int] = set()
    begun = time.perf_counter()
    answers = engine.answers(samples, sampling) if samples else iter(())
    try:
        for answer in answers:
            if answer.index in given or not 0 <= answer.index < len(samples):
                raise DataError(f"the engine answered sample {answer.index} again, or none of ours")
            given.add(answer.index)
            ready.append(Asked(samples[answer.index], answer.outcome, answer.seconds))
            waited = time.perf_counter() - begun
            if len(ready) >= most or waited >= _KEEP_EVERY:
                yield Part(ready, waited)
                ready, begun = [], time.perf_counter()
    except (Exception, KeyboardInterrupt):
        # An endpoint that broke down has answered these before, and they may have cost money.
        if ready:
            yield Part(ready, time.perf_counter() - begun)
        raise
    if ready:
        yield Part(ready, time.perf_counter() - begun)
    if len(given) < len(samples):
        raise DataError(f"the engine answered {len(given)} of {len(samples)} samples")


def _unenforced(
    engine: Engine,
    samples: Sequence[Sample],
    completions: Sequence[Completion],
    sampling: SamplingConfig,
) -> list[Completion]:
    """What the model writes if nothing is enforced.

    A greedy completion in which nothing was refused is just that; only others are written again.
    """
    again = [i for i, one in enumerate(completions) if one.overruled or sampling.temperature > 0]
    written = list(completions)
    if again:
        freely = replace(sampling, enforce=Enforce.OFF)
        batch = [samples[i] for i in again]
        for i, one in zip(again, _one_each(engine.generate(batch, 1, freely), batch), strict=True):
            written[i] = one
    return written


def _one_each(
    groups: Sequence[Sequence[Completion]], samples: Sequence[Sample]
) -> list[Completion]:
    """The only completion of each sample."""
    if len(groups) != len(samples):
        raise DataError(f"the engine answered {len(groups)} of {len(samples)} samples")
    for sample, group in zip(samples, groups, strict=True):
        if len(group) != 1:
            raise DataError(
                f"sample {sample.id!r}: {len(group)} completions came back where one was asked for"
            )
    return [group[0] for group in groups]
