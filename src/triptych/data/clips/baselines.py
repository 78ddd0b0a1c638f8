"""How far one modality, or none, gets on the intention questions.

Each baseline is a table of how often a meaning was right, fitted on one split and scored on
another: given what it may know, it picks the offered option that was right most often. It reads
the cues themselves, so no model that only looks, or only listens, can do better but by luck.
"""

from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from triptych.data.clips.questions import Kind
from triptych.data.sample import Sample
from triptych.stages.prompt import OPTION_LETTERS

Knowledge = Callable[[Sample], Hashable]


@dataclass(frozen=True)
class Baselines:
    """Share of intention questions answered rightly."""

    face_only: float
    voice_only: float
    prior: float


def measure_baselines(fit_on: Sequence[Sample], score_on: Sequence[Sample]) -> Baselines:
    """Fit the tables on the intention questions of one split, score them on those of another.

    `prior` knows nothing of the clip: it is the better, on the first split, of always the same
    letter and always the meaning that is right most often.
    """
    fit_on, score_on = _intention_questions(fit_on), _intention_questions(score_on)
    priors = [_ConstantLetter(fit_on), _MeaningTable(fit_on, _nothing)]
    prior = max(priors, key=lambda baseline: baseline.accuracy(fit_on))
    return Baselines(
        face_only=_MeaningTable(fit_on, _final_mouth).accuracy(score_on),
        voice_only=_MeaningTable(fit_on, _pitch).accuracy(score_on),
        prior=prior.accuracy(score_on),
    )


def _intention_questions(samples: Sequence[Sample]) -> list[Sample]:
    return [sample for sample in samples if sample.extra["kind"] == Kind.INTENTION]


# Brows, the first expression and loudness are left out: they are drawn apart from the intention,
# and more columns would only make the table overfit.
def _final_mouth(sample: Sample) -> Hashable:
    return str(sample.extra["cues"]["mouth_end"])


def _pitch(sample: Sample) -> Hashable:
    return str(sample.extra["cues"]["pitch"])


def _nothing(sample: Sample) -> Hashable:
    return None


class _Baseline(ABC):
    @abstractmethod
    def letter(self, sample: Sample) -> str: ...

    def accuracy(self, samples: Sequence[Sample]) -> float:
        return sum(self.letter(sample) == sample.answer for sample in samples) / len(samples)


class _MeaningTable(_Baseline):
    """Counts of right meanings, by what is known of the clip."""

    def __init__(self, samples: Sequence[Sample], knowledge: Knowledge) -> None:
        self._knowledge = knowledge
        self._counts: defaultdict[Hashable, Counter[str]] = defaultdict(Counter)
        for sample in samples:
            gold = sample.options[OPTION_LETTERS.index(sample.answer)]
            self._counts[knowledge(sample)][gold] += 1

    def letter(self, sample: Sample) -> str:
        counts = self._counts[self._knowledge(sample)]
        best = max(range(len(sample.options)), key=lambda i: counts[sample.options[i]])
        return OPTION_LETTERS[best]


class _ConstantLetter(_Baseline):
    def __init__(self, samples: Sequence[Sample]) -> None:
        self._letter = Counter(sample.answer for sample in samples).most_common(1)[0][0]

    def letter(self, sample: Sample) -> str:
        return self._letter
