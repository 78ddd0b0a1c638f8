"""What the toy models of the Qwen3 series have in common."""

from typing import Any

from transformers import PreTrainedTokenizerFast
from transformers.image_utils import IMAGENET_STANDARD_MEAN, IMAGENET_STANDARD_STD

from triptych.models.tiny.sizes import TinyConfig, text_sizes

PATCH = {
    "patch_size": 16,
    "image_mean": IMAGENET_STANDARD_MEAN,
    "image_std": IMAGENET_STANDARD_STD,
}
"""How image and video processors make patches."""


def vision_sizes(config: TinyConfig) -> dict[str, Any]:
    """The config of the vision tower. Its first layers go to the first decoder layers."""
    return {
        "depth": config.tower_layers,
        "hidden_size": config.tower_size,
        "intermediate_size": config.tower_size * 2,
        "num_heads": 4,
        "out_hidden_size": config.hidden_size,
        "num_position_embeddings": 16,
        "deepstack_visual_indexes": list(range(config.tower_layers)),
        "initializer_range": config.initializer_range,
    }


def experts(config: TinyConfig) -> dict[str, int]:
    """What the config of a text decoder says besides, where its layers have experts."""
    return {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": config.hidden_size}


def interleaved_text_sizes(
    tokenizer: PreTrainedTokenizerFast, config: TinyConfig
) -> dict[str, Any]:
    """The config of the text decoder; the three axes of its rope take turns."""
    sizes = text_sizes(tokenizer, config)
    head = config.hidden_size // config.num_heads
    section = [head // 2 - 2 * (head // 6), head // 6, head // 6]
    rope = {**sizes["rope_parameters"], "mrope_section": section, "mrope_interleaved": True}
    return {**sizes, "head_dim": head, "rope_parameters": rope}
