"""`triptych sft OUT`: the cold start."""

from dataclasses import dataclass
from pathlib import Path

from triptych.cli.config import argument
from triptych.cli.model import ModelConfig, load_data
from triptych.cli.training import check_validation
from triptych.training.sft_config import SFTConfig


@dataclass(frozen=True, kw_only=True)
class SftCommand(SFTConfig, ModelConfig):
    """What the cold start trains on, and how."""

    out: Path = argument()
    """Run folder; must be new or empty, unless --resume."""
    train: Path
    """Data set with full references, in any form that `triptych data convert` reads."""
    validation: Path | None = None
    """Data set to measure on every eval_steps."""
    max_new_tokens: int = 1024
    """Longest completion of the validation, in tokens."""
    save_steps: int = 50
    """Steps between two checkpoints, and one at the end; 0 writes none."""
    resume: bool = False
    """Go on from the last checkpoint in the run folder."""
    dry_run: bool = False
    """Check config, data, rewards and model, print what the run will need, and stop."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_validation(self)


def run(config: SftCommand) -> None:
    """Teach a model the three stages by supervised fine-tuning on reference completions.

    The trained model is an ordinary folder, OUT/models/sft. With several GPUs:
    accelerate launch -m triptych sft OUT ...
    """
    from triptych.cli.dry_run import dry_run
    from triptych.cli.training import start_run, validation_hook
    from triptych.training.sft import train_sft

    if config.dry_run:
        dry_run(config)
        return
    samples = load_data(config, config.train)
    run_folder, model = start_run(config, config.out, [config.train], resume=config.resume)
    result = train_sft(
        model,
        samples,
        config,
        run_folder,
        evaluate=validation_hook(config, run_folder),
        resume=config.resume,
    )
    print(f"trained model: {result.model_path}")
