"""What the order of the options does: position bias, consistency, and luck ruled out.

A multiple-choice question with k options is asked in its k cyclic orders. Over all of them each
option stands in each place once, so a model that reads the options chooses every place equally
often.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from triptych.data.sample import ProblemType, Sample
from triptych.evaluation.audit.conditions import Condition, has_options
from triptych.evaluation.audit.observations import Observation, Observations, clusters_of
from triptych.evaluation.metrics import cluster_of
from triptych.stages.prompt import OPTION_LETTERS
from triptych.statistics import (
    Interval,
    bootstrap_difference,
    bootstrap_interval,
    bootstrap_measure,
)

_RIGHT = 1.0 - 1e-9  # a score of 1, but for rounding


@dataclass(frozen=True)
class Place:
    """One place of an option.

    Attributes:
        letter: its letter.
        chosen: share of the answers that choose it.
        right: share of the questions whose right option stands there.
        difference: the one less the other. The intervals of all places hold at once with 95%
            confidence (Bonferroni).
    """

    letter: str
    chosen: float
    right: float
    difference: Interval


@dataclass(frozen=True)
class PositionBias:
    """What the place of an option does to its being chosen, over all orders of the options.

    Attributes:
        distance: total variation between the places chosen and the right ones: half the sum of
            their absolute differences. 0: the same; (k - 1) / k: always one of k places. Chance
            makes it larger than 0 where there is no bias, the more so the fewer items there are;
            the intervals of single places do not suffer from that.
        places: one by one.
        consistency: share of the items whose chosen option is the same in all orders.
        accuracy: mean over items of the mean score over an item's orders.
        unread: answers in which no choice can be read, and that are left out.
    """

    distance: Interval
    places: Sequence[Place]
    consistency: Interval | None
    accuracy: Interval
    unread: int


def position_bias(
    observations: Observations, samples: Sequence[Sample], seed: int = 0
) -> PositionBias | None:
    """Measure it on the multiple-choice questions that were asked in all orders; None without."""
    asked = [
        (one, orders)
        for one in samples
        if one.problem_type is ProblemType.MULTIPLE_CHOICE
        and (orders := _orders(observations, Condition.PERMUTED, one))
    ]
    if not asked:
        return None
    answers = [
        (one, turn, outcome.place)
        for one, orders in asked
        for turn, order in enumerate(orders)
        if (outcome := order.outcomes[one.id]).place is not None
    ]
    scores = [_mean_score(one, orders) for one, orders in asked]
    accuracy = bootstrap_interval(
        [value for value in scores if value is not None],
        [cluster_of(one) for (one, _), value in zip(asked, scores, strict=True)
         if value is not None],
        seed=seed,
    )  # fmt: skip
    if not answers or accuracy is None:
        return None
    clusters = clusters_of([one for one, _, _ in answers])
    most = max(len(one.options) for one, _, _ in answers)
    chosen_NK = np.eye(most)[[place for _, _, place in answers]]
    right_NK = np.eye(most)[[_right_place(one, turn) for one, turn, _ in answers]]

    def distance(weights_N: NDArray[np.float64]) -> float:
        return float(np.abs(weights_N @ (chosen_NK - right_NK)).sum() / weights_N.sum() / 2)

    whole = bootstrap_measure(distance, clusters, seed=seed)
    assert whole is not None  # there are answers
    return PositionBias(
        distance=whole,
        places=_places(chosen_NK, right_NK, clusters, seed),
        consistency=_consistency(asked, seed),
        accuracy=accuracy,
        unread=sum(len(orders) for _, orders in asked) - len(answers),
    )


@dataclass(frozen=True)
class TextAnswerable:
    """Items that are answered right from the question and its options alone, in all orders.

    Attributes:
        share: of the items with options that were asked so.
        luck: the share that guessing anew in every order would give: (1/k)^k with k options.
        steady_luck: the share that guessing once and keeping to it would give: 1/k. A model that
            always takes the kindest option, or the longest, is right so often without knowing
            anything. Only more than this is knowledge.
        ids: of those that were answered right.
    """

    share: Interval
    luck: float
    steady_luck: float
    ids: frozenset[str]


def text_answerable(
    observations: Observations, samples: Sequence[Sample], seed: int = 0
) -> TextAnswerable | None:
    """Find them; None where none was asked without media in all orders of its options."""
    right: dict[str, float] = {}
    asked: list[Sample] = []
    for one in samples:
        orders = has_options(one) and _orders(observations, Condition.TEXT_ONLY, one)
        if not orders:
            continue
        scores = [order.outcomes[one.id].score for order in orders]
        if None not in scores:
            asked.append(one)
            right[one.id] = float(all(score is not None and score >= _RIGHT for score in scores))
    share = bootstrap_interval(list(right.values()), clusters_of(asked), seed=seed)
    if share is None:
        return None
    return TextAnswerable(
        share=share,
        luck=float(np.mean([1.0 / _guesses(one) ** len(one.options) for one in asked])),
        steady_luck=float(np.mean([1.0 / _guesses(one) for one in asked])),
        ids=frozenset(key for key, value in right.items() if value),
    )


def _orders(
    observations: Observations, condition: Condition, sample: Sample
) -> list[Observation] | None:
    """The trials that asked a sample, one for each order; None where one is missing."""
    orders = observations.turns(condition, len(sample.options))
    return orders if all(sample.id in order.outcomes for order in orders) else None


def _mean_score(sample: Sample, orders: Sequence[Observation]) -> float | None:
    scores = [order.outcomes[sample.id].score for order in orders]
    known = [score for score in scores if score is not None]
    return sum(known) / len(known) if len(known) == len(scores) else None


def _right_place(sample: Sample, turn: int) -> int:
    return (OPTION_LETTERS.index(sample.answer) - turn) % len(sample.options)


def _places(
    chosen_NK: NDArray[np.float64],
    right_NK: NDArray[np.float64],
    clusters: Sequence[str],
    seed: int,
) -> list[Place]:
    count = chosen_NK.shape[1]
    places = []
    for index in range(count):
        difference = bootstrap_difference(
            chosen_NK[:, index].tolist(),
            right_NK[:, index].tolist(),
            clusters,
            confidence=1.0 - 0.05 / count,
            seed=seed,
        )
        assert difference is not None  # there are answers
        chosen, right = float(chosen_NK[:, index].mean()), float(right_NK[:, index].mean())
        places.append(Place(OPTION_LETTERS[index], chosen, right, difference))
    return places


def _consistency(
    asked: Sequence[tuple[Sample, Sequence[Observation]]], seed: int
) -> Interval | None:
    """Over the items of which every answer can be read."""
    same: list[float] = []
    clusters: list[str] = []
    for sample, orders in asked:
        places = [order.outcomes[sample.id].place for order in orders]
        if None in places:
            continue
        options = {
            (place + turn) % len(sample.options)
            for turn, place in enumerate(places)
            if place is not None
        }
        same.append(float(len(options) == 1))
        clusters.append(cluster_of(sample))
    return bootstrap_interval(same, clusters, seed=seed)


def _guesses(sample: Sample) -> int:
    """How many answers of the right form there are."""
    count = len(sample.options)
    return count if sample.problem_type is ProblemType.MULTIPLE_CHOICE else 2**count - 1
