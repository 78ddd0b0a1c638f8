"""Evaluates an engine on samples: one completion each, scored, with intervals over clips.

With a predictions file, an evaluation that was interrupted, at whatever moment, goes on when it is
called again, and leaves the file and the figures of one that was not: see `ledger`. Called again
when it is done, it asks once more for what is still open: samples that the engine had no answer
for, and rewards that a judge could not give. What was scored is never scored again.

Several processes share the batches; each writes a ledger of its own, and the first one brings
them together. Any number of processes may go on with what any other number began.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from triptych.data.policy import Ranks
from triptych.data.sample import Sample
from triptych.errors import DataError
from triptych.evaluation.asking import Asked, answers_one_by_one, ask
from triptych.evaluation.ledger import Ledger
from triptych.evaluation.metrics import Published, score_items
from triptych.evaluation.records import (
    Record,
    better,
    error_of,
    item_of,
    prediction_record,
    to_score_again,
    unanswered_record,
)
from triptych.evaluation.summary import EvaluationResult, summarise
from triptych.evaluation.timing import Note, Timing, next_call, together
from triptych.generation.engine import (
    AnswerEngine,
    Completion,
    Engine,
    NoCompletion,
    SamplingConfig,
)
from triptych.origin import Origin
from triptych.rewards import RewardFunction, rule_rewards, score

GREEDY = SamplingConfig(temperature=0.0)

Progress: TypeAlias = Callable[[int, int], None]
"""Told how many of how many samples are done, of those that this process sees to."""

Groups: TypeAlias = Mapping[str, Callable[[Sample], str | None]]
"""Divisions of the questions by name: the part that a sample belongs to, None for none."""


def evaluate(
    engine: Engine | AnswerEngine,
    samples: Sequence[Sample],
    sampling: SamplingConfig = GREEDY,
    rewards: Mapping[str, RewardFunction] | None = None,
    *,
    batch_size: int = 32,
    progress: Progress | None = None,
    out: Path | None = None,
    split: str = "balanced",
    groups: Groups | None = None,
    published: Published | None = None,
    ranks: Ranks | None = None,
    seed: int = 0,
    origin: Origin | None = None,
) -> EvaluationResult:
    """Ask for one completion of each sample and score it.

    Args:
        engine: writes the completions.
        samples: what to answer; no id may stand twice.
        sampling: greedy by default. Where it enforces the format and the format is scored, what the
            model writes by itself is measured too, see `score_items`.
        rewards: the rule rewards by default.
        batch_size: samples per call of the engine, and of rewards that are asked once more.
        progress: told whenever some are done.
        out: JSONL file for the predictions, in the order of the samples; there when all are done.
            An evaluation that left it, or was interrupted on the way to it, is gone on with.
        split: the name of all samples together; see `summarise`.
        groups: divisions of the questions that are summarised apart.
        published: the metric that the benchmark was published with.
        ranks: the processes that share the work; all of them make this call, and get its result.
        seed: of the intervals' bootstrap.
        origin: what else the completions are made from (model, weights, media), as plain JSON. With
            samples, sampling and rewards it decides whether `out` may be gone on with.

    Raises:
        ConfigError: `out` was made from something else; the message says from what.
        DataError: no samples, an id that stands twice, a file that cannot be written or is
            damaged, or an engine that gave something other than one answer per sample.
        MediaError: the media of a sample cannot be decoded. What was done before it is kept.
        RewardError: a reward function failed. What was done before it is kept.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, not {batch_size}")
    _check_samples(samples)
    ranks = ranks or Ranks()
    scorer = _Scorer(rule_rewards() if rewards is None else rewards, groups or {}, published)
    ledger = Ledger(out, ranks.rank) if out else None
    made_from = {
        **(origin or {}),
        "samples_sha256": _fingerprint(samples),
        "sampling": asdict(sampling),
        "batch_size": None if answers_one_by_one(engine) else batch_size,
        "metrics": [*scorer.rewards, *(["answer.published"] if published else [])],
        "groups": list(scorer.groups),
    }
    earlier = _begin(ledger, made_from, samples, ranks)
    mine = _Share(ledger, ranks.rank, next_call(earlier.notes))
    to_mend = [one for one in samples if to_score_again(earlier.records.get(one.id, {}))]
    to_mend = to_mend[ranks.rank :: ranks.count]
    for start in range(0, len(to_mend), batch_size):  # scores that were paid for are kept soon
        mine.keep(scorer.mend(earlier.records, to_mend[start : start + batch_size]))
    answered = {key for key, record in earlier.records.items() if not error_of(record)}
    total = len(samples)
    count = len(answered)
    freely = "format" in scorer.rewards  # beside its score stands what it would be unenforced
    for part in ask(engine, samples, answered, sampling, batch_size, ranks, freely=freely):
        mine.keep(scorer.records(part.asked), part.asked, part.waited)
        count += len(part.asked) * ranks.count
        if progress:
            progress(min(count, total), total)
    everything = earlier.joined(ranks.gather(mine.done))
    records = [everything.records[one.id] for one in samples]
    if ledger and ranks.rank == 0:
        ledger.finish(records, everything.notes)
    errors = {one["sample_id"]: error for one in records if (error := error_of(one))}
    return replace(
        summarise([item_of(one) for one in records if not error_of(one)], split, seed),
        unanswered=errors,
        timing=Timing.of(everything.notes),
        found=len(answered),
    )


