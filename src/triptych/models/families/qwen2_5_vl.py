"""Qwen2.5-VL (3B, 7B, 32B, 72B): text, images and video, but no audio.

It shares its vision tower and text decoder with Qwen2.5-Omni. What differs are the names of the
placeholders, the step of a position in time (from the vision tower's config), and that the model's
own index asks which tokens stand for which kind of media.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel
from transformers.video_utils import VideoMetadata

from triptych.data.media import Video
from triptych.models.families.base import DecodedMedia, EncodedPrompt, Family, MediaInput

_FEATURES = (
    "pixel_values",
    "image_grid_thw",
    "pixel_values_videos",
    "video_grid_thw",
    "second_per_grid_ts",
)
_IMAGE, _VIDEO = 1, 2  # what the rope index calls them; text is 0


class Qwen25VL(Family):
    """The vision-language models of the Qwen2.5 series."""

    name: ClassVar[str] = "qwen2_5_vl"
    hub_ids: ClassVar[tuple[str, ...]] = (
        "Qwen/Qwen2.5-VL-3B-Instruct",
        "Qwen/Qwen2.5-VL-7B-Instruct",
        "Qwen/Qwen2.5-VL-32B-Instruct",
        "Qwen/Qwen2.5-VL-72B-Instruct",
    )
    model_types: ClassVar[frozenset[str]] = frozenset({"qwen2_5_vl"})
    thinker_class: ClassVar[str] = "Qwen2_5_VLForConditionalGeneration"
    processor_class: ClassVar[str] = "Qwen2_5_VLProcessor"
    towers: ClassVar[Mapping[str, str]] = {"vision": "model.visual"}
    media_inputs: ClassVar[Mapping[str, MediaInput]] = {
        "image": MediaInput("vision", ("pixel_values", "image_grid_thw"), "image_token_id"),
        "video": MediaInput("vision", ("pixel_values_videos", "video_grid_thw"), "video_token_id"),
    }

    def build_tiny(self, folder: str | Path, seed: int = 0) -> Path:
        from triptych.models.tiny.qwen2_5_vl import build_tiny_qwen2_5_vl

        return build_tiny_qwen2_5_vl(folder, seed)

    def encode(
        self, processor: Any, messages: list[dict[str, Any]], media: DecodedMedia
    ) -> EncodedPrompt:
        text = self.prompt_text(processor, messages)
        if not media.images and not media.videos:
            ids = processor.tokenizer(text, return_tensors="pt")["input_ids"]
            return EncodedPrompt(ids[0])
        outputs = processor(
            text=[text],
            images=list(media.images) or None,
            videos=[self.frames(video) for video in media.videos] or None,
            videos_kwargs=self.video_options(media.videos) if media.videos else {},
            return_tensors="pt",
        )
        features = {key: outputs[key] for key in _FEATURES if key in outputs}
        return EncodedPrompt(outputs["input_ids"][0], features)

    def prompt_text(self, processor: Any, messages: list[dict[str, Any]]) -> str:
        """The prompt with one placeholder for each media item."""
        return cast(
            str,
            processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True),
        )

    def frames(self, video: Video) -> NDArray[np.uint8]:
        """The frames (T, H, W, 3) that the processor is given."""
        return video.frames

    def video_options(self, videos: Sequence[Video]) -> dict[str, Any]:
        """What the processor is told, apart from the frames."""
        # Without metadata it would take every clip for one of 24 frames a second.
        return {"video_metadata": [_metadata(video) for video in videos]}

    def positions(self, thinker: PreTrainedModel, prompt: EncodedPrompt) -> tuple[Tensor, Tensor]:
        features, ids_BP = prompt.features, prompt.input_ids_P[None]
        types_BP = torch.zeros_like(ids_BP)
        types_BP[ids_BP == thinker.config.image_token_id] = _IMAGE
        types_BP[ids_BP == thinker.config.video_token_id] = _VIDEO
        positions_3BP, _ = cast(Any, thinker).model.get_rope_index(
            ids_BP,
            mm_token_type_ids=types_BP,
            image_grid_thw=features.get("image_grid_thw"),
            video_grid_thw=features.get("video_grid_thw"),
            second_per_grid_ts=features.get("second_per_grid_ts"),
        )
        # Behind the last token, as in the model's own forward and `generate`. It need not have the
        # highest position: text does not wait for the last moment of a long video.
        return positions_3BP[:, 0], positions_3BP[0, 0, -1] + 1


def _metadata(video: Video) -> VideoMetadata:
    """What the processor derives the seconds of a temporal patch from."""
    count = len(video.frames)
    return VideoMetadata(total_num_frames=count, fps=video.fps, frames_indices=list(range(count)))
