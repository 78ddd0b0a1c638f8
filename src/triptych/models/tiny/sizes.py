"""The sizes of the toys, and their random weights."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast, WhisperFeatureExtractor


@dataclass(frozen=True)
class TinyConfig:
    """Sizes of the toy model; the defaults learn the clips on two cores in a minute or two."""

    hidden_size: int = 128
    num_layers: int = 3
    num_heads: int = 4
    num_key_value_heads: int = 4
    tower_size: int = 64
    tower_layers: int = 2
    mel_bins: int = 128
    initializer_range: float = 0.08
    """Wide: with the usual 0.02 a model of this size learns several times slower."""
    audio_seconds: int = 4
    """Longest audio, as the feature extractor's chunk length."""
    max_pixels: int = 112 * 112
    """Most pixels of an image or frame, after which they are patches."""


def vision_sizes(config: TinyConfig) -> dict[str, Any]:
    """The config of the vision tower, which is the same in all of Qwen2.5."""
    return {
        "depth": config.tower_layers,
        "hidden_size": config.tower_size,
        "intermediate_size": config.tower_size * 2,
        "num_heads": 4,
        "window_size": 112,
        "fullatt_block_indexes": [config.tower_layers - 1],
        "out_hidden_size": config.hidden_size,
        "initializer_range": config.initializer_range,
    }


def text_sizes(tokenizer: PreTrainedTokenizerFast, config: TinyConfig) -> dict[str, Any]:
    """The config of the text decoder, likewise."""
    half_head = config.hidden_size // config.num_heads // 2
    spatial = half_head * 3 // 8
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": config.hidden_size,
        "intermediate_size": config.hidden_size * 3,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_key_value_heads,
        "max_position_embeddings": 2048,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 10000.0,
            # Time, height and width share half a head.
            "mrope_section": [half_head - 2 * spatial, spatial, spatial],
        },
        "initializer_range": config.initializer_range,
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }


def pixel_limits(config: TinyConfig) -> dict[str, int]:
    """The least and most pixels that a processor makes of an image or frame."""
    return {"shortest_edge": 56 * 56, "longest_edge": config.max_pixels}


def with_random_weights(
    kind: type[PreTrainedModel], config: Any, tokenizer: PreTrainedTokenizerFast, seed: int
) -> Any:
    """A model of this kind from ``seed``; the global random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = kind(config)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model


def audio_sizes(config: TinyConfig) -> dict[str, Any]:
    """The config of the audio tower, as far as it is the same in all families."""
    return {
        "num_mel_bins": config.mel_bins,
        "encoder_layers": config.tower_layers,
        "encoder_attention_heads": 4,
        "encoder_ffn_dim": config.tower_size * 2,
        "d_model": config.tower_size,
        "initializer_range": config.initializer_range,
    }


def feature_extractor(config: TinyConfig) -> WhisperFeatureExtractor:
    """The real one, with a shorter longest audio."""
    return WhisperFeatureExtractor(
        feature_size=config.mel_bins, chunk_length=config.audio_seconds, return_attention_mask=True
    )


def save(folder: str | Path, model: PreTrainedModel, processor: Any) -> Path:
    """Write both as one ordinary model folder, and return it."""
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return Path(folder)
