"""The settings of a text scorer."""

from dataclasses import dataclass

from triptych.errors import ConfigError
from triptych.rewards.scorer.base import Stage

MINILM = "minilm"
TINY = "tiny"

_LEARNING_RATE = 2e-4
_TINY_LEARNING_RATE = 5e-3


@dataclass(frozen=True, kw_only=True)
class ScorerConfig:
    """How a text scorer is trained."""

    stage: Stage = "context"
    """The stage whose texts it scores: context or reasoning."""
    encoder: str = MINILM
    """What it begins from: minilm (all-MiniLM-L6-v2, of the extra "scorer"), tiny (a small encoder
    with random weights), or the hub id or folder of any sequence-classification encoder."""
    num_epochs: float = 3.0
    """Passes over the pairs."""
    max_steps: int = 0
    """Optimizer steps; above 0 it takes the place of num_epochs."""
    batch_size: int = 32
    """Pairs per optimizer step."""
    learning_rate: float | None = None
    """Highest learning rate; by default 2e-4, for tiny 5e-3. It rises over the first tenth of the
    steps and then falls to zero."""
    weight_decay: float = 0.01
    """AdamW's weight decay; biases and norms are left out."""
    max_length: int = 512
    """Most tokens of a reference and a text together; at most what the encoder takes."""
    per_kind: int = 1
    """How many texts are made from a reference: so many times about thirty."""
    held_out_share: float = 0.3
    """Share of the samples that is not trained on. Half of it calibrates, half evaluates."""
    bf16: bool = False
    """Compute in bfloat16 (autocast) while training."""
    seed: int = 0
    """Splits, corruptions, the order of the pairs, and everything that is drawn."""

    def __post_init__(self) -> None:
        """Refuse what cannot work.

        Raises:
            ConfigError: a value is out of its range.
        """
        for name in ("num_epochs", "batch_size", "max_length", "per_kind"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; use a number above 0")
        for name in ("max_steps", "weight_decay", "seed"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; use 0 or more")
        if self.learning_rate is not None and not self.learning_rate > 0:
            raise ConfigError(f"learning_rate is {self.learning_rate}; use a number above 0")
        if not 0 < self.held_out_share < 1:
            raise ConfigError(f"held_out_share is {self.held_out_share}; use one between 0 and 1")

    @property
    def peak_learning_rate(self) -> float:
        """The highest learning rate, the usual one where none is set."""
        usual = _TINY_LEARNING_RATE if self.encoder == TINY else _LEARNING_RATE
        return self.learning_rate or usual
