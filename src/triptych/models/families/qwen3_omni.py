"""Qwen3-Omni (30B-A3B): the thinker, a mixture of experts that reads text, images, video and audio.

It is called as Qwen2.5-Omni is. What differs: positions in time are fractional, the first decoder
layers read images and videos too (DeepStack), and in turns of a video and its sound each token
stands at its own moment.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from transformers import PreTrainedModel

from triptych.data.media import Audio
from triptych.models.families.base import EncodedPrompt
from triptych.models.families.qwen2_5_omni import Qwen25Omni, interleave


class Qwen3Omni(Qwen25Omni):
    """The Qwen3-Omni thinker, from a full checkpoint or on its own."""

    name: ClassVar[str] = "qwen3_omni"
    hub_ids: ClassVar[tuple[str, ...]] = (
        "Qwen/Qwen3-Omni-30B-A3B-Instruct",
        "Qwen/Qwen3-Omni-30B-A3B-Thinking",
    )
    model_types: ClassVar[frozenset[str]] = frozenset({"qwen3_omni_moe", "qwen3_omni_moe_thinker"})
    thinker_class: ClassVar[str] = "Qwen3OmniMoeThinkerForConditionalGeneration"
    processor_class: ClassVar[str] = "Qwen3OmniMoeProcessor"

    def build_tiny(self, folder: str | Path, seed: int = 0) -> Path:
        from triptych.models.tiny.qwen3_omni import build_tiny_qwen3_omni

        return build_tiny_qwen3_omni(folder, seed)

    def audio_options(self, processor: Any, audios: Sequence[Audio]) -> dict[str, int]:
        """None: its processor pads to the longest clip, whatever its length, and cuts nothing."""
        return {}

    def embed_media(
        self, thinker: PreTrainedModel, kind: str, features: Mapping[str, Tensor]
    ) -> Tensor:
        if kind != "audio":
            return super().embed_media(thinker, kind, features)
        # The tower pads all pieces of sound to the longest, and its convolutions see that: what is
        # shorter than a piece must not depend on what else there is.
        lengths = features["feature_attention_mask"].sum(-1).tolist()
        if len(lengths) == 1 or min(lengths) >= 2 * thinker.config.audio_config.n_window:
            return super().embed_media(thinker, kind, features)
        alone = [
            {name: states[i : i + 1, ..., :length] for name, states in features.items()}
            for i, length in enumerate(lengths)
        ]
        return torch.cat([super(Qwen3Omni, self).embed_media(thinker, kind, one) for one in alone])

    def interleave(self, thinker: PreTrainedModel, prompt: EncodedPrompt) -> EncodedPrompt:
        """Tokens by their moments, which are compared in fp32 as in the model's own rope index."""
        config, features = thinker.config, prompt.features
        # The index says where each video begins, whatever the order of what is inside.
        ids = interleave(
            prompt.input_ids_P.tolist(),
            features,
            config,
            lambda video, sound, _: [(len(video), sound)],
        )
        result = replace(prompt, input_ids_P=torch.tensor(ids), with_sound=True)
        positions_3P, _ = self.positions(thinker, result)
        place = 0
        for grid, step in zip(
            features["video_grid_thw"], features["video_second_per_grid"], strict=True
        ):
            first = ids.index(config.video_token_id, place)
            place = ids.index(config.audio_end_token_id, first)
            begin = positions_3P[0, first - 1] + 1
            frames, video = int(grid[0]), ids[first:place].count(config.video_token_id)
            times = torch.arange(frames) * step.float() * config.position_id_per_seconds + begin
            moments = torch.cat(
                [
                    times.repeat_interleave(video // frames),
                    torch.arange(place - first - video) + begin,
                ]
            )
            order = moments.argsort(stable=True)  # video first where both come at once
            result.input_ids_P[first:place] = result.input_ids_P[first:place][order]
        return result
