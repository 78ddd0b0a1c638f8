"""Qwen3-VL as a mixture of experts (30B-A3B, 235B-A22B): otherwise what the dense models are."""

from pathlib import Path
from typing import ClassVar

from triptych.models.families.qwen3_vl import Qwen3VL


class Qwen3VLMoe(Qwen3VL):
    """The vision-language models of the Qwen3 series that have experts."""

    name: ClassVar[str] = "qwen3_vl_moe"
    hub_ids: ClassVar[tuple[str, ...]] = (
        "Qwen/Qwen3-VL-30B-A3B-Instruct",
        "Qwen/Qwen3-VL-235B-A22B-Instruct",
    )
    model_types: ClassVar[frozenset[str]] = frozenset({"qwen3_vl_moe"})
    thinker_class: ClassVar[str] = "Qwen3VLMoeForConditionalGeneration"

    def build_tiny(self, folder: str | Path, seed: int = 0) -> Path:
        from triptych.models.tiny.qwen3_vl import build_tiny_qwen3_vl

        return build_tiny_qwen3_vl(folder, seed, experts=True)
