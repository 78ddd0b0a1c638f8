"""Asks a model under every condition; a run that was interrupted goes on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from triptych.data.decoding import DecodePool
from triptych.data.media import MediaBudget
from triptych.data.policy import Ranks
from triptych.data.sample import Sample
from triptych.evaluation.audit.conditions import Condition, Withhold
from triptych.evaluation.audit.files import AlteredFiles
from triptych.evaluation.audit.observations import (
    ALONE,
    PUBLISHED,
    Observation,
    Observations,
    read_observation,
)
from triptych.evaluation.audit.trials import Trial, Trials
from triptych.evaluation.metrics import Published
from triptych.evaluation.runner import GREEDY, Groups, Progress, evaluate
from triptych.generation.engine import AnswerEngine, Engine, SamplingConfig
from triptych.origin import Origin
from triptych.rewards import RewardFunction


@dataclass(frozen=True)
class AuditPlan:
    """Which conditions, and how they are made."""

    conditions: tuple[Condition, ...] = tuple(Condition)
    """FULL is asked for in any case: the others are compared with it."""
    withhold: Withhold = Withhold.REMOVE
    """What stands in the place of withheld media."""
    seed: int = 0
    """Of donors and of the orders of frames."""


def run_audit(
    engine: Engine | AnswerEngine,
    samples: Sequence[Sample],
    folder: Path,
    plan: AuditPlan | None = None,
    sampling: SamplingConfig = GREEDY,
    *,
    rewards: Mapping[str, RewardFunction] | None = None,
    batch_size: int = 32,
    budget: MediaBudget | None = None,
    pool: DecodePool | None = None,
    groups: Groups | None = None,
    published: Published | None = None,
    ranks: Ranks | None = None,
    origin: Origin | None = None,
    progress: Callable[[str], Progress | None] | None = None,
) -> Observations:
    """Ask for every sample under every condition that applies to it.

    Predictions are kept in ``folder/predictions/TRIAL.jsonl``, altered media in ``folder/media``.
    Called again with the same arguments, it goes on where it was interrupted.

    Args:
        engine: writes the completions.
        samples: the benchmark as it is.
        folder: where to.
        plan: which conditions; all of them by default.
        sampling: greedy by default.
        rewards: as for `evaluate`.
        batch_size: as there.
        budget: how much of a media item the engine is shown.
        pool: decodes media that are altered.
        groups: as for `evaluate`.
        published: as there; where it is given, its scores are the ones that count.
        ranks: as there.
        origin: as there.
        progress: gives, by the name of a trial, what is told of its progress.

    Raises:
        ConfigError: the folder was made by other settings.
        DataError: as `evaluate`, or altered media cannot be written.
        MediaError: media cannot be decoded.
    """
    plan, ranks = plan or AuditPlan(), ranks or Ranks()
    files = AlteredFiles(folder / "media", budget or MediaBudget(), pool, plan.seed)
    trials = Trials(samples, files, plan.withhold, plan.seed)
    observed: dict[tuple[Condition, int], Observation] = {}
    metric = ALONE
    for condition in Condition:
        if condition not in (Condition.FULL, *plan.conditions):
            continue
        for trial in _made(trials, condition, ranks):
            out = folder / "predictions" / f"{trial.name}.jsonl"
            evaluate(
                engine,
                trial.samples,
                sampling,
                rewards,
                batch_size=batch_size,
                progress=progress(trial.name) if progress else None,
                out=out,
                split="all",
                groups=groups,
                published=published,
                ranks=ranks,
                origin={**(origin or {}), "withhold": plan.withhold, "audit_seed": plan.seed},
            )
            ranks.gather(None)  # the first process may still be putting the predictions in place
            observed[condition, trial.turn], has_published = read_observation(trial, out)
            metric = PUBLISHED if has_published else metric
    return Observations(samples, observed, metric)


def _made(trials: Trials, condition: Condition, ranks: Ranks) -> list[Trial]:
    """The trials of a condition. The first process writes altered media, the others find them."""
    made = list(trials.of(condition)) if ranks.rank == 0 else []
    ranks.gather(None)
    return made or list(trials.of(condition))
