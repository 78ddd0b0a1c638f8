"""Model families, one file each. To add one: write the file and name it here."""

from triptych.errors import ModelError
from triptych.models.families.base import Family
from triptych.models.families.phi4_multimodal import Phi4Multimodal
from triptych.models.families.qwen2_5_omni import Qwen25Omni
from triptych.models.families.qwen2_5_vl import Qwen25VL
from triptych.models.families.qwen2_audio import Qwen2Audio
from triptych.models.families.qwen3_omni import Qwen3Omni
from triptych.models.families.qwen3_vl import Qwen3VL
from triptych.models.families.qwen3_vl_moe import Qwen3VLMoe

FAMILIES: tuple[Family, ...] = (
    Qwen25Omni(),
    Qwen3Omni(),
    Qwen25VL(),
    Qwen3VL(),
    Qwen3VLMoe(),
    Qwen2Audio(),
    Phi4Multimodal(),
)


def family_for(model_type: str) -> Family:
    """The family that loads ``model_type``; ModelError lists what is supported."""
    for family in FAMILIES:
        if model_type in family.model_types:
            return family
    supported = ", ".join(sorted(t for family in FAMILIES for t in family.model_types))
    raise ModelError(f"model type {model_type!r} is not supported; supported: {supported}")


__all__ = ["FAMILIES", "Family", "family_for"]
