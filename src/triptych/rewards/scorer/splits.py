"""What a scorer is trained on, calibrated on and evaluated on: pairs of three sets of samples.

The three share no clip and no reference (`corruptions.split`).
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from triptych.data.sample import Reference, Sample
from triptych.errors import ConfigError, DataError
from triptych.rewards.scorer.base import Stage
from triptych.rewards.scorer.corruptions import Pair, context_pairs, reasoning_pairs, split

LEAST_SAMPLES = 8
"""References that training needs: fewer cannot be split in three."""


@dataclass(frozen=True)
class Splits:
    """Pairs to train on, to calibrate on and to evaluate on.

    Attributes:
        samples: All that the pairs are of, by id.
    """

    train: list[Pair]
    calibration: list[Pair]
    held_out: list[Pair]
    samples: dict[str, Sample]


def make_splits(
    samples: Sequence[Sample], stage: Stage, held_out_share: float, per_kind: int, seed: int
) -> Splits:
    """Split samples and make their pairs. Half of what is held out calibrates, half evaluates.

    Raises:
        ConfigError: the share is out of range, or the samples cannot be split.
        DataError: too few of them have a reference of the stage.
    """
    usable = with_references(samples, stage)
    if len(usable) < LEAST_SAMPLES:
        raise DataError(
            f"{len(usable)} of {len(samples)} samples have a {_FIELDS[stage]} that no other has; "
            f"a scorer needs {LEAST_SAMPLES} or more"
        )
    train, held_out = split(usable, held_out_share, seed)
    if len(held_out) < 2:
        raise ConfigError(
            f"held_out_share: {held_out_share} of {len(usable)} samples is {len(held_out)}; hold "
            "out at least two, one to calibrate on and one to evaluate on"
        )
    calibration, evaluation = split(held_out, 0.5, seed)
    return Splits(
        train=make_pairs(train, stage, per_kind, seed),
        calibration=make_pairs(calibration, stage, per_kind, seed),
        held_out=make_pairs(evaluation, stage, per_kind, seed),
        samples={sample.id: sample for sample in usable},
    )


def make_pairs(samples: Sequence[Sample], stage: Stage, per_kind: int, seed: int) -> list[Pair]:
    """The pairs of samples, for a stage."""
    make = context_pairs if stage == "context" else reasoning_pairs
    return list(make(samples, seed, per_kind))


def with_references(samples: Sequence[Sample], stage: Stage) -> list[Sample]:
    """The samples that pairs of the stage can be made from, each reference once.

    Several questions about a clip share its context; it would be learned, and counted, several
    times.

    Raises:
        DataError: there are none.
    """
    usable: dict[object, Sample] = {}
    for sample in samples:
        context, reasoning = sample.reference.context, sample.reference.reasoning
        if stage == "context" and _says_something(context):
            # Without the reasoning, which clips share that share nothing else.
            alone = Reference(context=context, elements=sample.reference.elements)
            usable.setdefault(context, sample.model_copy(update={"reference": alone}))
        elif stage == "reasoning" and _says_something(context) and _says_something(reasoning):
            usable.setdefault((context, reasoning, sample.question, sample.options), sample)
    if not usable:
        raise DataError(
            f"none of {len(samples)} samples has a {_FIELDS[stage]}, which {stage} scorers learn "
            "from; add it, or convert the data with `triptych data convert`"
        )
    return list(usable.values())


_FIELDS = {
    "context": "reference.context",
    "reasoning": "reference.context and a reference.reasoning",
}


def _says_something(text: str | None) -> bool:
    return bool(text and text.strip())


def fingerprints(pairs: Iterable[Pair]) -> list[str]:
    """Of their references, sorted: whether one was trained on can be told without its text."""
    return sorted({fingerprint(pair.reference) for pair in pairs})


def fingerprint(reference: str) -> str:
    """The first 16 hex digits of its SHA-256."""
    return hashlib.sha256(reference.encode(errors="surrogatepass")).hexdigest()[:16]
