"""A toy-size Qwen3-VL."""

from pathlib import Path
from typing import Any

from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen3VLForConditionalGeneration,
    Qwen3VLMoeForConditionalGeneration,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from triptych.models import pil_processor
from triptych.models.tiny import qwen3
from triptych.models.tiny.qwen2_5_vl import CHAT_TEMPLATE, MEDIA_TOKENS
from triptych.models.tiny.qwen3 import PATCH, interleaved_text_sizes, vision_sizes
from triptych.models.tiny.sizes import TinyConfig, pixel_limits, save, with_random_weights
from triptych.models.tiny.tokenization import media_ids, train_tokenizer


def build_tiny_qwen3_vl(
    folder: str | Path, seed: int = 0, config: TinyConfig | None = None, *, experts: bool = False
) -> Path:
    """Build model, tokenizer and processor from ``seed`` and save them to ``folder``.

    With `experts` its layers have four of them, two of which read a token.
    """
    config = config or TinyConfig()
    tokenizer = train_tokenizer(MEDIA_TOKENS)
    return save(
        folder,
        _build_model(tokenizer, config, seed, experts=experts),
        _build_processor(tokenizer, config),
    )


def _build_processor(tokenizer: PreTrainedTokenizerFast, config: TinyConfig) -> Any:
    size = pixel_limits(config)
    # The limits of a video are those of all its frames.
    in_time = {**size, "longest_edge": 8 * size["longest_edge"]}
    return pil_processor.VL3Processor(
        image_processor=Qwen2VLImageProcessorPil(size=size, **PATCH),
        tokenizer=tokenizer,
        video_processor=pil_processor.Qwen3VLVideoProcessor(size=in_time, **PATCH),
        chat_template=CHAT_TEMPLATE,
    )


def _build_model(
    tokenizer: PreTrainedTokenizerFast, config: TinyConfig, seed: int, *, experts: bool
) -> PreTrainedModel:
    text = {**interleaved_text_sizes(tokenizer, config), "bos_token_id": None}
    kind: Any = Qwen3VLForConditionalGeneration
    if experts:
        kind, text = Qwen3VLMoeForConditionalGeneration, {**text, **qwen3.experts(config)}
    model_config = kind.config_class(
        vision_config=vision_sizes(config),
        text_config=text,
        **media_ids(tokenizer, MEDIA_TOKENS),
    )
    model: PreTrainedModel = with_random_weights(kind, model_config, tokenizer, seed)
    return model
