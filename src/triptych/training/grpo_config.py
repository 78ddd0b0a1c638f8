"""Settings of the reinforcement stage."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from triptych.generation import Enforce, SamplingConfig
from triptych.generation.budgets import StageBudgets
from triptych.generation.engine import SeededSampling
from triptych.rewards.base import DEFAULT_WEIGHTS
from triptych.rewards.weights import RewardWeights, Weight
from triptych.training.config import TrainingConfig
from triptych.training.credit import Balance, Scale, ScaleBy, Scheme, choice
from triptych.training.steps import StepLayout


@dataclass(frozen=True, kw_only=True)
class GRPOConfig(StageBudgets, TrainingConfig):
    """Settings of the reinforcement stage.

    The defaults are those of HumanOmniV2's first RL stage, which also freezes the media encoders.
    """

    learning_rate: float = 1e-6
    """Highest learning rate."""
    max_steps: int = 500
    """Optimizer steps."""
    prompts_per_step: int = 32
    """Prompts (groups) per optimizer step, over all processes and micro-batches."""
    groups_per_micro_batch: int = 1
    """Groups per forward and process. The result does not depend on it, memory does."""
    num_generations: int = 8
    """Completions per prompt: the size of a group."""
    num_iterations: int = 1
    """Optimizer steps on one rollout."""
    max_new_tokens: int = 1024
    """Longest completion, in tokens."""
    rollout_sequences: int = 64
    """Completions that a process writes at once, of one prompt at least; the validation reads as
    many prompts at once as a rollout. Lower it where memory is short: what is drawn does not depend
    on it."""
    temperature: float = 1.0
    """Sampling temperature of the rollout."""
    enforce: Enforce = Enforce.OFF
    """What rollouts are held to while they are written: nothing, the stages in their order, or the
    stages and an answer of the form that the question asks for. After a cold start the model knows
    the format, and only a rollout that may break it can earn the format reward: hence off."""
    weights: dict[str, Weight] = field(default_factory=lambda: dict(DEFAULT_WEIGHTS))
    """How much each reward counts: a number, or a schedule {step: number} over optimizer steps from
    0; a straight line joins its numbers, and the first and last one hold before and after it."""
    source_weights: dict[str, dict[str, Weight]] = field(default_factory=dict)
    """Weights that are others for samples of a source, such as {emer: {context: 0.5}}. The source
    is what a record names as source, data_source or dataset; `triptych data check` lists them."""
    scheme: Scheme = Scheme.STRICT
    """Which tokens earn which reward."""
    credit_rows: dict[str, tuple[float, float, float, float]] = field(default_factory=dict)
    """Credit of single rewards, in place of the scheme's: how much of its advantage the tokens of
    context, think, answer and tags receive. Needed for rewards that the scheme does not know."""
    scale: Scale = Scale.NONE
    """What the difference to the group's mean reward is divided by."""
    scale_by: ScaleBy = ScaleBy.REWARD
    """Whose standard deviation the scale is: each reward's own, or that of the weighted sum of the
    rewards, as in plain GRPO."""
    clip_advantage: float = 0.0
    """Largest advantage of a reward, after scaling and before its weight; 0 sets no bound."""
    balance: Balance = Balance.TOKENS
    """How the tokens of a group share its loss."""
    gate: bool = False
    """A context reward of at most 0.4 zeroes reasoning and answer; a reasoning reward of at most
    0.4 zeroes the answer."""
    clip_low: float = 0.2
    """How far a token's probability ratio may fall below 1 before its gradient stops."""
    clip_high: float = 0.2
    """How far it may rise above 1."""
    beta: float = 0.04
    """Weight of the penalty for leaving the reference model, at the start; 0 keeps no
    reference model in memory."""
    max_unscored_share: float = 0.5
    """Stop when a reward cannot be scored for more than this share of a step's completions."""
    rollouts_every: int = 1
    """Steps between two rollouts that are written to rollouts.jsonl; 0 writes none."""
    rollout_groups: int = 0
    """Groups that are written of such a rollout; 0 writes all."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in (
            "max_steps", "prompts_per_step", "groups_per_micro_batch", "num_iterations",
            "max_new_tokens", "rollout_sequences", "temperature",
        ):  # fmt: skip
            self._require(getattr(self, name) > 0, f"{name} must be above 0")
        for name in (
            "clip_low", "clip_high", "beta", "rollouts_every", "rollout_groups", "clip_advantage",
        ):  # fmt: skip
            self._require(getattr(self, name) >= 0, f"{name} must not be negative")
        for setting, kind in (
            ("scheme", Scheme), ("scale", Scale), ("scale_by", ScaleBy), ("balance", Balance),
            ("enforce", Enforce),
        ):  # fmt: skip
            choice(kind, getattr(self, setting), setting)
        self._require(
            self.scale_by != ScaleBy.SUM or self.scale != Scale.NONE,
            "scale_by is sum, but scale is none; set scale to group or batch",
        )
        self.reward_weights(tuple(self.weights))
        self._require(
            self.num_generations > 1,
            "num_generations must be at least 2: a completion is compared with its group",
        )
        self.check_budgets(enforced=self.enforced)

    @property
    def enforced(self) -> bool:
        """Whether rollouts are held to anything."""
        return self.enforce != Enforce.OFF

    def reward_weights(self, names: tuple[str, ...]) -> RewardWeights:
        """How much each of the rewards counts, at every step and for every source.

        Raises:
            ConfigError: the weights are not those of `names`, or cannot be read.
        """
        return RewardWeights(names, self.weights, self.source_weights)

    def sampling(self, seeds: Sequence[int] = ()) -> SamplingConfig:
        """How the completions of a rollout are drawn, by a seed for each of its samples."""
        return SeededSampling(
            max_new_tokens=self.max_new_tokens,
            temperature=self.temperature,
            given_seeds=tuple(seeds),
            enforce=choice(Enforce, self.enforce, "enforce"),
            min_stage_tokens=self.min_stage_tokens,
            max_stage_tokens=self.max_stage_tokens,
        )

    def rollout_prompts(self, processes: int) -> int:
        """How many prompts each of some processes reads at once, to write their completions."""
        of_process = self.prompts_per_step // processes
        return max(1, min(self.rollout_sequences // self.num_generations, of_process))

    def layout(self) -> StepLayout:
        """How the prompts of a run come in steps."""
        micro_batch = min(self.groups_per_micro_batch, self.prompts_per_step)
        return StepLayout(
            self.max_steps, self.prompts_per_step, micro_batch, repeats=self.num_iterations
        )
