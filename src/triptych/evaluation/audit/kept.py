"""How much of its accuracy a model keeps under a condition, and the shortcut index.

Accuracies by themselves do not compare: with four options a quarter is right by luck. So what is
compared is how far an accuracy lies above chance:

    kept = (accuracy under the condition - chance) / (accuracy in full - chance)

over the items that the condition applies to. 1: the model does as well without; 0: nothing but luck
is left; below 0: it is led astray, as by the voice of somebody else. Where the accuracy in full is
not told apart from chance there is nothing to keep, and no ratio is given.

The *index* of a medium is what is kept when the medium is swapped for one that says otherwise. To
swap is better than to take away. A model whose prompts always had sound may fail without it because
the prompt is strange to it, and would seem to have listened; a swapped sound is as good as any.
The *shortcut index* is the largest over the media: how well the model does without the medium that
it needs least. 0: every right answer depended on every medium; 1: some medium is ignored.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from triptych.data.sample import MediaKind, ProblemType, Sample
from triptych.evaluation.audit.conditions import Condition
from triptych.evaluation.audit.observations import Observations, clusters_of
from triptych.statistics import (
    Interval,
    bootstrap_difference,
    bootstrap_interval,
    bootstrap_measure,
)

CONFIDENCE = 0.95

INDICES: Mapping[MediaKind, Condition] = {
    MediaKind.VIDEO: Condition.SWAPPED_VIDEO,
    MediaKind.AUDIO: Condition.SWAPPED_AUDIO,
}
"""The condition that tells how little a medium is needed. Images count as video: both are seen."""


def chance(sample: Sample) -> float:
    """The expected score of the best answer that knows nothing but the form of the question.

    * Multiple choice: 1 / number of options.
    * Yes/no: 0.5.
    * Multi-select, scored by the F1 of the sets of letters: 2g / (k + g) with g of k options right,
      which is what naming all of them is worth. Of s options named at random, s * g / k are right,
      so the expected F1 is 2 * s * g / (k * (s + g)): it grows with s.
    * All else: 0.
    """
    match sample.problem_type:
        case ProblemType.MULTIPLE_CHOICE:
            return 1.0 / len(sample.options)
        case ProblemType.YES_NO:
            return 0.5
        case ProblemType.MULTI_SELECT:
            right = len(sample.answer.split(","))
            return 2.0 * right / (len(sample.options) + right)
        case _:
            return 0.0


@dataclass(frozen=True)
class Kept:
    """What a model does under a condition, beside the full benchmark, on the same items.

    Attributes:
        accuracy: under the condition: the mean score.
        full: the mean score of the same items in full.
        difference: the one less the other, item by item.
        chance: the mean over the items.
        above_chance: the score in full less chance.
        kept: see the head of the module; None where the score in full is not told apart from
            chance.
    """

    accuracy: Interval
    full: Interval
    difference: Interval
    chance: float
    above_chance: Interval
    kept: Interval | None


def kept_under(
    observations: Observations,
    condition: Condition,
    samples: Sequence[Sample],
    *,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> Kept | None:
    """What is kept under a condition on those of the samples that have a score there and in full.

    Whole clips are resampled, numerator and denominator of a ratio together.

    Args:
        observations: of the audit.
        condition: any; of several orders of options the first one counts.
        samples: of which to look.
        confidence: of the intervals.
        seed: of the bootstrap.

    Returns:
        None where none of them has both.
    """
    here, there = observations.scores(condition), observations.scores(Condition.FULL)
    both = [one for one in samples if one.id in here and one.id in there]
    if not both:
        return None
    score_N = np.array([here[one.id] for one in both])
    full_N = np.array([there[one.id] for one in both])
    chance_N = np.array([chance(one) for one in both])
    clusters = clusters_of(both)

    def mean(values_N: NDArray[np.float64]) -> Interval:
        interval = bootstrap_interval(values_N.tolist(), clusters, confidence, seed=seed)
        assert interval is not None  # there are values
        return interval

    def ratio(weights_N: NDArray[np.float64]) -> float:
        above = float(weights_N @ (full_N - chance_N))
        return float(weights_N @ (score_N - chance_N)) / above if above > 0 else float("nan")

    above_chance = mean(full_N - chance_N)
    difference = bootstrap_difference(
        score_N.tolist(), full_N.tolist(), clusters, confidence, seed=seed
    )
    assert difference is not None  # there are values
    told_apart = above_chance.low is not None and above_chance.low > 0
    return Kept(
        accuracy=mean(score_N),
        full=mean(full_N),
        difference=difference,
        chance=float(chance_N.mean()),
        above_chance=above_chance,
        kept=bootstrap_measure(ratio, clusters, confidence, seed=seed) if told_apart else None,
    )


@dataclass(frozen=True)
class ShortcutIndex:
    """The index of each medium, and the largest.

    Attributes:
        media: by medium; None where the accuracy in full is not told apart from chance. Their
            intervals hold all at once with 95% confidence (Bonferroni).
        shortcut: the largest, with an interval from the largest lower to the largest upper end,
            which holds the largest true index with 95% confidence since the intervals of the media
            hold theirs. None where one of them is missing. The largest of several noisy figures is
            on average too large; the interval is not touched by that.
        least_needed: the medium that it is the index of.
    """

    media: Mapping[MediaKind, Interval | None]
    shortcut: Interval | None
    least_needed: MediaKind | None


def shortcut_index(
    observations: Observations, samples: Sequence[Sample], seed: int = 0
) -> ShortcutIndex | None:
    """The shortcut index on some samples; None where no medium was swapped alone."""
    swaps = {kind: one for kind, one in INDICES.items() if observations.scores(one)}
    confidence = 1.0 - (1.0 - CONFIDENCE) / max(1, len(swaps))
    found = {
        kind: kept_under(observations, condition, samples, confidence=confidence, seed=seed)
        for kind, condition in swaps.items()
    }
    media = {kind: kept.kept for kind, kept in found.items() if kept}
    if not media:
        return None
    known = {kind: interval for kind, interval in media.items() if interval}
    if len(known) < len(media):
        return ShortcutIndex(media, None, None)
    largest = max(known, key=lambda kind: known[kind].mean)
    lows = [interval.low for interval in known.values() if interval.low is not None]
    highs = [interval.high for interval in known.values() if interval.high is not None]
    return ShortcutIndex(
        media,
        Interval(
            mean=known[largest].mean,
            low=max(lows) if len(lows) == len(known) else None,
            high=max(highs) if len(highs) == len(known) else None,
            n=max(interval.n for interval in known.values()),
        ),
        largest,
    )
