"""What the commands that run a model have in common: how to load it, how to sample from it."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from triptych.data.decoding import DecodeLimits, DecodePool
from triptych.data.media import MediaBudget
from triptych.errors import ConfigError
from triptych.generation.budgets import StageBudgets
from triptych.generation.engine import Enforce

if TYPE_CHECKING:
    from triptych.data.feature_cache import FeatureCache
    from triptych.data.messages import MessageBuilder
    from triptych.data.sample import Sample
    from triptych.models import OmniModel


@dataclass(frozen=True)
class CacheConfig:
    """Where media features are kept on disk.

    Attributes:
        folder: folder of the cache; without one nothing is kept. Runs may share it, at the same
            time too.
        max_gib: most space that it takes, in GiB; what was not used for longest makes room.
        embeddings: of media that frozen towers read, keep what they make of them. A later epoch or
            run with the same weights then runs no tower; one with other weights finds nothing.
    """

    folder: Path | None = None
    max_gib: float = 100.0
    embeddings: bool = False

    def __post_init__(self) -> None:
        if not self.max_gib > 0:
            raise ConfigError(f"cache.max_gib is {self.max_gib}; use a number above 0")
        if self.embeddings and self.folder is None:
            raise ConfigError("cache.embeddings keeps nothing without cache.folder; name a folder")

    def open(self) -> "FeatureCache | None":
        """The cache; None without a folder."""
        if self.folder is None:
            return None
        from triptych.data.feature_cache import FeatureCache

        return FeatureCache(self.folder, int(self.max_gib * 2**30), embeddings=self.embeddings)


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Which model, and how much of each clip it is shown."""

    model: str
    """Hub id (Qwen/Qwen2.5-Omni-7B) or folder of the model."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the model runs; auto takes a GPU when there is one."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Number format of the weights."""
    quantize: Literal["none", "4bit", "8bit"] = "none"
    """Hold the text decoder's weights in 4 or 8 bits (bitsandbytes); to train, set lora.rank."""
    attention: Literal["prefix", "mask"] = "prefix"
    """How completions look back at the prompt that they share, in training: prefix computes only
    the scores that count; mask is slower, for models whose attention cannot be replaced."""
    stage_tokens: bool = False
    """Make each stage tag one special token in place of ordinary text."""
    media: MediaBudget = MediaBudget()
    """How much of each clip the model sees and hears."""
    audio_in_video: bool = False
    """Read a video and its sound in turns of a few seconds, as Qwen2.5-Omni was pretrained, where
    they are otherwise read one after the other. In a sample the two stand one behind the other,
    with the same path, start and end; videos of a sample that names no sound bring theirs along.
    A model wants to be used as it was trained."""
    decode: DecodeLimits = DecodeLimits()
    """Where media are decoded, and when a decoder is given up."""
    cache: CacheConfig = CacheConfig()
    """Media features on disk: what was made of a clip once is read by later runs."""


@dataclass(frozen=True, kw_only=True)
class EnforcementConfig(StageBudgets):
    """What completions are held to while they are written."""

    enforce: Enforce = Enforce.STAGES
    """What completions are held to: nothing, the stages in their order, or the stages and an answer
    of the form that the question asks for."""

    def __post_init__(self) -> None:
        self.check_budgets(enforced=self.enforce is not Enforce.OFF)


def check_at_least(least: int, config: Any, *names: str) -> None:
    """Refuse settings below a least value.

    Raises:
        ConfigError: one of the named settings is.
    """
    for name in names:
        if not getattr(config, name) >= least:  # also NaN
            raise ConfigError(f"{name} is {getattr(config, name)}; use {least} or more")


def load_data(config: ModelConfig, path: Path) -> "list[Sample]":
    """The samples of a data set, as the model of `config` is to see and hear them.

    Raises:
        DataError: it cannot be read, or a record is no sample.
    """
    from triptych.data.readers import load_samples
    from triptych.data.sound import with_own_sound

    samples = load_samples(path)
    return with_own_sound(samples) if config.audio_in_video else samples


def device_of_process(asked: str) -> str:
    """The device of this process: of several on a machine, each has a GPU of its own.

    Raises:
        ConfigError: it is not there.
    """
    import torch

    device = asked
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and "LOCAL_RANK" in os.environ:
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        _check_device(device)
        torch.cuda.set_device(device)
    else:
        _check_device(device)
    return device


def _check_device(device: str) -> None:
    import torch

    kind, _, number = device.partition(":")
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if kind == "cuda" and not gpus:
        raise ConfigError(
            f"device is {device}, but PyTorch {torch.__version__} finds no GPU here; use cpu, or "
            "install the PyTorch that fits this machine's driver"
        )
    if kind == "cuda" and int(number or 0) >= gpus:
        raise ConfigError(
            f"device is {device}, but the GPUs here end at cuda:{gpus - 1}; start no more "
            "processes than there are GPUs"
        )


def load_model(
    config: ModelConfig,
    path: str | Path | None = None,
    messages: "MessageBuilder | None" = None,
) -> "OmniModel":
    """The model of `config`, or the one at `path` loaded the same way.

    It is asked by `messages`; by default these ask for the stages.
    """
    import torch

    from triptych.models import LoadOptions, OmniModel
    from triptych.models.prefix_attention import Attention
    from triptych.models.prompt import PromptEncoder
    from triptych.models.quantization import Quantize

    device = device_of_process(config.device)
    pool = DecodePool(config.decode)  # its workers start while the model is being loaded
    model = OmniModel.from_pretrained(
        path or config.model,
        options=LoadOptions(
            dtype=getattr(torch, config.dtype),
            attention=Attention(config.attention),
            quantize=Quantize(config.quantize),
        ),
        budget=config.media,
    )
    model.encoder = PromptEncoder(
        model.thinker,
        model.processor,
        model.family,
        config.media,
        model.format,
        pool=pool,
        cache=config.cache.open(),
        audio_in_video=config.audio_in_video,
        messages=messages,
    )
    if config.stage_tokens:
        model.add_stage_tokens()
    return model.to(device)