@dataclass(frozen=True)
class _Done:
    """Predictions by sample id, and how long they took."""

    records: dict[str, Record]
    notes: list[Note]

    def joined(self, others: Iterable["_Done"]) -> "_Done":
        records, notes = dict(self.records), [self.notes]
        for other in others:
            for key, record in other.records.items():
                records[key] = better(record, records.get(key, record))
            notes.append(other.notes)
        return _Done(records, together(*notes))


class _Share:
    """What this process adds."""

    def __init__(self, ledger: Ledger | None, rank: int, call: int) -> None:
        self.done = _Done({}, [])
        self._ledger, self._rank, self._call = ledger, rank, call
        self._waited = 0.0

    def keep(
        self, records: Sequence[Record], asked: Sequence[Asked] = (), waited: float = 0.0
    ) -> None:
        note = None
        if asked:
            self._waited += waited
            note = {
                "call": self._call,
                "rank": self._rank,
                "waited": round(self._waited, 6),
                "answers": [_took(one) for one in asked if isinstance(one.outcome, Completion)],
            }
            self.done.notes.append(note)
        self.done.records.update({record["sample_id"]: record for record in records})
        if self._ledger and records:
            self._ledger.append(records, note)


@dataclass(frozen=True)
class _Scorer:
    """Makes the lines of a predictions file."""

    rewards: Mapping[str, RewardFunction]
    groups: Groups
    published: Published | None

    def records(self, asked: Sequence[Asked]) -> list[Record]:
        """One line for each sample, in their order."""
        lines = {one.sample.id: self._unanswered(one.sample, one.outcome) for one in asked
                 if isinstance(one.outcome, NoCompletion)}  # fmt: skip
        pairs = [(one, one.outcome) for one in asked if isinstance(one.outcome, Completion)]
        unenforced = [one.unenforced for one, _ in pairs if one.unenforced is not None]
        items = score_items(
            self.rewards,
            [one.sample for one, _ in pairs],
            [completion for _, completion in pairs],
            unenforced or None,
            self.published,
        )
        for (one, completion), item in zip(pairs, items, strict=True):
            item = replace(item, groups=self._groups_of(one.sample))
            lines[one.sample.id] = prediction_record(
                one.sample, completion, item, tuple(self.rewards)
            )
        return [_as_read(lines[one.sample.id]) for one in asked]

    def mend(self, records: Mapping[str, Record], samples: Sequence[Sample]) -> list[Record]:
        """The lines of these samples with the rewards that could not be had before."""
        mended = {sample.id: _as_read(records[sample.id]) for sample in samples}
        for name, function in self.rewards.items():
            again = [one for one in samples if name in to_score_again(records[one.id])]
            table = score({name: function}, again, [records[one.id]["text"] for one in again])
            for index, sample in enumerate(again):
                value, reason = table.row(index)[name], table.reasons.get((index, 0))
                line = mended[sample.id]
                line["scores"][name] = line["rewards"][name] = value
                if value is not None:
                    del line["unscored"][name]
                elif reason is not None:
                    line["unscored"][name] = str(reason)
        return list(mended.values())

    def _unanswered(self, sample: Sample, outcome: NoCompletion) -> Record:
        return unanswered_record(sample, outcome, self._groups_of(sample))

    def _groups_of(self, sample: Sample) -> dict[str, str]:
        values = {name: group(sample) for name, group in self.groups.items()}
        return {name: value for name, value in values.items() if value is not None}


def _begin(
    ledger: Ledger | None, made_from: Origin, samples: Sequence[Sample], ranks: Ranks
) -> _Done:
    """What earlier calls left, or why it may not be gone on with: the same on every rank."""
    if ledger is None:
        return _Done({}, [])
    ids = [sample.id for sample in samples]
    return ranks.settle(lambda: _Done(*ledger.begin(made_from, ids)))


def _took(one: Asked) -> dict[str, Any]:
    tokens = one.outcome.num_tokens if isinstance(one.outcome, Completion) else None
    return {"sample_id": one.sample.id, "seconds": round(one.seconds, 6), "tokens": tokens}


def _as_read(record: Record) -> Record:
    """A line as it reads from the file: then nothing depends on whether it was read from there."""
    text = json.dumps(record, ensure_ascii=False).encode(errors="backslashreplace")
    read: Record = json.loads(text)
    return read


def _check_samples(samples: Sequence[Sample]) -> None:
    if not samples:
        raise DataError("no samples to evaluate; name a file that holds some")
    seen: set[str] = set()
    for sample in samples:
        if sample.id in seen:
            raise DataError(f"sample {sample.id!r} stands twice; give every sample its own id")
        seen.add(sample.id)


def _fingerprint(samples: Sequence[Sample]) -> str:
    """SHA-256 of what is asked. Media count by their names: a data set may move."""
    digest = hashlib.sha256()
    for sample in samples:
        record = sample.model_dump(mode="json")
        for item in record["media"]:
            item["path"] = Path(item["path"]).name
        digest.update(json.dumps(record, sort_keys=True).encode())
    return digest.hexdigest()
