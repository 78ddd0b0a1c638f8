"""Qwen2.5-Omni thinkers of the published sizes with random weights, made on the device itself.

Nothing is downloaded: the sizes are those of the published configs, the tokenizer is made up (as
many tokens as the published one), and weights are drawn where they will stay, in their own number
format. A copy in fp32 on the CPU would take 36 GB for the 7B.
"""

from dataclasses import dataclass
from typing import Any

import torch
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2_5OmniThinkerConfig,
    Qwen2_5OmniThinkerForConditionalGeneration,
)

from benchmarks.vocabulary import large_tokenizer
from triptych.models import OmniModel
from triptych.models.families import family_for
from triptych.models.tiny import MEDIA_TOKENS, TinyConfig, build_processor


@dataclass(frozen=True)
class Towers:
    """Sizes of the media encoders. They are loaded and frozen, as in the published recipe."""

    vision_layers: int = 32
    vision_hidden: int = 1280
    vision_intermediate: int = 3420
    vision_heads: int = 16
    full_attention: tuple[int, ...] = (7, 15, 23, 31)
    audio_layers: int = 32
    audio_hidden: int = 1280
    audio_intermediate: int = 5120
    audio_heads: int = 20


@dataclass(frozen=True)
class Size:
    """Sizes of a thinker; those that are not named are the published ones of both models."""

    name: str
    vocabulary: int
    hidden: int
    intermediate: int
    layers: int
    heads: int
    key_value_heads: int
    rope_sections: tuple[int, int, int] = (16, 24, 24)
    towers: Towers = Towers()
    tokens: int = 151_665
    """Of the tokenizer; the rest of the vocabulary is padding, which is never generated."""
    initializer_range: float = 0.02


SIZE_7B = Size("7B", 152_064, 3584, 18_944, 28, 28, 4)
SIZE_3B = Size("3B", 151_936, 2048, 11_008, 36, 16, 2)
TOY = Size(
    "toy", 1024, 64, 128, 2, 4, 2, (2, 3, 3),
    Towers(2, 32, 64, 4, (1,), 2, 32, 64, 4), tokens=1000, initializer_range=0.15,
)  # fmt: skip
"""So few dimensions need larger weights, or attention is flat and positions do not matter."""


def build(size: Size, device: torch.device, dtype: torch.dtype) -> OmniModel:
    """A model on `device`, its towers frozen; the same one each time.

    It never writes an end token, so that completions are as long as they are asked for.
    """
    tokenizer = large_tokenizer(size.tokens)
    cuda = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(cuda), torch.device(device):
        torch.manual_seed(0)
        thinker = Qwen2_5OmniThinkerForConditionalGeneration._from_config(
            thinker_config(size, tokenizer), dtype=dtype, attn_implementation="sdpa"
        )
    thinker.generation_config.eos_token_id = tokenizer.eos_token_id
    thinker.generation_config.pad_token_id = tokenizer.pad_token_id
    model = OmniModel(
        thinker, build_processor(tokenizer, TinyConfig()), family_for("qwen2_5_omni_thinker")
    )
    model.freeze(tuple(model.family.towers))
    ends = torch.tensor(model.end_token_ids, device=device)
    model.banned_ids = torch.cat([model.banned_ids, ends])
    return model


def thinker_config(size: Size, tokenizer: PreTrainedTokenizerFast) -> Qwen2_5OmniThinkerConfig:
    """The published config at these sizes, with the ids of this tokenizer."""
    towers = size.towers
    ids = {name: tokenizer.convert_tokens_to_ids(token) for name, token in MEDIA_TOKENS.items()}
    text: dict[str, Any] = {
        "vocab_size": size.vocabulary,
        "hidden_size": size.hidden,
        "intermediate_size": size.intermediate,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads,
        "num_key_value_heads": size.key_value_heads,
        "max_position_embeddings": 32_768,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 1_000_000.0,
            "mrope_section": list(size.rope_sections),
        },
        "tie_word_embeddings": False,
        "initializer_range": size.initializer_range,
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    vision: dict[str, Any] = {
        "depth": towers.vision_layers,
        "hidden_size": towers.vision_hidden,
        "intermediate_size": towers.vision_intermediate,
        "num_heads": towers.vision_heads,
        "window_size": 112,
        "fullatt_block_indexes": list(towers.full_attention),
        "out_hidden_size": size.hidden,
    }
    audio: dict[str, Any] = {
        "num_mel_bins": 128,
        "encoder_layers": towers.audio_layers,
        "encoder_attention_heads": towers.audio_heads,
        "encoder_ffn_dim": towers.audio_intermediate,
        "d_model": towers.audio_hidden,
        "max_source_positions": 1500,
        "n_window": 100,
        "output_dim": size.hidden,
    }
    return Qwen2_5OmniThinkerConfig(
        text_config=text,
        vision_config=vision,
        audio_config=audio,
        tie_word_embeddings=False,
        initializer_range=size.initializer_range,
        image_token_id=ids["image_token"],
        video_token_id=ids["video_token"],
        audio_token_id=ids["audio_token"],
        vision_start_token_id=ids["vision_bos_token"],
        vision_end_token_id=ids["vision_eos_token"],
        audio_start_token_id=ids["audio_bos_token"],
        audio_end_token_id=ids["audio_eos_token"],
    )
