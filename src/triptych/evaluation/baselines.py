"""What answers reach that nobody looked or listened for, beside which an accuracy is to be read."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from triptych.data.check.priors import answer_priors
from triptych.data.sample import ProblemType, Sample
from triptych.evaluation.audit.kept import chance
from triptych.evaluation.columns import MAIN_KIND, has_main_kind
from triptych.evaluation.metrics import ItemScore
from triptych.evaluation.summary import ALIGNMENTS


@dataclass(frozen=True)
class Baseline:
    """Of the questions that `answer` is the mean of.

    Attributes:
        chance: the expected score of the best answer that knows only the form of the question.
        most_frequent: the share that the most frequent answer of each problem type is exactly right
            for; of multiple choice, the most frequent option or letter, whichever is right more
            often. It knows the answers, so in a few questions it lies above any blind guess.
        n: how many there are.
    """

    chance: float
    most_frequent: float
    n: int


@dataclass(frozen=True)
class Baselines:
    """By split, and by division of the questions and part; those without a scored answer lack."""

    splits: Mapping[str, Baseline]
    groups: Mapping[str, Mapping[str, Baseline]]

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def baselines_of(
    records: Sequence[ItemScore], samples: Mapping[str, Sample], split: str
) -> Baselines:
    """The baselines beside an evaluation's figures.

    Args:
        records: of the evaluation.
        samples: by the ids of the records.
        split: the name of all records together.
    """
    has_main = has_main_kind(records)
    parts: dict[str, list[Sample]] = {}
    groups: dict[str, dict[str, list[Sample]]] = {}
    for record in records:
        if record.scores.get("answer") is None or (has_main and record.kind != MAIN_KIND):
            continue
        sample = samples[record.sample_id]
        parts.setdefault(split, []).append(sample)
        if record.alignment in ALIGNMENTS:
            parts.setdefault(record.alignment, []).append(sample)
        for name, value in record.groups.items():
            groups.setdefault(name, {}).setdefault(value, []).append(sample)
    return Baselines(
        {name: _baseline(found) for name, found in parts.items()},
        {
            name: {value: _baseline(found) for value, found in values.items()}
            for name, values in groups.items()
        },
    )


def _baseline(samples: Sequence[Sample]) -> Baseline:
    priors = answer_priors(samples)
    right = 0.0
    for kind, prior in priors.answers.items():
        shares = [prior.share]
        if kind is ProblemType.MULTIPLE_CHOICE:
            shares += [letter.share for letter in priors.letters.values()]
        right += prior.questions * max(shares)
    count = len(samples)
    return Baseline(sum(map(chance, samples)) / count, right / count, count)
