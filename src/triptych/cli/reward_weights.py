"""`triptych reward weights LABELLED`: weights of rewards from labelled completions."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from triptych.cli.config import argument, several
from triptych.errors import ConfigError
from triptych.rewards.base import DEFAULT_WEIGHTS

if TYPE_CHECKING:
    from triptych.rewards.labelled import Pairs
    from triptych.rewards.learned_weights import LearnedWeights
    from triptych.statistics import Interval

_DIGITS = 4


@dataclass(frozen=True, kw_only=True)
class RewardWeightsConfig:
    """What is learned from, and where the weights go."""

    labelled: Path = argument()
    """JSONL file, one completion a line: sample_id, rewards by name (null where one could not be
    scored), and label, a number; higher is better. A rollouts.jsonl with labels added is one; lines
    without a label are left out."""
    out: Path
    """YAML file for the weights, which `triptych grpo --config` takes; must not exist."""
    weights: dict[str, float] = field(default_factory=lambda: dict(DEFAULT_WEIGHTS))
    """The weights without labels: the learned ones are drawn to them and compared with them. They
    name the rewards of the file."""
    keep: tuple[str, ...] = several()
    """Rewards that keep their weight; the others share the rest."""
    seed: int = 0
    """Decides which clips share a fold of the cross-validation, and what is resampled."""

    def __post_init__(self) -> None:
        if self.out.exists():
            raise ConfigError(f"{self.out}: exists; name another file, or remove it")


def run(config: RewardWeightsConfig) -> None:
    """Learn the weights of rewards from completions that somebody has labelled.

    Completions of one sample are compared: the weights are those under which the better one of two
    most surely has the higher reward. They are not negative, sum to 1, and are drawn to the
    default weights as strongly as predicts best. On pairs that were held out it is measured
    whether they are better than the default weights; read that before you use them.
    """
    from triptych.files import write_text
    from triptych.rewards.labelled import read_pairs
    from triptych.rewards.learned_weights import learn_weights
    from triptych.statistics import bootstrap_difference, bootstrap_interval

    pairs = read_pairs(config.labelled, tuple(config.weights))
    learned = learn_weights(pairs, config.weights, config.keep, config.seed)
    intervals = [
        bootstrap_interval(right, learned.clusters, seed=config.seed)
        for right in (learned.default_right, learned.right)
    ]
    gain = bootstrap_difference(
        learned.right, learned.default_right, learned.clusters, seed=config.seed
    )
    weights = _rounded(learned.weights)
    lines = [
        _data_line(config.labelled, pairs, learned),
        f"pull to the default weights: {learned.strength:g}, chosen by cross-validation",
        f"held-out pairs in the order of their labels: default weights {_cell(intervals[0])}, "
        f"learned weights {_cell(intervals[1])}",
        _verdict(gain),
    ]
    if (default := intervals[0]) and default.high is not None and default.high < 0.5:
        lines.append("the labels oppose the default weights: is a lower label the better one here?")
    notes = "".join(f"# {line}\n" for line in lines)
    write_text(config.out, notes + yaml.safe_dump({"weights": weights}, sort_keys=False))
    print(f"{'reward':<16}{'default':>9}{'learned':>9}")
    for name, weight in weights.items():
        kept = "  (kept)" if name in config.keep else ""
        print(f"{name:<16}{learned.default[name]:>9.3f}{weight:>9.3f}{kept}")
    print("\n".join([*lines, f"written: {config.out}"]))


def _data_line(path: Path, pairs: "Pairs", learned: "LearnedWeights") -> str:
    line = f"{path.name}: {len(learned.clusters)} pairs of {pairs.num_samples} samples"
    if (unusable := len(pairs) - len(learned.clusters)) > 0:
        line += f"; {unusable} pairs left out, of which nothing could be scored"
    if pairs.num_unlabelled:
        line += f"; {pairs.num_unlabelled} completions without a label left out"
    return line


def _cell(interval: "Interval | None") -> str:
    from triptych.cli.tables import cell_text

    return cell_text(interval)


def _verdict(gain: "Interval | None") -> str:
    """What the paired interval allows to say."""
    assert gain is not None
    assert gain.low is not None
    assert gain.high is not None
    figures = f"{gain.mean:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]"
    if gain.low > 0:
        return f"the learned weights are better than the default ones: {figures}"
    if gain.high < 0:
        return f"the learned weights are worse than the default ones: {figures}; do not use them"
    return (
        f"the learned weights are not better than the default ones, as far as these pairs tell: "
        f"{figures}"
    )


def _rounded(weights: Mapping[str, float]) -> dict[str, float]:
    """To be read and written by people; the largest takes what rounding leaves of the sum."""
    rounded = {name: round(weight, _DIGITS) for name, weight in weights.items()}
    largest = max(rounded, key=lambda name: rounded[name])
    rounded[largest] = round(rounded[largest] + 1 - sum(rounded.values()), _DIGITS)
    return rounded
