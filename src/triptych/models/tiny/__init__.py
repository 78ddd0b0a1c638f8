"""Toy-size models, built offline: the real architectures, processors and chat layouts.

About a million parameters, random weights, and a byte-level BPE tokenizer trained on the texts of
the synthetic clips. They are saved as ordinary model folders, so that everything which runs on
them runs on ``Qwen/Qwen2.5-Omni-7B`` too. One file for each family; Qwen2.5-Omni is the default.
"""

from triptych.models.tiny.qwen2_5_omni import (
    CHAT_TEMPLATE,
    MEDIA_TOKENS,
    build_processor,
    build_thinker,
    build_tiny,
    build_tokenizer,
)
from triptych.models.tiny.sizes import TinyConfig
from triptych.models.tiny.tokenization import TURN_TOKENS

__all__ = [
    "CHAT_TEMPLATE",
    "MEDIA_TOKENS",
    "TURN_TOKENS",
    "TinyConfig",
    "build_processor",
    "build_thinker",
    "build_tiny",
    "build_tokenizer",
]
