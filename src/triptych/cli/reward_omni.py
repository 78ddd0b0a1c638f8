"""`triptych reward train-omni`: a reward model that sees and hears the clip."""

from dataclasses import dataclass
from pathlib import Path

from triptych.cli.config import argument, several
from triptych.cli.model import ModelConfig
from triptych.cli.reward import is_watched, print_table, refuse_used_folder
from triptych.errors import ConfigError
from triptych.rewards.scorer.omni_config import OmniScorerConfig


@dataclass(frozen=True, kw_only=True)
class TrainOmniConfig(ModelConfig, OmniScorerConfig):
    """What a scorer is trained from and on, and how."""

    out: Path = argument()
    """Folder for the scorer; must be new or empty."""
    data: tuple[Path, ...] = several()
    """Data sets with media and reference contexts, in any form that `triptych data convert`
    reads. Clips that the model was trained on before are not held out for it: name others."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.data:
            raise ConfigError("data: no data set is named; add --data FILE")


def train(config: TrainOmniConfig) -> None:
    """Train a reward model of the context stage that looks and listens itself.

    From each reference texts are made that keep all of it, lack a part, or are wrong in a known
    way, each with a target from 0 to 1. The model learns the target of a text from the clip alone,
    so it needs no reference when it scores. Clips that are held out calibrate and evaluate it; a
    scorer of the same texts without the clips says what the texts give away by themselves. With
    several GPUs: accelerate launch -m triptych reward train-omni OUT ...
    """
    from triptych.cli.processes import launched_ranks

    ranks = launched_ranks(config.device)
    ranks.settle(lambda: refuse_used_folder(config.out))
    from triptych.cli.model import load_data, load_model
    from triptych.rewards.scorer.card import figure_table, kind_table
    from triptych.rewards.scorer.omni_build import build_omni_scorer, swap_table

    figures = build_omni_scorer(
        config.out,
        [sample for path in config.data for sample in load_data(config, path)],
        config,
        lambda: load_model(config),
        name=config.model,
        show_progress=ranks.first and is_watched(),
        ranks=ranks,
    )
    if not ranks.first:
        return
    own = figures.scorer.all
    for table in (kind_table(own), swap_table(figures), figure_table(own)):
        print_table(table)
    print(f"trained scorer: {config.out}")
