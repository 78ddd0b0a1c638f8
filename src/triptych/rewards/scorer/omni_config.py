"""The settings of an omni scorer."""

from dataclasses import dataclass

from triptych.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class OmniScorerConfig:
    """How an omni scorer is trained. The defaults suit a pretrained model of billions."""

    learning_rate: float = 1e-5
    """Highest learning rate of the thinker. It rises over the first twentieth of the steps and
    then falls to zero along a cosine."""
    head_learning_rate: float = 1e-3
    """The same for the head, which begins at zero."""
    num_epochs: float = 1.0
    """Passes over the texts."""
    batch_size: int = 8
    """Rows per optimizer step."""
    micro_batch_size: int = 4
    """Rows per forward. Memory depends on it, the result hardly: the loss of what is written is a
    mean over the tokens of a forward."""
    texts_per_row: int = 8
    """Texts of one clip that are read together, in one row."""
    weight_decay: float = 0.01
    """AdamW's weight decay; biases and norms are left out."""
    freeze: tuple[str, ...] = ()
    """Media encoders that are not trained: vision, audio."""
    head_only: bool = False
    """Train nothing but the head."""
    per_kind: int = 1
    """Multiplies the texts of each kind of corruption that are made from each reference."""
    held_out_share: float = 0.3
    """Share of the samples that is not trained on. Half of it calibrates, half evaluates."""
    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass: less memory, more time."""
    bf16: bool = False
    """Compute in bfloat16 (autocast) while the weights keep their own type."""
    text_only_baseline: bool = True
    """Train the same model once more without the media, on the same texts, and report its figures
    beside: what the texts give away by themselves. It takes as much time again."""
    seed: int = 0
    """Splits, corruptions, the order of the texts, and everything that is drawn."""

    def __post_init__(self) -> None:
        """Refuse what cannot work.

        Raises:
            ConfigError: a value is out of its range.
        """
        for name in (
            "learning_rate", "head_learning_rate", "num_epochs", "batch_size", "micro_batch_size",
            "per_kind",
        ):  # fmt: skip
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; use a number above 0")
        if self.texts_per_row < 2:
            raise ConfigError(f"texts_per_row is {self.texts_per_row}; a row compares 2 or more")
        for name in ("weight_decay", "seed"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; use 0 or more")
        if not 0 < self.held_out_share < 1:
            raise ConfigError(f"held_out_share is {self.held_out_share}; use one between 0 and 1")
        if self.batch_size % self.micro_batch_size:
            raise ConfigError(
                f"batch_size is {self.batch_size}; use a multiple of micro_batch_size, "
                f"{self.micro_batch_size}"
            )
