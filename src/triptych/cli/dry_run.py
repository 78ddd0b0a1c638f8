"""`--dry-run` of the training commands: all that can be known before a run, and nothing trained."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from triptych.cli.model import load_data
from triptych.errors import DataError
from triptych.settings import to_yaml
from triptych.training.grpo_config import GRPOConfig

if TYPE_CHECKING:
    from triptych.data.sample import Sample
    from triptych.planning.plan import Subject
    from triptych.rewards import RewardFunction
    from triptych.rewards.weights import RewardWeights

_SHOWN = 3
_WHERE = {
    "IntentTrain": "the data set PhilipC/IntentTrain on the Hugging Face hub",
    "data/clips": "`triptych clips make data/clips --seed 0`",
}
"""Where data come from that recipes name, by a part of their path."""


def check_data(config: Any) -> "list[Sample]":
    """The samples of a training command, once all files that they name are there.

    Raises:
        DataError: the data set or media are missing, or a record is no sample.
    """
    from triptych.data.check.media import MediaFiles

    samples = read_data(config, config.train)
    files = MediaFiles()
    paths = dict.fromkeys(item.path for sample in samples for item in sample.media)
    faults = [f"{path}: {fault}" for path in paths if (fault := files.fault(path))]
    if faults:
        more = f" (and {len(faults) - _SHOWN} more)" if len(faults) > _SHOWN else ""
        raise DataError(
            f"{config.train}: {len(faults)} of {len(paths)} media files cannot be used: "
            f"{'; '.join(faults[:_SHOWN])}{more}"
        )
    return samples


def read_data(config: Any, path: Path) -> "list[Sample]":
    """The samples of a data set; where it is missing, the error says where it comes from.

    Raises:
        DataError: it is not there, or a record is no sample.
    """
    try:
        return load_data(config, path)
    except DataError as error:
        place = next(
            (at for part, at in _WHERE.items() if part in f"{path.as_posix()} {error}"), None
        )
        if place is None:
            raise
        raise DataError(
            f"{error}. It comes from {place}; put it there, or name other data by --train"
        ) from error


def dry_run(config: Any) -> None:
    """Resolve a config, check data, rewards and model, and print the plan.

    Raises:
        TriptychError: what the run itself would have ended with.
    """
    from triptych.cli.plan import print_plan
    from triptych.planning.plan import Asked, Subject, make_plan

    print(to_yaml(config))
    subject = Subject.of(config.model)
    samples = check_data(config)
    for sample in samples:
        subject.family.check_media(sample)
    if config.audio_in_video:
        subject.family.check_audio_in_video()
    checked = [f"{len(samples)} samples, all media there", *_check_stage(config, samples, subject)]
    if config.validation is not None:
        checked.append(f"{len(read_data(config, config.validation))} samples to validate on")
    plan = make_plan(config, samples, subject, _device(config), Asked(gpus=_processes()))
    print_plan(plan)
    print(f"checked: {'; '.join(checked)}. Nothing was trained, and nothing written.")


def _check_stage(config: Any, samples: "Sequence[Sample]", subject: "Subject") -> list[str]:
    """Rewards, weights and credit, or the references of a cold start."""
    from triptych.stages import DEFAULT_FORMAT
    from triptych.training.sft import target_text

    if not isinstance(config, GRPOConfig):
        for sample in samples:
            target_text(DEFAULT_FORMAT, sample)
        return ["a full reference for each"]
    from triptych.cli.rewards import load_rewards
    from triptych.data.source import source_of
    from triptych.training.credit import credit_matrix

    rewards = load_rewards(config)  # type: ignore[arg-type]
    names = tuple(rewards)
    weights = config.reward_weights(names)
    weights.check_sources(map(source_of, samples))
    _check_references(config, samples, rewards, weights)
    credit_matrix(config.scheme, names, config.credit_rows)
    return [f"rewards {', '.join(names)} with their weights; credit {config.scheme}"]


def _check_references(
    config: Any,
    samples: "Sequence[Sample]",
    rewards: "Mapping[str, RewardFunction]",
    weights: "RewardWeights",
) -> None:
    """Refuse data of which too much lacks what rule rewards compare with.

    Raises:
        DataError: more than max_unscored_share of those that a reward counts for.
    """
    from triptych.data.source import source_of
    from triptych.rewards import rule_rewards
    from triptych.rewards.base import Unscored, score
    from triptych.stages import DEFAULT_FORMAT

    rules = {name: one for name, one in rewards.items() if one in rule_rewards().values()}
    blank = DEFAULT_FORMAT.render(dict.fromkeys(DEFAULT_FORMAT.names, "x"))
    table = score(rules, samples, [blank] * len(samples))
    sources = [source_of(sample) for sample in samples]
    weights_N1K = weights.at(0, sources) + weights.at(config.max_steps, sources)
    for k, name in enumerate(table.names):
        counts = [n for n in range(len(samples)) if weights_N1K[n, 0, weights.names.index(name)]]
        lacking = (Unscored.NO_REFERENCE, Unscored.UNREADABLE_GOLD)
        bare = [samples[n].id for n in counts if table.reasons.get((n, k)) in lacking]
        if len(bare) > config.max_unscored_share * len(counts):
            raise DataError(
                f"{config.train}: {len(bare)} of {len(counts)} samples have no reference that the "
                f"reward {name!r} could compare with, {bare[0]} first, and max_unscored_share is "
                f"{config.max_unscored_share:g}; add references, set weights.{name} to 0, or let "
                "a judge or reward model give it"
            )


def _device(config: Any) -> str:
    """What to plan for: the CPU where it is asked for, the GPU that is here, or else an H100."""
    import torch

    if config.device == "cpu":
        return "cpu"
    if torch.cuda.is_available():
        here = torch.cuda.get_device_name().lower().replace(" ", "")
        return next((name for name in ("h200", "h100", "a100", "rtx4090") if name in here), "h100")
    return "h100"


def _processes() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))
