"""Evaluates an engine on samples: one completion each, scored, with intervals over clips."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO, TypeAlias

from triptych.data.sample import Sample
from triptych.errors import DataError
from triptych.evaluation.metrics import ItemScore, score_items
from triptych.evaluation.summary import EvaluationResult, summarise
from triptych.generation.engine import Completion, Enforce, Engine, SamplingConfig
from triptych.rewards import RewardFunction, rule_rewards
from triptych.stages.format import parse

GREEDY = SamplingConfig(temperature=0.0)

Progress: TypeAlias = Callable[[int, int], None]
"""Told after each batch how many of how many samples are done."""


def evaluate(
    engine: Engine,
    samples: Sequence[Sample],
    sampling: SamplingConfig = GREEDY,
    rewards: Mapping[str, RewardFunction] | None = None,
    batch_size: int = 32,
    progress: Progress | None = None,
    out: Path | None = None,
    split: str = "balanced",
) -> EvaluationResult:
    """Generate one completion per sample and score it.

    Args:
        engine: writes the completions.
        samples: what to answer; no id may stand twice.
        sampling: greedy by default. Where it enforces the format, what the model writes by itself
            is measured too, see `score_items`.
        rewards: the rule rewards by default.
        batch_size: samples per call of the engine.
        progress: told after each batch.
        out: JSONL file for the predictions. It appears, or replaces an older one, when all are
            done; after a failure those that were done stand beside it in ``NAME.partial``.
        split: the name of all samples together; see `summarise`.

    Raises:
        DataError: no samples, an id that stands twice, a file that cannot be written, or an
            engine that gave something other than one completion per sample.
        MediaError: the media of a sample cannot be decoded.
        RewardError: a reward function failed.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, not {batch_size}")
    _check_samples(samples)
    rewards = rule_rewards() if rewards is None else rewards
    records: list[ItemScore] = []
    with _prediction_lines(out) as lines:
        for start in range(0, len(samples), batch_size):
            batch = samples[start : start + batch_size]
            completions = _one_each(engine.generate(batch, 1, sampling), batch)
            unenforced = _unenforced(engine, batch, completions, sampling)
            items = score_items(rewards, batch, completions, unenforced)
            if lines:
                for sample, completion, item in zip(batch, completions, items, strict=True):
                    record = prediction_record(sample, completion, item, tuple(rewards))
                    lines.write(json.dumps(record, ensure_ascii=False) + "\n")
                lines.flush()
            records.extend(items)
            if progress:
                progress(len(records), len(samples))
    return summarise(records, split)


def prediction_record(
    sample: Sample, completion: Completion, item: ItemScore, reward_names: Sequence[str]
) -> dict[str, Any]:
    """One line of a predictions file: the keys of a rollout, and all scores."""
    output = parse(completion.text)
    return {
        "sample_id": sample.id,
        "cluster": item.cluster,
        "kind": item.kind,
        "alignment": item.alignment,
        "media": [media.model_dump(mode="json") for media in sample.media],
        "question": sample.question,
        "problem_type": str(sample.problem_type),
        "options": list(sample.options),
        "answer": sample.answer,
        "text": completion.text,
        "bodies": dict(output.bodies),
        "violations": [
            {"kind": str(found.kind), "stage": found.stage, "position": found.position}
            for found in output.violations
        ],
        "rewards": {name: item.scores[name] for name in reward_names},
        "scores": dict(item.scores),
        "elements": {name: str(status) for name, status in item.elements.items()},
        "stop_reason": str(completion.stop_reason),
        "forced": sum(completion.forced),
        "overruled": completion.overruled,
    }


@contextmanager
def _prediction_lines(out: Path | None) -> Iterator[TextIO | None]:
    """An open file beside ``out`` that takes its place if nothing fails; None without ``out``."""
    if out is None:
        yield None
        return
    partial = out.with_name(f"{out.name}.partial")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        # Half a surrogate pair has an escape in JSON, but no bytes in UTF-8.
        lines = partial.open("w", encoding="utf-8", errors="backslashreplace", newline="\n")
    except OSError as error:
        raise DataError(f"{partial}: {error.strerror}; choose a file to write to") from error
    with lines:
        yield lines
    partial.replace(out)


def _check_samples(samples: Sequence[Sample]) -> None:
    if not samples:
        raise DataError("no samples to evaluate; name a file that holds some")
    seen: set[str] = set()
    for sample in samples:
        if sample.id in seen:
            raise DataError(f"sample {sample.id!r} stands twice; give every sample its own id")
        seen.add(sample.id)


def _unenforced(
    engine: Engine,
    samples: Sequence[Sample],
    completions: Sequence[Completion],
    sampling: SamplingConfig,
) -> list[Completion] | None:
    """What the model writes if nothing is enforced; None if nothing was.

    A greedy completion in which nothing was refused is just that; only others are written again.
    """
    if sampling.enforce is Enforce.OFF:
        return None
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
