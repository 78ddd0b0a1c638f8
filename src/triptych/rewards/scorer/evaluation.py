"""The held-out evaluation of a scorer: on texts that are wrong in known ways.

Shapes: N texts.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from triptych.data.sample import Sample
from triptych.errors import DataError
from triptych.rewards.base import Unscored
from triptych.rewards.scorer.base import Candidate, Scorer
from triptych.rewards.scorer.corruptions import Corruption, Pair
from triptych.rewards.scorer.measures import (
    Floats,
    auc,
    auc_within,
    calibration_error,
    mean,
    partial_rank_correlation,
    rank_correlation,
    with_interval,
)
from triptych.statistics import Interval, Measure


@dataclass(frozen=True)
class KindFigures:
    """What a scorer makes of the texts of one kind.

    Attributes:
        count: Texts that were scored.
        target: Their mean target.
        score: Their mean score.
        auc: How often a faithful text scores higher than one of this kind, over all references
            that have one of this kind; None of the faithful texts themselves.
        auc_within: The same for texts of one reference only, which is what GRPO compares.
    """

    count: int
    target: float
    score: Interval | None
    auc: Interval | None = None
    auc_within: Interval | None = None


@dataclass(frozen=True)
class Evaluation:
    """The figures of a scorer; a figure is None where it is not defined.

    Attributes:
        references: How many references the texts belong to; intervals draw whole ones.
        unscored: How many texts have no score, by cause.
        kinds: By the kind of text.
        rank_correlation: Spearman's, of score and target.
        calibration_error: Expected calibration error; see `measures.calibration_error`.
        absolute_error: Mean of |score - target|.
        length_bias: Spearman's of score and number of words, given the target; 0 is none.
    """

    references: int
    unscored: Mapping[str, int]
    kinds: Mapping[str, KindFigures]
    rank_correlation: Interval | None
    calibration_error: Interval | None
    absolute_error: Interval | None
    length_bias: Interval | None

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self)


def as_candidate(pair: Pair, sample: Sample) -> Candidate:
    """The text of a pair of this sample as a scorer is given it."""
    return Candidate(
        text=pair.text,
        reference=pair.reference,
        question=pair.question,
        problem_type=str(sample.problem_type),
        options=tuple(pair.options),
        answer=pair.answer,
        media=sample.media,
    )


def evaluate_scorer(
    scorer: Scorer, pairs: Sequence[Pair], samples: Mapping[str, Sample], seed: int = 0
) -> Evaluation:
    """Score pairs as completions are scored, and measure; see `evaluate_scores`.

    Args:
        scorer: What is evaluated.
        pairs: Texts for references that it was not trained on.
        samples: Those of the pairs, by id.
        seed: Of the bootstrap.
    """
    candidates = [as_candidate(pair, samples[pair.sample_id]) for pair in pairs]
    return evaluate_scores(pairs, scorer.score(candidates), seed)


def evaluate_scores(
    pairs: Sequence[Pair], scores: Sequence[float | Unscored], seed: int = 0
) -> Evaluation:
    """Measure what a scorer made of texts.

    Args:
        pairs: Texts for references that the scorer was not trained on.
        scores: One per text.
        seed: Of the bootstrap.

    Raises:
        DataError: no text has a score.
    """
    results = list(zip(pairs, scores, strict=True))
    scored = [(pair, score) for pair, score in results if not isinstance(score, Unscored)]
    unscored = Counter(str(score) for score in scores if isinstance(score, Unscored))
    if not scored:
        raise DataError(
            f"none of {len(results)} texts has a score ({dict(unscored)}); evaluate on samples "
            "with references"
        )
    kept = [pair for pair, _ in scored]
    clusters = [pair.reference for pair in kept]
    scores_N = np.array([score for _, score in scored], dtype=np.float64)
    targets_N = np.array([pair.target for pair in kept], dtype=np.float64)
    words_N = np.array([len(pair.text.split()) for pair in kept], dtype=np.float64)

    def figure(measure: Measure) -> Interval | None:
        return with_interval(measure, clusters, seed)

    return Evaluation(
        references=len(set(clusters)),
        unscored=dict(unscored),
        kinds={
            str(kind): _kind_figures(kind, kept, scores_N, seed)
            for kind in Corruption
            if any(pair.kind is kind for pair in kept)
        },
        rank_correlation=figure(rank_correlation(scores_N, targets_N)),
        calibration_error=figure(calibration_error(scores_N, targets_N)),
        absolute_error=figure(mean(np.abs(scores_N - targets_N))),
        length_bias=figure(partial_rank_correlation(scores_N, words_N, targets_N)),
    )


def _kind_figures(
    kind: Corruption, pairs: Sequence[Pair], scores_N: Floats, seed: int
) -> KindFigures:
    of_kind = [index for index, pair in enumerate(pairs) if pair.kind is kind]
    references = [pairs[index].reference for index in of_kind]
    target = sum(pairs[index].target for index in of_kind) / len(of_kind)
    score = with_interval(mean(scores_N[of_kind]), references, seed)
    if kind is Corruption.FAITHFUL:
        return KindFigures(len(of_kind), target, score)
    compared, faithful_M, clusters = _compared(kind, pairs)
    if not faithful_M.any():
        return KindFigures(len(of_kind), target, score)
    of_all = auc(scores_N[compared], faithful_M)
    of_one = auc_within(scores_N[compared], faithful_M, clusters)
    return KindFigures(
        len(of_kind),
        target,
        score,
        with_interval(of_all, clusters, seed),
        with_interval(of_one, clusters, seed),
    )


def _compared(
    kind: Corruption, pairs: Sequence[Pair]
) -> tuple[list[int], NDArray[np.bool_], list[str]]:
    """The texts of a kind and the faithful ones of the same references.

    Returns:
        Their numbers; which of them are faithful, (M,); the reference of each.
    """
    faithful = {pair.reference for pair in pairs if pair.kind is Corruption.FAITHFUL}
    corrupted = {pair.reference for pair in pairs if pair.kind is kind}
    compared = [
        index
        for index, pair in enumerate(pairs)
        if pair.kind in (kind, Corruption.FAITHFUL) and pair.reference in faithful & corrupted
    ]
    good_M = np.array([pairs[index].kind is Corruption.FAITHFUL for index in compared], dtype=bool)
    return compared, good_M, [pairs[index].reference for index in compared]
