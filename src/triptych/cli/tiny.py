"""`triptych tiny OUT`: a toy model of any family, to try commands on without a download."""

from dataclasses import dataclass
from pathlib import Path

from triptych.cli.config import argument
from triptych.errors import ConfigError
from triptych.settings import did_you_mean


@dataclass(frozen=True)
class TinyModelConfig:
    """Which toy model, and where it goes."""

    out: Path = argument()
    """Folder for the model: weights, tokenizer and processor, as of any model."""
    family: str = "qwen2_5_omni"
    """Name of the model family (docs/families.md lists them)."""
    seed: int = 0
    """Seed of the weights. The same seed writes the same files, byte for byte."""


def run(config: TinyModelConfig) -> None:
    """Build a toy model of the real architecture.

    It has about a million weights, drawn by chance, and knows nothing; every command runs on it.
    """
    from triptych.models.families import FAMILIES

    families = {family.name: family for family in FAMILIES}
    if config.family not in families:
        raise ConfigError(
            f"no family is called {config.family!r}{did_you_mean(config.family, families)} (there "
            f"are: {', '.join(families)})"
        )
    if config.out.exists() and any(config.out.iterdir()):
        raise ConfigError(f"{config.out} is not empty; name another folder")
    families[config.family].build_tiny(config.out, config.seed)
    print(f"Model written: {config.out}")
