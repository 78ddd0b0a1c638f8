"""`triptych export MODEL OUT`: an adapter, merged into its base model."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from triptych.cli.config import argument
from triptych.errors import ConfigError, ModelError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class ExportCommand:
    """What is merged, and where it goes."""

    model: str = argument()
    """Folder or hub id of an adapter."""
    out: Path = argument()
    """Folder of the merged model; must be new or empty."""
    dtype: Literal["float32", "bfloat16", "float16"] | None = None
    """Number format of the weights that are written; by default that of the base model."""


def run(config: ExportCommand) -> None:
    """Merge an adapter into its base model, and write an ordinary model folder.

    It is merged in float32 and rounded once. What is written needs no PEFT to be loaded.
    """
    import torch

    from triptych.models import OmniModel
    from triptych.models.adapters import has_adapter, merge_adapter
    from triptych.training.model_card import CARD, exported_card

    if config.out.exists() and (not config.out.is_dir() or any(config.out.iterdir())):
        raise ConfigError(f"{config.out} is not empty: choose another folder, or remove it")
    model = OmniModel.from_pretrained(config.model)
    if not has_adapter(model.thinker):
        raise ModelError(f"{config.model}: holds no adapter: it is an ordinary model already")
    base = str(model.thinker.name_or_path)
    merge_adapter(model.thinker)
    model.thinker.to(getattr(torch, config.dtype) if config.dtype else _dtype_of(base))
    # Beside its place, so that nobody finds half a model there.
    beside = config.out.with_name(f".{config.out.name}.writing")
    model.save_pretrained(beside)
    if (card := Path(config.model) / CARD).exists():
        text = exported_card(card.read_text(encoding="utf-8"), base)
        (beside / CARD).write_text(text, encoding="utf-8")
    beside.replace(config.out)
    print(f"merged model: {config.out}")


def _dtype_of(path: str) -> "torch.dtype":
    """The number format that a model says its weights are in."""
    import torch
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(path)
    for one in (config, config.get_text_config()):
        if isinstance(one.dtype, torch.dtype):
            return one.dtype
    return torch.float32
