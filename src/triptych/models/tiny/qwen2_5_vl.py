"""A toy-size Qwen2.5-VL."""

from pathlib import Path
from typing import Any

from transformers import (
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from triptych.models import pil_processor
from triptych.models.tiny.sizes import (
    TinyConfig,
    pixel_limits,
    save,
    text_sizes,
    vision_sizes,
    with_random_weights,
)
from triptych.models.tiny.tokenization import chat_template, media_ids, train_tokenizer

MEDIA_TOKENS = {
    "image_token": "<|image_pad|>",
    "video_token": "<|video_pad|>",
    "vision_bos_token": "<|vision_start|>",
    "vision_eos_token": "<|vision_end|>",
}
CHAT_TEMPLATE = chat_template(
    {
        "image": "<|vision_start|><|image_pad|><|vision_end|>",
        "video": "<|vision_start|><|video_pad|><|vision_end|>",
    }
)
POSITIONS_PER_SECOND = 2  # as in the published models


def build_tiny_qwen2_5_vl(
    folder: str | Path, seed: int = 0, config: TinyConfig | None = None
) -> Path:
    """Build model, tokenizer and processor from ``seed`` and save them to ``folder``."""
    config = config or TinyConfig()
    tokenizer = train_tokenizer(MEDIA_TOKENS)
    return save(folder, _build_model(tokenizer, config, seed), _build_processor(tokenizer, config))


def _build_processor(tokenizer: PreTrainedTokenizerFast, config: TinyConfig) -> Any:
    size = pixel_limits(config)
    return pil_processor.VLProcessor(
        image_processor=Qwen2VLImageProcessorPil(size=size),
        tokenizer=tokenizer,
        video_processor=pil_processor.Qwen2VLVideoProcessor(size=size),
        chat_template=CHAT_TEMPLATE,
    )


def _build_model(
    tokenizer: PreTrainedTokenizerFast, config: TinyConfig, seed: int
) -> Qwen2_5_VLForConditionalGeneration:
    model_config = Qwen2_5_VLConfig(
        vision_config={**vision_sizes(config), "tokens_per_second": POSITIONS_PER_SECOND},
        text_config={**text_sizes(tokenizer, config), "bos_token_id": None},
        **media_ids(tokenizer, MEDIA_TOKENS),
    )
    return with_random_weights(Qwen2_5_VLForConditionalGeneration, model_config, tokenizer, seed)
