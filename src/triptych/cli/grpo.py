"""`triptych grpo OUT`: reinforcement with a reward per stage."""

from dataclasses import dataclass
from pathlib import Path

from triptych.cli.config import argument
from triptych.cli.model import load_data
from triptych.cli.rewards import RewardsConfig
from triptych.cli.training import check_validation
from triptych.training.grpo_config import GRPOConfig


@dataclass(frozen=True, kw_only=True)
class GrpoCommand(GRPOConfig, RewardsConfig):
    """What is reinforced, by which rewards, and how."""

    out: Path = argument()
    """Run folder; must be new or empty, unless --resume."""
    train: Path
    """Data set, in any form that `triptych data convert` reads."""
    validation: Path | None = None
    """Data set to measure on every eval_steps."""
    save_steps: int = 50
    """Steps between two checkpoints, and one at the end; 0 writes none."""
    resume: bool = False
    """Go on from the last checkpoint in the run folder."""
    dry_run: bool = False
    """Check config, data, rewards and model, print what the run will need, and stop."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_validation(self)


def run(config: GrpoCommand) -> None:
    """Reinforce a cold-started model with GRPO; each reward reaches the tokens of its stage.

    The trained model is an ordinary folder, OUT/models/grpo. With several GPUs:
    accelerate launch -m triptych grpo OUT ...
    """
    from triptych.cli.dry_run import dry_run
    from triptych.cli.rewards import load_rewards, print_spend
    from triptych.cli.training import start_run, validation_hook
    from triptych.rewards import use_model
    from triptych.training.grpo import train_grpo
    from triptych.training.validation import Scoring

    if config.dry_run:
        dry_run(config)
        return
    rewards = load_rewards(config)
    samples = load_data(config, config.train)
    run_folder, model = start_run(config, config.out, [config.train], resume=config.resume)
    use_model(rewards, model)
    result = train_grpo(
        model,
        samples,
        rewards,
        config,
        run_folder,
        evaluate=validation_hook(config, run_folder, Scoring.of_run(config, rewards)),
        resume=config.resume,
    )
    print_spend(rewards)
    print(f"trained model: {result.model_path}")
