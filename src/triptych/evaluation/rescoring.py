"""Scores completions that are there already, by the rule rewards, on all cores.

Every chunk of samples is scored in a worker process, a fork of this one: it has the samples and the
texts without their being sent, and sends back finished lines and scores; what the samples say of
themselves is known here. Results do not depend on how many workers there are.
"""

import gc
import json
import multiprocessing
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeAlias

from triptych.data.sample import ProblemType, Reference, Sample
from triptych.errors import DataError
from triptych.evaluation.metrics import ItemScore, Published, cluster_of, label_of, score_items
from triptych.evaluation.precomputed import Precomputed, Written
from triptych.evaluation.records import prediction_record, unanswered_record
from triptych.evaluation.summary import EvaluationResult, summarise
from triptych.generation.engine import Completion, StopReason
from triptych.rewards import Unscored, rule_rewards
from triptych.rewards.conclusion import conclusion
from triptych.rewards.reading import read_answer
from triptych.stages.format import DEFAULT_FORMAT

_CHUNK = 512  # completions that a worker is given at once
_BATCH = 128  # that it scores together: the caches of what was read hold so many
_ANSWER = DEFAULT_FORMAT.stages[-1]
_YES_OR_NO_FIRST = re.compile(r"\W*(yes|no)\b(?=\s*[,.;:!\n])", re.IGNORECASE)
_ENCODER = json.JSONEncoder(ensure_ascii=False, check_circular=False)
_NO_REFERENCE = Reference()
_COLLECT_AFTER = 5_000_000  # new objects, more than are kept: scoring leaves hardly any garbage

Groups = Mapping[str, Callable[[Sample], str | None]]
Scored: TypeAlias = tuple[Mapping[str, float | None], Mapping[str, Unscored]]
"""The scores of one completion, and why some have no value."""


class Stages(StrEnum):
    """What completions are expected to be."""

    AUTO = "auto"
    """The stages where any completion has an answer stage, else plain answers."""
    REQUIRED = "required"
    """The stages: what has no answer stage has no answer."""
    NONE = "none"
    """Plain answers: what has no answer stage is an answer, all of it or what it finally states."""


@dataclass(frozen=True)
class Turn:
    """One completion of a sample.

    Attributes:
        sample: what was asked.
        written: the completion.
        id: that of the sample, or one of its own where the sample has several completions.
    """

    sample: Sample
    written: Written
    id: str


def turns_of(samples: Sequence[Sample], precomputed: Precomputed) -> list[Turn]:
    """One for each completion, in the order of the samples.

    The several completions of a sample are each scored as a sample of its own, with the id "ID#1",
    "ID#2" ...; they keep the cluster of theirs, so no interval takes them for independent.

    Raises:
        DataError: another sample has such an id.
    """
    ids = {sample.id for sample in samples}
    turns = []
    for sample in samples:
        completions = precomputed.written.get(sample.id, ())
        for number, written in enumerate(completions, start=1):
            own = sample.id
            if len(completions) > 1:
                own = f"{sample.id}#{number}"
                if own in ids:
                    raise DataError(
                        f"completion {number} of sample {sample.id!r} would be named {own!r}, "
                        "as another sample is; give that one another id"
                    )
            turns.append(Turn(sample, written, own))
    return turns


def without_answer_stage(turns: Sequence[Turn]) -> list[str]:
    """Ids of the completions that open no answer stage."""
    return [one.id for one in turns if _ANSWER.open_tag not in one.written.text]


def as_answer(text: str, read: Callable[[str], str] = str) -> str:
    """A completion without an answer stage as one: what follows its last tag is the answer.

    Args:
        text: the completion.
        read: makes of what follows the last tag what stands in the answer stage.
    """
    ends = [text.rfind(tag) + len(tag) for tag in DEFAULT_FORMAT.tags if tag in text]
    cut = max(ends, default=0)
    return f"{text[:cut]}{_ANSWER.open_tag}{read(text[cut:])}{_ANSWER.close_tag}"


