"""A toy-size Qwen3-Omni.

Its layers have four experts, two of which read a token.
"""

from pathlib import Path
from typing import Any

from transformers import (
    PreTrainedTokenizerFast,
    Qwen3OmniMoeThinkerConfig,
    Qwen3OmniMoeThinkerForConditionalGeneration,
    WhisperFeatureExtractor,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from triptych.models import pil_processor
from triptych.models.tiny.qwen3 import PATCH, experts, interleaved_text_sizes, vision_sizes
from triptych.models.tiny.sizes import (
    TinyConfig,
    audio_sizes,
    pixel_limits,
    save,
    with_random_weights,
)
from triptych.models.tiny.tokenization import chat_template, media_ids, train_tokenizer

MEDIA_TOKENS = {
    "image_token": "<|image_pad|>",
    "audio_token": "<|audio_pad|>",
    "video_token": "<|video_pad|>",
    "vision_bos_token": "<|vision_start|>",
    "vision_eos_token": "<|vision_end|>",
    "audio_bos_token": "<|audio_start|>",
    "audio_eos_token": "<|audio_end|>",
}
CHAT_TEMPLATE = chat_template(
    {
        "image": "<|vision_start|><|image_pad|><|vision_end|>",
        "video": "<|vision_start|><|video_pad|><|vision_end|>",
        "audio": "<|audio_start|><|audio_pad|><|audio_end|>",
    }
)
POSITIONS_PER_SECOND = 13  # as in the published models


def build_tiny_qwen3_omni(
    folder: str | Path, seed: int = 0, config: TinyConfig | None = None
) -> Path:
    """Build model, tokenizer and processor from ``seed`` and save them to ``folder``."""
    config = config or TinyConfig()
    tokenizer = train_tokenizer(MEDIA_TOKENS)
    return save(
        folder, _build_thinker(tokenizer, config, seed), _build_processor(tokenizer, config)
    )


def _build_processor(tokenizer: PreTrainedTokenizerFast, config: TinyConfig) -> Any:
    size = pixel_limits(config)
    return pil_processor.Omni3Processor(
        image_processor=Qwen2VLImageProcessorPil(size=size, **PATCH),
        video_processor=pil_processor.Qwen2VLVideoProcessor(size=size, **PATCH),
        feature_extractor=WhisperFeatureExtractor(
            feature_size=config.mel_bins, return_attention_mask=True
        ),
        tokenizer=tokenizer,
        chat_template=CHAT_TEMPLATE,
    )


def _build_thinker(
    tokenizer: PreTrainedTokenizerFast, config: TinyConfig, seed: int
) -> Qwen3OmniMoeThinkerForConditionalGeneration:
    thinker_config = Qwen3OmniMoeThinkerConfig(
        audio_config={
            **audio_sizes(config),
            "n_window": 50,
            "n_window_infer": 200,
            "downsample_hidden_size": 8,
            "max_source_positions": 64,
            "output_dim": config.hidden_size,
        },
        vision_config=vision_sizes(config),
        text_config={**interleaved_text_sizes(tokenizer, config), **experts(config)},
        initializer_range=config.initializer_range,
        position_id_per_seconds=POSITIONS_PER_SECOND,
        **media_ids(tokenizer, MEDIA_TOKENS),
    )
    return with_random_weights(
        Qwen3OmniMoeThinkerForConditionalGeneration, thinker_config, tokenizer, seed
    )
