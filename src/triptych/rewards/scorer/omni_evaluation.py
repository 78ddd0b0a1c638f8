"""The held-out evaluation of an omni scorer: that it is right, and that it looks and listens.

A swapped attribute ("frowning" for "smiling") makes a text that is as plausible as the right one
as long as one does not look. So the same texts are also scored beside the media of another clip:
what the scorer can tell then comes from the text alone. The other baseline, a scorer trained
without media, is a scorer of its own (`OmniScorerConfig.with_media`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from random import Random
from typing import Any

import numpy as np

from triptych.data.sample import Media, Sample
from triptych.errors import ConfigError
from triptych.rewards.base import Unscored
from triptych.rewards.scorer.base import Scorer
from triptych.rewards.scorer.corruptions import Corruption, Pair
from triptych.rewards.scorer.evaluation import Evaluation, as_candidate, evaluate_scores
from triptych.rewards.scorer.measures import auc, with_interval
from triptych.statistics import Interval


class MediaShown(StrEnum):
    """Which media a scorer is shown beside a text."""

    OWN = "own"
    """Those of the clip that the text was made for."""

    OTHER = "other"
    """Those of another clip, drawn once for each clip: all texts of a clip see the same ones."""


@dataclass(frozen=True)
class OmniEvaluation:
    """The figures of an omni scorer.

    Attributes:
        all: Those that every scorer has.
        swapped: How often a faithful text scores higher than one in which a single key element is
            another value, by the element's name, over all clips (AUC).
    """

    all: Evaluation
    swapped: Mapping[str, Interval]

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self)


def evaluate_omni_scorer(
    scorer: Scorer,
    pairs: Sequence[Pair],
    samples: Mapping[str, Sample],
    media: MediaShown = MediaShown.OWN,
    seed: int = 0,
) -> OmniEvaluation:
    """Score pairs that the scorer was not trained on, and measure.

    Args:
        scorer: The scorer.
        pairs: Texts for the context stage.
        samples: By the sample ids of the pairs.
        media: What it is shown beside them.
        seed: Of the bootstrap, and of which other clip is shown.

    Raises:
        ConfigError: another clip is to be shown, and there is none.
        DataError: no text has a score.
    """
    ids = list(dict.fromkeys(pair.sample_id for pair in pairs))
    clips = {name: samples[name].media for name in ids}
    if media is MediaShown.OTHER:
        clips = _exchanged(clips, seed)
    candidates = [
        replace(as_candidate(pair, samples[pair.sample_id]), media=clips[pair.sample_id])
        for pair in pairs
    ]
    scores = scorer.score(candidates)
    return OmniEvaluation(
        evaluate_scores(pairs, scores, seed), _swapped_figures(pairs, scores, seed)
    )


def _exchanged(clips: Mapping[str, tuple[Media, ...]], seed: int) -> dict[str, tuple[Media, ...]]:
    """Each sample with the media of another: the next one in a drawn order."""
    distinct = list(dict.fromkeys(clips.values()))
    if len(distinct) < 2:
        raise ConfigError("all samples show one clip; evaluate on samples of two clips or more")
    Random(seed).shuffle(distinct)
    following = dict(zip(distinct, distinct[1:] + distinct[:1], strict=True))
    return {name: following[media] for name, media in clips.items()}


def _swapped_figures(
    pairs: Sequence[Pair], scores: Sequence[float | Unscored], seed: int
) -> dict[str, Interval]:
    faithful: list[tuple[Pair, float]] = []
    swapped: dict[str, list[tuple[Pair, float]]] = {}
    for pair, score in zip(pairs, scores, strict=True):
        if isinstance(score, Unscored):
            continue
        if pair.kind is Corruption.FAITHFUL:
            faithful.append((pair, score))
        elif pair.kind is Corruption.SWAPPED and len(pair.elements) == 1:
            swapped.setdefault(pair.elements[0], []).append((pair, score))
    figures = {}
    for name, wrong in sorted(swapped.items()):
        references = {pair.sample_id for pair, _ in wrong}
        right = [(pair, score) for pair, score in faithful if pair.sample_id in references]
        compared = right + wrong
        is_right = np.arange(len(compared)) < len(right)
        measure = auc(np.array([score for _, score in compared]), is_right)
        if figure := with_interval(measure, [pair.reference for pair, _ in compared], seed):
            figures[name] = figure
    return figures
