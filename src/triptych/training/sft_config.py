"""Settings of the cold start."""

import math
from dataclasses import dataclass

from triptych.training.config import Schedule, TrainingConfig
from triptych.training.steps import StepLayout


@dataclass(frozen=True, kw_only=True)
class SFTConfig(TrainingConfig):
    """Settings of the cold start. The defaults are HumanOmniV2's: 2 epochs at 2e-5."""

    learning_rate: float = 2e-5
    """Highest learning rate."""
    lr_scheduler: Schedule = "cosine"
    """What the learning rate does after the warm-up."""
    warmup_steps: float = 0.03
    """Steps over which the learning rate rises from zero; below 1 a share of all steps."""
    num_epochs: float = 2.0
    """Passes over the data; the last step is filled up from the next pass."""
    max_steps: int = 0
    """Optimizer steps; above 0 it takes the place of num_epochs."""
    batch_size: int = 32
    """Samples per optimizer step, over all processes and accumulated micro-batches."""
    micro_batch_size: int = 8
    """Samples per forward and process. The result does not depend on it, memory does."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("num_epochs", "batch_size", "micro_batch_size"):
            self._require(getattr(self, name) > 0, f"{name} must be above 0")
        self._require(self.max_steps >= 0, "max_steps must not be negative")

    def layout(self, num_samples: int) -> StepLayout:
        """How a run over this many samples comes in steps."""
        steps = self.max_steps or math.ceil(self.num_epochs * num_samples / self.batch_size)
        return StepLayout(steps, self.batch_size, min(self.micro_batch_size, self.batch_size))
