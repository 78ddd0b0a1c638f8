"""What the commands that run a model have in common: how to load it, how to sample from it."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from triptych.data.media import MediaBudget

if TYPE_CHECKING:
    from triptych.models import OmniModel


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Which model, and how much of each clip it is shown."""

    model: str
    """Hub id (Qwen/Qwen2.5-Omni-7B) or folder of the model."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the model runs; auto takes a GPU when there is one."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Number format of the weights."""
    stage_tokens: bool = False
    """Make each stage tag one special token in place of ordinary text."""
    media: MediaBudget = MediaBudget()
    """How much of each clip the model sees and hears."""


def load_model(config: ModelConfig, path: str | Path | None = None) -> "OmniModel":
    """The model of `config`, or the one at `path` loaded the same way."""
    import torch

    from triptych.models import LoadOptions, OmniModel

    device = config.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    model = OmniModel.from_pretrained(
        path or config.model,
        options=LoadOptions(dtype=getattr(torch, config.dtype)),
        budget=config.media,
    )
    if config.stage_tokens:
        model.add_stage_tokens()
    return model.to(device)
