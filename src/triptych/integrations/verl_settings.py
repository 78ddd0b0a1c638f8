"""The settings of Triptych inside verl: the section `algorithm.triptych` of verl's config."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from triptych.errors import ConfigError
from triptych.rewards.base import DEFAULT_WEIGHTS, REWARD_NAMES
from triptych.rewards.combine import weight_vector
from triptych.rewards.judge import JudgeConfig
from triptych.settings import build
from triptych.training.credit import Balance, Scale, ScaleBy, Scheme, choice, credit_matrix

SECTION = "algorithm.triptych"
"""Of verl's config, only `algorithm` reaches an advantage estimator."""


def _rules() -> dict[str, str]:
    return dict.fromkeys(REWARD_NAMES, "rule")


@dataclass(frozen=True, kw_only=True)
class VerlSettings:
    """Which rewards a completion earns, and which of its tokens each of them teaches.

    Names, meanings and defaults are those of `triptych grpo`.
    """

    rewards: dict[str, str] = field(default_factory=_rules)
    """What gives each reward: rule, judge, scorer:FOLDER, or module:function for your own."""
    judge: JudgeConfig | None = None
    """The language model that judges, for the rewards that say so."""
    device: str = "cpu"
    """Where trained reward models run: verl's reward workers are given no GPU."""
    weights: dict[str, float] = field(default_factory=lambda: dict(DEFAULT_WEIGHTS))
    """How much each reward counts."""
    scheme: Scheme = Scheme.STRICT
    """Which tokens earn which reward."""
    credit_rows: dict[str, tuple[float, float, float, float]] = field(default_factory=dict)
    """Credit of single rewards, in place of the scheme's: how much of its advantage the tokens of
    context, think, answer and tags receive."""
    scale: Scale = Scale.NONE
    """What the difference to the group's mean reward is divided by."""
    scale_by: ScaleBy = ScaleBy.REWARD
    """Whose standard deviation the scale is."""
    clip_advantage: float = 0.0
    """Largest advantage of a reward, after scaling and before its weight; 0 sets no bound."""
    balance: Balance = Balance.TOKENS
    """How the tokens of a group share its loss."""
    gate: bool = False
    """A context reward of at most 0.4 zeroes reasoning and answer; a reasoning reward of at most
    0.4 zeroes the answer."""
    max_unscored_share: float = 0.5
    """Stop when a reward cannot be scored for more than this share of a step's completions."""

    def __post_init__(self) -> None:
        for name, kind in (
            ("scheme", Scheme), ("scale", Scale), ("scale_by", ScaleBy), ("balance", Balance),
        ):  # fmt: skip
            choice(kind, getattr(self, name), name)
        if self.scale_by == ScaleBy.SUM and self.scale == Scale.NONE:
            raise ConfigError("scale_by is sum, but scale is none; set scale to group or batch")
        if self.clip_advantage < 0:
            raise ConfigError("clip_advantage must not be negative")
        if not 0 <= self.max_unscored_share <= 1:
            raise ConfigError("max_unscored_share must be a number within [0, 1]")
        weight_vector(self.names, self.weights)
        credit_matrix(self.scheme, self.names, self.credit_rows)

    @property
    def names(self) -> tuple[str, ...]:
        """The rewards, in the order of K."""
        return tuple(self.rewards)


def read_settings(algorithm: Any) -> VerlSettings:
    """The settings in verl's section `algorithm`, an OmegaConf node or a mapping.

    `rewards` and `weights` change the rewards that they name and leave the others as they are.

    Raises:
        ConfigError: a setting is unknown, or its value cannot be used.
    """
    tree = None if algorithm is None else algorithm.get("triptych")
    if tree is None:
        return VerlSettings()
    if not isinstance(tree, dict):
        from omegaconf import OmegaConf  # comes with verl

        tree = OmegaConf.to_container(tree, resolve=True) if OmegaConf.is_config(tree) else tree
    if not isinstance(tree, Mapping):
        raise ConfigError(f"{SECTION} is {tree!r}; it must be a section of settings")
    given: dict[str, Any] = {str(name): value for name, value in tree.items()}
    for name, defaults in (("rewards", _rules()), ("weights", DEFAULT_WEIGHTS)):
        if isinstance(given.get(name), Mapping):
            given[name] = {**defaults, **given[name]}
    return build(VerlSettings, given, {(name,): f"{SECTION}.{name}" for name in given})