def plain_answer(text: str, sample: Sample) -> str:
    """A plain answer, or what it finally states where it cannot be read as an answer stage can.

    "The answer is B because she shouts." is "B". Of a text that states nothing, all.
    """
    kind = sample.problem_type
    if read_answer(text, kind, sample.options) is not None:
        return text
    stated = conclusion(text, kind, sample.options)
    if stated is not None and stated.final:
        return stated.value
    first = _YES_OR_NO_FIRST.match(text) if kind is ProblemType.YES_NO else None
    return first[1] if first else text


@dataclass(frozen=True)
class Rescorer:
    """How completions are scored.

    Attributes:
        plain: they are plain answers: those without an answer stage are answers as they are (see
            `plain_answer`), and context and reasoning, which nobody asked for, are not scored.
        groups: divisions of the questions.
        published: the published metric of one item.
        workers: processes; 1 scores in this one.
    """

    plain: bool
    groups: Groups
    published: Published | None
    workers: int = 1

    def run(
        self,
        turns: Sequence[Turn],
        samples: Sequence[Sample],
        precomputed: Precomputed,
        out: Path,
        progress: Callable[[int], None],
        seed: int = 0,
    ) -> EvaluationResult:
        """Score, write a line for each into `out`, and summarise.

        Args:
            turns: what is scored.
            samples: all that were asked, for those that have no answer.
            precomputed: what there is of them.
            out: the predictions file; it appears when all is done.
            progress: told how many more are done.
            seed: of the intervals' bootstrap.

        Raises:
            DataError: the file cannot be written, or a worker was killed. No part of the file is
                left.
        """
        partial = out.with_name(f"{out.name}.partial")
        items: list[ItemScore] = []
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                for part, (lines, scored) in self._chunks(turns):
                    file.write(lines)
                    items.extend(self._items(turns[part.start : part.stop], scored))
                    progress(len(scored))
                for sample in samples:
                    if (error := precomputed.unanswered.get(sample.id)) is not None:
                        record = unanswered_record(sample, error, self._groups_of(sample))
                        file.write(_line(record))
            partial.replace(out)
        except BaseException as error:
            _remove(partial)
            if isinstance(error, OSError):
                raise DataError(f"{partial}: {error.strerror}; choose another folder") from error
            raise
        result = summarise(items, "all", seed)
        return replace(result, unanswered=dict(precomputed.unanswered))

    def _chunks(self, turns: Sequence[Turn]) -> Iterator[tuple[range, tuple[bytes, list[Scored]]]]:
        parts = [range(at, min(at + _CHUNK, len(turns))) for at in range(0, len(turns), _CHUNK)]
        workers = min(self.workers, len(parts))
        if workers <= 1 or "fork" not in multiprocessing.get_all_start_methods():
            yield from ((part, self._score(turns, part)) for part in parts)
            return
        gc.freeze()  # what is shared with the workers stays shared
        try:
            with ProcessPoolExecutor(
                workers, multiprocessing.get_context("fork"), _begin, (self, turns)
            ) as pool:
                yield from zip(parts, pool.map(_score_part, parts), strict=True)
        except BrokenProcessPool as error:
            raise DataError(
                f"one of {workers} worker processes was killed, as happens where memory does not "
                f"suffice; try fewer, --workers {max(1, workers // 2)}"
            ) from error
        finally:
            gc.unfreeze()

    def _items(self, turns: Sequence[Turn], scored: Sequence[Scored]) -> Iterator[ItemScore]:
        labels = self._labels(turns)
        for one, (scores, unscored) in zip(turns, scored, strict=True):
            # No figure is made of the elements.
            yield ItemScore(one.id, scores=scores, unscored=unscored, **labels[id(one.sample)])

    def _labels(self, turns: Sequence[Turn]) -> dict[int, dict[str, Any]]:
        """The fields of an `ItemScore` that the samples alone say, by the `id` of each sample."""
        samples = {id(one.sample): one.sample for one in turns}
        return {
            key: {
                "cluster": cluster_of(sample),
                "kind": label_of(sample, "kind"),
                "alignment": label_of(sample, "alignment"),
                "groups": self._groups_of(sample),
            }
            for key, sample in samples.items()
        }

    def _score(self, turns: Sequence[Turn], part: range) -> tuple[bytes, list[Scored]]:
        lines, scored = [], []
        for at in range(part.start, part.stop, _BATCH):
            for line, one in self._batch(turns[at : min(at + _BATCH, part.stop)]):
                lines.append(line)
                scored.append(one)
        return b"".join(lines), scored

    def _batch(self, turns: Sequence[Turn]) -> Iterator[tuple[bytes, Scored]]:
        rewards = rule_rewards()
        if self.plain:
            rewards = {name: rewards[name] for name in ("answer", "format")}
        completions = [self._completion(one) for one in turns]
        samples = [one.sample.model_copy(update=self._changed(one)) for one in turns]
        items = score_items(rewards, samples, completions, published=self._published(turns))
        labels = self._labels(turns)
        for one, sample, completion, item in zip(turns, samples, completions, items, strict=True):
            stop = one.written.stop_reason
            scores = dict(item.scores)
            if stop is None:  # then nobody knows
                del scores["truncated"]
            record = prediction_record(sample, completion, item, tuple(rewards))
            record |= {
                **labels[id(one.sample)],
                "scores": scores,
                "text": one.written.text,
                "stop_reason": None if stop is None else str(stop),
            }
            yield _line(record), (scores, item.unscored)

    def _changed(self, turn: Turn) -> dict[str, Any]:
        """What is other than in the sample: without a reference, no elements are looked for."""
        return {"id": turn.id} | ({"reference": _NO_REFERENCE} if self.plain else {})

    def _published(self, turns: Sequence[Turn]) -> Published | None:
        """The published metric, which reads plain answers by its own rules, from end to end."""
        metric = self.published
        if metric is None or not self.plain:
            return metric
        texts = {one.id: one.written.text for one in turns if self._is_bare(one)}

        def of_plain_answers(sample: Sample, text: str) -> float | None:
            whole = texts.get(sample.id)
            return metric(sample, text if whole is None else as_answer(whole))

        return of_plain_answers

    def _is_bare(self, turn: Turn) -> bool:
        return self.plain and _ANSWER.open_tag not in turn.written.text

    def _completion(self, turn: Turn) -> Completion:
        written = turn.written
        text = written.text
        if self._is_bare(turn):
            text = as_answer(text, lambda answer: plain_answer(answer, turn.sample))
        stop = written.stop_reason or StopReason.END
        return Completion((), text, stop, (), counted=written.tokens)

    def _groups_of(self, sample: Sample) -> dict[str, str]:
        found = {name: group(sample) for name, group in self.groups.items()}
        return {name: value for name, value in found.items() if value is not None}


def _remove(partial: Path) -> None:
    """Takes back what was written of a file, and its folder if it is empty then."""
    with suppress(OSError):
        partial.unlink(missing_ok=True)
        partial.parent.rmdir()


@contextmanager
def rare_collections() -> Iterator[None]:
    """Has garbage collected rarely: what is read and scored stays, or goes without that."""
    before = gc.get_threshold()
    gc.set_threshold(_COLLECT_AFTER, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


def available_cores() -> int:
    """How many processes may run at the same time."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


_worker: tuple[Rescorer, Sequence[Turn]]  # of a worker process only


def _begin(rescorer: Rescorer, turns: Sequence[Turn]) -> None:
    global _worker
    _worker = rescorer, turns


def _score_part(part: range) -> tuple[bytes, list[Scored]]:
    rescorer, turns = _worker
    return rescorer._score(turns, part)


def _line(record: Mapping[str, object]) -> bytes:
    # Half a surrogate pair has an escape in JSON, but no bytes in UTF-8.
    return _ENCODER.encode(record).encode(errors="backslashreplace") + b"\n"
