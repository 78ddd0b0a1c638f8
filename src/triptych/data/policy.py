"""What a run does about samples whose media cannot be used.

A run that may skip samples settles which ones before it begins: it encodes every sample once. Met
on the way instead, a bad sample would leave a hole in its step. Steps would have fewer groups than
was asked for, ranks would wait for each other over batches of different size, and a resumed run
would need to know of holes in steps that it does not make again. Settled up front, all ranks have
one list, every step is full, how much is left out is known before the first hour is paid for, and
a resumed run reads the list. The price is that media are decoded once more than otherwise; with a
cache folder they are not, since the run finds there what was made of them.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

from triptych.data.sample import Sample
from triptych.errors import ConfigError, DataError, TriptychError
from triptych.files import read_lines, write_lines
from triptych.runs import RunFolder

_log = logging.getLogger(__name__)

Outcome = TypeVar("Outcome")


class OnBadSample(StrEnum):
    """What to do about a sample whose media cannot be used."""

    STOP = "stop"
    """End the run when it meets one, by an error that names sample, file and cause."""
    SKIP = "skip"
    """Find all of them before the run begins, list them, and leave them out."""


@dataclass(frozen=True, kw_only=True)
class FailurePolicy:
    """What is done about samples whose media cannot be used."""

    on_bad_sample: OnBadSample = OnBadSample.STOP
    """What happens to a sample whose media cannot be decoded, or that is too long for the model:
    stop the run there, or skip it. To skip, all media are decoded once before the run begins; bad
    samples are left out and listed with their causes in skipped.jsonl."""
    max_bad_share: float = 0.05
    """Largest share of the samples that may be skipped; beyond it the run does not begin."""

    def __post_init__(self) -> None:
        if not 0 <= self.max_bad_share <= 1:
            raise ConfigError(f"max_bad_share is {self.max_bad_share}; use a share from 0 to 1")


class SkipList(Protocol):
    """Where it is kept which samples a run leaves out."""

    @property
    def path(self) -> Path:
        """The file for people to look into."""

    def read(self) -> list[str] | None:
        """Their ids; None where that was not settled yet."""

    def write(self, records: Sequence[dict[str, Any]], checked: int, *, settled: bool) -> None:
        """Keep what is bad of `checked` samples. Not `settled`, it is only there to be read."""


@dataclass(frozen=True)
class RunSkips:
    """The samples that a phase of a run leaves out, in the run's folder."""

    run: RunFolder
    phase: str

    @property
    def path(self) -> Path:
        return self.run.skipped_path

    def read(self) -> list[str] | None:
        return self.run.skipped(self.phase)

    def write(self, records: Sequence[dict[str, Any]], checked: int, *, settled: bool) -> None:
        self.run.write_skipped(self.phase, records, checked, settled=settled)


@dataclass(frozen=True)
class FileSkips:
    """The samples that a file of completions leaves out, in a file beside it."""

    path: Path

    def read(self) -> list[str] | None:
        if not self.path.exists():
            return None
        return [record["sample_id"] for record in read_lines(self.path)]

    def write(self, records: Sequence[dict[str, Any]], checked: int, *, settled: bool) -> None:
        if settled:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_lines(self.path, records)


@dataclass(frozen=True)
class Ranks:
    """The processes of a run: `gather` gives every one of them what all of them have, in order."""

    rank: int = 0
    count: int = 1
    gather: Callable[[Any], list[Any]] = lambda mine: [mine]

    @property
    def first(self) -> bool:
        """Whether this process is the one that prints and writes what there is one of."""
        return self.rank == 0

    def attempt(self, work: Callable[[], Outcome]) -> list[Outcome | TriptychError]:
        """Do something on each process; all get the results, or the errors, of all."""
        try:
            return self.gather(work())
        except TriptychError as error:
            return self.gather(error)

    def share(self, work: Callable[[], Outcome]) -> list[Outcome]:
        """Do something on each process; all get the results of all.

        Raises:
            TriptychError: `work` raised it on some process, the same here on all.
        """
        outcomes: list[Outcome] = []
        for outcome in self.attempt(work):
            if isinstance(outcome, TriptychError):
                raise outcome
            outcomes.append(outcome)
        return outcomes

    def settle(self, work: Callable[[], Outcome]) -> Outcome:
        """Do something on the first process; all get its result, or its error.

        Raises:
            TriptychError: `work` raised it.
        """
        outcomes = self.share(lambda: work() if self.first else None)
        return cast(Outcome, outcomes[0])


def usable_samples(
    samples: Sequence[Sample],
    policy: FailurePolicy,
    encode: Callable[[Sequence[Sample]], Iterable[object]],
    skips: SkipList,
    *,
    resume: bool = False,
    ranks: Ranks | None = None,
) -> list[Sample]:
    """The samples that a run uses, the same on every rank.

    Args:
        samples: all there are.
        policy: without permission to skip, all of them are used.
        encode: gives an error for each sample that cannot be used, anything else for others.
        skips: receives what is left out.
        resume: the run began earlier. What it left out then it leaves out now, whatever the policy:
            the order of the samples depends on their number.
        ranks: the processes of the run, each of which encodes its share.

    Raises:
        DataError: more samples are bad than the policy allows, or all of them.
    """
    ranks = ranks or Ranks()
    skipped = ranks.gather(skips.read() if resume else None)[0]
    if skipped is None and policy.on_bad_sample is OnBadSample.SKIP:
        skipped = _settle(samples, policy, encode, skips, ranks)
    left_out = set(skipped or ())
    used = [sample for sample in samples if sample.id not in left_out]
    if not used:
        raise DataError(f"none of the {len(samples)} samples can be used; see {skips.path}")
    if left_out and ranks.rank == 0:
        _log.warning(
            "%d of %d samples are left out; see %s",
            len(samples) - len(used), len(samples), skips.path,
        )  # fmt: skip
    return used


def _settle(
    samples: Sequence[Sample],
    policy: FailurePolicy,
    encode: Callable[[Sequence[Sample]], Iterable[object]],
    skips: SkipList,
    ranks: Ranks,
) -> list[str]:
    """Find the bad samples, or so many of them that the run will not begin."""
    most = policy.max_bad_share * len(samples)
    mine = samples[ranks.rank :: ranks.count]
    found: dict[str, str] = {}
    checked = 0
    for sample, outcome in zip(mine, encode(mine), strict=True):
        checked += 1
        if isinstance(outcome, TriptychError):
            found[sample.id] = str(outcome.__cause__ or outcome)
            if len(found) > most:
                break
    parts = ranks.gather((found, checked))
    checked = sum(number for _, number in parts)
    causes = {sample_id: cause for part, _ in parts for sample_id, cause in part.items()}
    bad = [sample for sample in samples if sample.id in causes]
    records = [
        {
            "sample_id": sample.id,
            "cause": causes[sample.id],
            "media": [str(item.path) for item in sample.media],
        }
        for sample in bad
    ]
    settled = len(bad) <= most
    if ranks.rank == 0:
        skips.write(records, checked, settled=settled)
    if not settled:
        raise DataError(
            f"{len(bad)} of {checked} samples cannot be used; max_bad_share = "
            f"{policy.max_bad_share:g} allows {int(most)} of all {len(samples)}. The first is "
            f"{bad[0].id}: {causes[bad[0].id]}"
        )
    return [sample.id for sample in bad]
