"""A toy-size Phi-4-multimodal."""

from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    Phi4MultimodalConfig,
    Phi4MultimodalFeatureExtractor,
    Phi4MultimodalForCausalLM,
    PreTrainedTokenizerFast,
)

from triptych.models import pil_processor
from triptych.models.pil_phi4_multimodal import Phi4MultimodalImageProcessor
from triptych.models.tiny.sizes import TinyConfig, save, text_sizes, with_random_weights
from triptych.models.tiny.tokenization import train_tokenizer

MEDIA_TOKENS = {"image_token": "<|image|>", "audio_token": "<|audio|>"}
TURN_TOKENS = {name: f"<|{name}|>" for name in ("system", "user", "assistant", "end")}
CHAT_TEMPLATE = """\
{%- set media = {'image': '<|image|>', 'audio': '<|audio|>'} -%}
{%- for message in messages -%}
{{ '<|' ~ message.role ~ '|>' }}
{%- if message.content is string -%}{{ message.content }}
{%- else -%}
{%- for part in message.content -%}{{ media[part.type] or part.text }}{%- endfor -%}
{%- endif -%}
{{ '<|end|>' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|assistant|>' }}{%- endif -%}
"""
MOST_TILES = 4
SHORT_TEXTS = 2048
"""Tokens behind which the rope has other frequencies."""


def build_tiny_phi4_multimodal(
    folder: str | Path, seed: int = 0, config: TinyConfig | None = None
) -> Path:
    """Build model, tokenizer and processor from ``seed`` and save them to ``folder``."""
    config = config or TinyConfig()
    tokenizer = train_tokenizer({**MEDIA_TOKENS, **TURN_TOKENS})
    tokenizer.eos_token = TURN_TOKENS["end"]
    tokenizer.chat_template = CHAT_TEMPLATE
    return save(folder, _build_model(tokenizer, config, seed), _build_processor(tokenizer))


def _build_processor(tokenizer: PreTrainedTokenizerFast) -> Any:
    return pil_processor.Phi4Processor(
        image_processor=Phi4MultimodalImageProcessor(dynamic_hd=MOST_TILES),
        audio_processor=Phi4MultimodalFeatureExtractor(),
        tokenizer=tokenizer,
    )


def _build_model(
    tokenizer: PreTrainedTokenizerFast, config: TinyConfig, seed: int
) -> Phi4MultimodalForCausalLM:
    media = {
        f"{name}_id": tokenizer.convert_tokens_to_ids(token) for name, token in MEDIA_TOKENS.items()
    }
    sizes = {
        "hidden_size": config.tower_size,
        "intermediate_size": config.tower_size * 2,
        "num_attention_heads": 4,
    }
    model_config = Phi4MultimodalConfig(
        vision_config={
            **sizes,
            "num_hidden_layers": config.tower_layers + 1,  # the last one is left out
            "image_token_id": media["image_token_id"],
        },
        audio_config={
            **sizes,
            "num_blocks": config.tower_layers,
            "ext_pw_out_channel": config.tower_size,
            "depthwise_separable_out_channel": config.tower_size,
            "nemo_conv_channels": config.tower_size,
            "initializer_range": config.initializer_range,
            "audio_token_id": media["audio_token_id"],
        },
        **{
            **text_sizes(tokenizer, config),
            "max_position_embeddings": 2 * SHORT_TEXTS,
            "original_max_position_embeddings": SHORT_TEXTS,
            "rope_parameters": _rope(config),
            "bos_token_id": None,
            "tie_word_embeddings": True,
        },
    )
    model = with_random_weights(Phi4MultimodalForCausalLM, model_config, tokenizer, seed)
    # Drawn as SigLIP's are, with a deviation of 1, attention looks at one patch and learns nothing.
    encoder = model.model.embed_tokens_extend.image_embed.img_processor.encoder
    source = torch.Generator().manual_seed(seed)
    for part in encoder.modules():
        if isinstance(part, nn.Linear):
            nn.init.normal_(part.weight, std=config.initializer_range, generator=source)
    return model


def _rope(config: TinyConfig) -> dict[str, Any]:
    """Three quarters of a head turn; in long texts more slowly, the slow ones most."""
    pairs = config.hidden_size // config.num_heads * 3 // 4 // 2
    return {
        "rope_type": "longrope",
        "factor": 2.0,
        "rope_theta": 10000.0,
        "partial_rotary_factor": 0.75,
        "short_factor": [1.0] * pairs,
        "long_factor": [1.0 + pair for pair in range(pairs)],
    }
