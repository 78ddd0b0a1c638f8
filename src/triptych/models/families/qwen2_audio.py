"""Qwen2-Audio (7B): text and sound, but no pictures.

Its decoder is an ordinary Qwen2, whose positions count tokens. The tower reads windows of 30
seconds, padded with silence; what is longer is refused.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.masking_utils import create_bidirectional_mask

from triptych.models.families.base import (
    DecodedMedia,
    EncodedPrompt,
    Family,
    MediaInput,
    check_length,
    counted_positions,
)

_FEATURES = ("input_features", "feature_attention_mask")


class Qwen2Audio(Family):
    """The audio-language models of the Qwen2 series."""

    name: ClassVar[str] = "qwen2_audio"
    hub_ids: ClassVar[tuple[str, ...]] = ("Qwen/Qwen2-Audio-7B-Instruct",)
    model_types: ClassVar[frozenset[str]] = frozenset({"qwen2_audio"})
    thinker_class: ClassVar[str] = "Qwen2AudioForConditionalGeneration"
    processor_class: ClassVar[str] = "Qwen2AudioProcessor"
    towers: ClassVar[Mapping[str, str]] = {"audio": "model.audio_tower"}
    projectors: ClassVar[Mapping[str, str]] = {"audio": "model.multi_modal_projector"}
    media_inputs: ClassVar[Mapping[str, MediaInput]] = {
        "audio": MediaInput("audio", _FEATURES, "audio_token_id"),
    }
    rope_axes: ClassVar[int] = 1
    towers_by_segment: ClassVar[frozenset[str]] = frozenset()

    def build_tiny(self, folder: str | Path, seed: int = 0) -> Path:
        from triptych.models.tiny.qwen2_audio import build_tiny_qwen2_audio

        return build_tiny_qwen2_audio(folder, seed)

    def encode(
        self, processor: Any, messages: list[dict[str, Any]], media: DecodedMedia
    ) -> EncodedPrompt:
        text = processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        if not media.audios:
            ids = processor.tokenizer(text, return_tensors="pt")["input_ids"]
            return EncodedPrompt(ids[0])
        check_length(processor.feature_extractor, media.audios)
        outputs = processor(
            text=[text], audio=[audio.samples for audio in media.audios], return_tensors="pt"
        )
        return EncodedPrompt(outputs["input_ids"][0], {name: outputs[name] for name in _FEATURES})

    def positions(self, thinker: PreTrainedModel, prompt: EncodedPrompt) -> tuple[Tensor, Tensor]:
        return counted_positions(prompt)

    def embed_media(
        self, thinker: PreTrainedModel, kind: str, features: Mapping[str, Tensor]
    ) -> Tensor:
        """As the model's own forward, which has no method for it."""
        model = cast(Any, thinker).model
        tower, mels = model.audio_tower, features["input_features"]
        lengths = features["feature_attention_mask"].sum(-1)
        read_N, made_N = tower._get_feat_extract_output_lengths(lengths)
        frames = torch.arange((mels.shape[-1] - 2) // 2 + 1, device=mels.device)
        mask = create_bidirectional_mask(
            config=tower.config,
            inputs_embeds=mels.new_zeros(len(mels), len(frames), 1, dtype=thinker.dtype),
            attention_mask=(frames < read_N[:, None]).long(),
        )
        states_NTH = model.multi_modal_projector(tower(mels, attention_mask=mask).last_hidden_state)
        places = torch.arange(states_NTH.shape[1], device=mels.device)
        states_MH: Tensor = states_NTH[places < made_N[:, None]]
        return states_MH
