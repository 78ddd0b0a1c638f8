"""Completions that somebody judged, as pairs of which one is better.

A JSONL file, one completion a line; a rollouts.jsonl with labels added is one::

    {"sample_id": "q1", "rewards": {"context": 0.5, "answer": null}, "label": 0.8}

`label` is a number (or true or false), and higher is better: a quality, a correctness, a place in
an order. Labels are compared within a sample only, so a judge need not keep one scale for all.

Shapes: P pairs, K rewards.
"""

import math
from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from triptych.data.sample import parse_object
from triptych.errors import DataError


@dataclass(frozen=True)
class Pairs:
    """Two completions of one sample, the better one first.

    Attributes:
        names: the rewards, in the order of K.
        rewards_P2K: of the better completion and of the worse one, float64; NaN where unscored.
        clusters: what pairs share whose outcomes rise and fall together: the first media file, or
            the sample.
        num_samples: samples of which there are pairs.
        num_unlabelled: completions without a label, which are in no pair.
    """

    names: tuple[str, ...]
    rewards_P2K: Tensor
    clusters: tuple[Hashable, ...]
    num_samples: int
    num_unlabelled: int

    def __len__(self) -> int:
        return len(self.clusters)


@dataclass(frozen=True)
class _Completion:
    cluster: Hashable
    label: float
    rewards: tuple[float, ...]


def read_pairs(path: Path, names: Sequence[str]) -> Pairs:
    """All pairs of completions of one sample whose labels differ.

    Args:
        path: the JSONL file.
        names: the rewards that every line must name.

    Raises:
        DataError: the file cannot be read, a line is not of the form above, or there is no pair.
            The message reads ``file:line: field: cause``.
    """
    by_sample: dict[str, list[_Completion]] = defaultdict(list)
    num_unlabelled = 0
    for where, record in _records(path):
        completion = _completion(record, names, where)
        if completion is None:
            num_unlabelled += 1
        else:
            by_sample[_sample_id(record, where)].append(completion)
    rewards, clusters, samples = [], [], set[str]()
    for sample_id, completions in by_sample.items():
        for one, other in combinations(completions, 2):
            if one.label != other.label:
                better, worse = (one, other) if one.label > other.label else (other, one)
                rewards.append((better.rewards, worse.rewards))
                clusters.append(one.cluster)
                samples.add(sample_id)
    if not clusters:
        raise DataError(
            f"{path}: no sample has two completions with different labels; label several "
            "completions of each sample, as `label`: a number, higher is better"
        )
    return Pairs(
        names=tuple(names),
        rewards_P2K=torch.tensor(rewards, dtype=torch.float64),
        clusters=tuple(clusters),
        num_samples=len(samples),
        num_unlabelled=num_unlabelled,
    )


def _records(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Place and content of each line."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text ({error}); save it as UTF-8 JSONL") from error
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}; name a readable JSONL file") from error
    for number, line in enumerate(lines, start=1):
        if line.strip():
            where = f"{path}:{number}"
            try:
                yield where, parse_object(line)
            except ValueError as error:
                raise DataError(f"{where}: {error}") from error


def _completion(record: Mapping[str, Any], names: Sequence[str], where: str) -> _Completion | None:
    """What a line says, or None where it has no label."""
    label = record.get("label")
    if label is None:
        return None
    if not isinstance(label, bool | int | float):
        raise DataError(f"{where}: label: {label!r:.80} is no number; higher is better")
    rewards = record.get("rewards")
    if not isinstance(rewards, dict):
        raise DataError(f"{where}: rewards: must be an object of rewards by name")
    if missing := [name for name in names if name not in rewards]:
        raise DataError(
            f"{where}: rewards: no {missing[0]!r}; add it (null where it could not be scored), or "
            f"give weights to {', '.join(rewards)} alone"
        )
    if unknown := [name for name in rewards if name not in names]:
        raise DataError(
            f"{where}: rewards: {unknown[0]!r} has no weight; give it one, or remove it"
        )
    media = record.get("media")
    return _Completion(
        cluster=str(media[0]) if isinstance(media, list) and media else _sample_id(record, where),
        label=float(label),
        rewards=tuple(_reward(rewards[name], f"{where}: rewards.{name}") for name in names),
    )


def _reward(value: Any, where: str) -> float:
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise DataError(f"{where}: {value!r:.80} is neither a number within [0, 1] nor null")
    return float(value)


def _sample_id(record: Mapping[str, Any], where: str) -> str:
    """What the completions of one prompt share."""
    for name in ("sample_id", "group"):
        if isinstance(value := record.get(name), str | int):
            return str(value)
    raise DataError(f"{where}: sample_id: missing; say which completions belong to one sample")
