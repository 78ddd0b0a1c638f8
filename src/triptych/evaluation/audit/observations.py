"""What a model said under every condition, item by item: all figures of an audit are made of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from triptych.data.sample import ProblemType, Sample
from triptych.evaluation.audit.conditions import Condition
from triptych.evaluation.audit.trials import Trial
from triptych.evaluation.columns import MAIN_KIND
from triptych.evaluation.metrics import cluster_of
from triptych.files import Record, read_lines
from triptych.rewards.reading import read_choice
from triptych.stages.prompt import OPTION_LETTERS

PUBLISHED, ALONE = "answer.published", "answer.alone"


@dataclass(frozen=True)
class Outcome:
    """What came of one item of a trial.

    Attributes:
        score: of the answer, in [0, 1]; None where it could not be scored.
        place: of the chosen option among those that were shown, from 0; None where the question has
            none to choose one from, or no choice can be read.
        context: what the completion says it saw and heard; None where it says nothing.
        donor: whose media were shown.
    """

    score: float | None
    place: int | None = None
    context: str | None = None
    donor: str | None = None


@dataclass(frozen=True)
class Observation:
    """A trial's outcomes.

    Attributes:
        outcomes: by sample id.
        unanswered: why the engine had no answer, by the id of the sample.
        alike: sample ids whose donor may say the same; see `Donor.says_otherwise`.
    """

    outcomes: Mapping[str, Outcome]
    unanswered: Mapping[str, str] = field(default_factory=dict)
    alike: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Observations:
    """All that was observed.

    Attributes:
        samples: the benchmark as it is.
        trials: what came of each trial, by condition and turn of the options.
        metric: what the scores are.
    """

    samples: Sequence[Sample]
    trials: Mapping[tuple[Condition, int], Observation]
    metric: str = ALONE

    @cached_property
    def by_id(self) -> Mapping[str, Sample]:
        """The samples by id."""
        return {sample.id: sample for sample in self.samples}

    @cached_property
    def headline(self) -> Sequence[Sample]:
        """The samples that figures without a group are about: as in `summarise`, the questions of
        the main kind where there are such, else all.
        """
        main = [one for one in self.samples if one.extra.get("kind") == MAIN_KIND]
        return main or self.samples

    def conditions(self) -> list[Condition]:
        """The conditions that something was observed under."""
        found = {condition for condition, _ in self.trials}
        return [condition for condition in Condition if condition in found]

    def scores(self, condition: Condition, turn: int = 0) -> dict[str, float]:
        """The scores of a trial by sample id, of those that have one."""
        trial = self.trials.get((condition, turn), Observation({}))
        return {
            key: outcome.score
            for key, outcome in trial.outcomes.items()
            if outcome.score is not None
        }

    def turns(self, condition: Condition, count: int) -> list[Observation]:
        """The trials that hold all orders of options, with the order of the benchmark first.

        Args:
            condition: TEXT_ONLY, or PERMUTED, whose first order is that of FULL.
            count: the number of orders.
        """
        first = Condition.FULL if condition is Condition.PERMUTED else condition
        keys = [(first, 0), *((condition, turn) for turn in range(1, count))]
        return [self.trials.get(key, Observation({})) for key in keys]


def read_observation(trial: Trial, path: Path) -> tuple[Observation, bool]:
    """A trial's outcomes from its predictions file, and whether they have the published metric."""
    shown = {sample.id: sample for sample in trial.samples}
    outcomes: dict[str, Outcome] = {}
    unanswered: dict[str, str] = {}
    published = False
    for record in read_lines(path):
        sample_id = record["sample_id"]
        if "error" in record:
            unanswered[sample_id] = record["error"]["reason"]
            continue
        published = published or PUBLISHED in record["scores"]
        donor = trial.donors.get(sample_id)
        outcomes[sample_id] = Outcome(
            score=record["scores"].get(PUBLISHED, record["scores"][ALONE]),
            place=_place(record, shown[sample_id]),
            context=record["bodies"].get("context") or None,
            donor=donor.sample.id if donor else None,
        )
    alike = frozenset(key for key, donor in trial.donors.items() if not donor.says_otherwise)
    return Observation(outcomes, unanswered, alike), published


def _place(record: Record, shown: Sample) -> int | None:
    if shown.problem_type is not ProblemType.MULTIPLE_CHOICE:
        return None
    letter = read_choice(record["bodies"].get("answer") or "", shown.options)
    return None if letter is None else OPTION_LETTERS.index(letter)


def clusters_of(samples: Sequence[Sample]) -> list[str]:
    """The clip of each sample."""
    return [cluster_of(sample) for sample in samples]
