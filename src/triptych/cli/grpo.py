"""`triptych grpo OUT`: reinforcement with a reward per stage."""

from dataclasses import dataclass, field
from pathlib import Path

from triptych.cli.config import argument
from triptych.cli.model import ModelConfig
from triptych.training.grpo_config import GRPOConfig


def _rule_names() -> dict[str, str]:
    return {name: name for name in ("context", "reasoning", "answer", "format")}


@dataclass(frozen=True, kw_only=True)
class GrpoCommand(GRPOConfig, ModelConfig):
    """What is reinforced, by which rewards, and how."""

    out: Path = argument()
    """Run folder; must be new or empty, unless --resume."""
    train: Path
    """Data set, in any form that `triptych data convert` reads."""
    rewards: dict[str, str] = field(default_factory=_rule_names)
    """Reward function of each stage: context, reasoning, answer or format (rule-based), or
    module:function for your own."""
    validation: Path | None = None
    """Data set to measure on every eval_steps."""
    resume: bool = False
    """Go on from the last checkpoint in the run folder."""


def run(config: GrpoCommand) -> None:
    """Reinforce a cold-started model with GRPO; each reward reaches the tokens of its stage.

    The trained model is an ordinary folder, OUT/models/grpo. With several GPUs:
    accelerate launch -m triptych grpo OUT ...
    """
    from triptych.cli.training import start_run, validation_hook
    from triptych.data.readers import load_samples
    from triptych.rewards.registry import resolve
    from triptych.training.grpo import train_grpo

    rewards = {name: resolve(target) for name, target in config.rewards.items()}
    samples = load_samples(config.train)
    run_folder, model = start_run(config, config.out, [config.train], resume=config.resume)
    result = train_grpo(
        model,
        samples,
        rewards,
        config,
        run_folder,
        evaluate=validation_hook(config.validation),
        resume=config.resume,
    )
    print(f"trained model: {result.model_path}")
