"""A toy-size Qwen2.5-Omni."""

from pathlib import Path
from typing import Any

from transformers import (
    PreTrainedTokenizerFast,
    Qwen2_5OmniThinkerConfig,
    Qwen2_5OmniThinkerForConditionalGeneration,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from triptych.models import pil_processor
from triptych.models.tiny.sizes import (
    TinyConfig,
    audio_sizes,
    feature_extractor,
    pixel_limits,
    save,
    text_sizes,
    vision_sizes,
    with_random_weights,
)
from triptych.models.tiny.tokenization import chat_template, media_ids, train_tokenizer

MEDIA_TOKENS = {
    "image_token": "<|IMAGE|>",
    "audio_token": "<|AUDIO|>",
    "video_token": "<|VIDEO|>",
    "vision_bos_token": "<|vision_bos|>",
    "vision_eos_token": "<|vision_eos|>",
    "audio_bos_token": "<|audio_bos|>",
    "audio_eos_token": "<|audio_eos|>",
}
CHAT_TEMPLATE = chat_template(
    {
        "image": "<|vision_bos|><|IMAGE|><|vision_eos|>",
        "video": "<|vision_bos|><|VIDEO|><|vision_eos|>",
        "audio": "<|audio_bos|><|AUDIO|><|audio_eos|>",
    }
)


def build_tiny(folder: str | Path, seed: int = 0, config: TinyConfig | None = None) -> Path:
    """Build model, tokenizer and processor from ``seed`` and save them to ``folder``."""
    config = config or TinyConfig()
    tokenizer = build_tokenizer()
    return save(folder, build_thinker(tokenizer, config, seed), build_processor(tokenizer, config))


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE with Qwen2.5-Omni's special tokens, trained on what the clips can say."""
    return train_tokenizer(MEDIA_TOKENS)


def build_processor(tokenizer: PreTrainedTokenizerFast, config: TinyConfig) -> Any:
    """The real processor with small limits."""
    size = pixel_limits(config)
    return pil_processor.OmniProcessor(
        image_processor=Qwen2VLImageProcessorPil(size=size),
        video_processor=pil_processor.Qwen2VLVideoProcessor(size=size),
        feature_extractor=feature_extractor(config),
        tokenizer=tokenizer,
        chat_template=CHAT_TEMPLATE,
    )


def build_thinker(
    tokenizer: PreTrainedTokenizerFast, config: TinyConfig, seed: int
) -> Qwen2_5OmniThinkerForConditionalGeneration:
    """Random weights from ``seed``."""
    thinker_config = Qwen2_5OmniThinkerConfig(
        audio_config={
            **audio_sizes(config),
            "n_window": 50,
            "max_source_positions": 256,
            "output_dim": config.hidden_size,
        },
        vision_config=vision_sizes(config),
        text_config=text_sizes(tokenizer, config),
        initializer_range=config.initializer_range,
        **media_ids(tokenizer, MEDIA_TOKENS),
    )
    thinker: Qwen2_5OmniThinkerForConditionalGeneration = with_random_weights(
        Qwen2_5OmniThinkerForConditionalGeneration, thinker_config, tokenizer, seed
    )
    return thinker
