"""Loading a model with its text decoder in 4 or 8 bits, for less memory; bitsandbytes does it.

Quantised weights cannot be trained; an adapter beside them can (QLoRA, arXiv 2305.14314). Head and
media encoders stay as they are.
"""

import importlib
import logging
from enum import StrEnum
from typing import Any

import torch
from torch import nn
from transformers import BitsAndBytesConfig

from triptych.errors import ConfigError
from triptych.models.families import Family

# What bitsandbytes says although nothing is wrong: for each layer and token, and whenever anything
# (PEFT, too) imports it on certain CPUs.
_UNSAID = {
    "bitsandbytes.autograd._functions": "MatMul8bitLt: inputs will be cast",
    "bitsandbytes.backends.cpu.ops": "Failed to load CPU gemm_4bit_forward",
}


def _quiet(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith(_UNSAID[record.name])


for _logger in _UNSAID:
    logging.getLogger(_logger).addFilter(_quiet)


class Quantize(StrEnum):
    """How the weights of the text decoder are held."""

    NONE = "none"
    """As they are."""
    FOUR_BIT = "4bit"
    """NormalFloat of 4 bits, its scales quantised in turn; computed with in the model's dtype."""
    EIGHT_BIT = "8bit"
    """Integers of 8 bits, computed with as such; large features stay in 16 bits (LLM.int8)."""


def loading_keywords(quantize: Quantize, family: Family, dtype: torch.dtype) -> dict[str, Any]:
    """What a family's loader has to be told besides.

    Raises:
        ConfigError: bitsandbytes is not installed.
    """
    if quantize is Quantize.NONE:
        return {}
    try:
        importlib.import_module("bitsandbytes")
    except ImportError as error:
        raise ConfigError(
            f"quantize: {quantize} needs bitsandbytes ({error}); pip install 'triptych[quantized]'"
        ) from error
    return {
        "quantization_config": BitsAndBytesConfig(
            load_in_4bit=quantize is Quantize.FOUR_BIT,
            load_in_8bit=quantize is Quantize.EIGHT_BIT,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
            llm_int8_skip_modules=["lm_head", *family.towers.values()],
        )
    }


def keep_trainable(thinker: nn.Module) -> None:
    """Have bitsandbytes leave weights in the layout that adapters beside them can be trained in.

    On a CPU with AVX-512 for bfloat16 the first forward without gradients, a rollout, would pack
    weights of 4 bits for inference, for good: the next update then ends in an error of autograd.
    """
    modules: list[Any] = list(thinker.modules())
    for module in modules:
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
