"""Qwen2.5-VL (3B, 7B, 32B, 72B): text, images and video, but no audio.

It shares its vision tower and text decoder with Qwen2.5-Omni. What differs are the names of the
placeholders, the step of a position in time (from the vision tower's config), and that the model's
own index asks which tokens stand for which kind of media.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, cast

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.utils import is_torchvision_available
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
    model_types: ClassVar[frozenset[str]] = frozenset({"qwen2_5_vl"})
    towers: ClassVar[Mapping[str, str]] = {"vision": "model.visual"}
    media_inputs: ClassVar[Mapping[str, MediaInput]] = {
        "image": MediaInput("vision", ("pixel_values", "image_grid_thw"), "image_token_id"),
        "video": MediaInput("vision", ("pixel_values_videos", "video_grid_thw"), "video_token_id"),
    }

    def load_thinker(self, path: str, *, dtype: torch.dtype) -> PreTrainedModel:
        from transformers import Qwen2_5_VLForConditionalGeneration as Model

        return cast(
            PreTrainedModel, Model.from_pretrained(path, dtype=dtype, attn_implementation="sdpa")
        )

    def load_processor(self, path: str) -> Any:
        if is_torchvision_available():
            from transformers import Qwen2_5_VLProcessor

            return Qwen2_5_VLProcessor.from_pretrained(path)
        from triptych.models.pil_processor import VLProcessor, load_without_torchvision

        return load_without_torchvision(path, VLProcessor)

    def encode(
        self, processor: Any, messages: list[dict[str, Any]], media: DecodedMedia
    ) -> EncodedPrompt:
        text = processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        if not media.images and not media.videos:
            ids = processor.tokenizer(text, return_tensors="pt")["input_ids"]
            return EncodedPrompt(ids[0])
        # Without metadata the processor would take every clip for one of 24 frames a second.
        metadata = {"video_metadata": [_metadata(video) for video in media.videos]}
        outputs = processor(
            text=[text],
            images=list(media.images) or None,
            videos=[video.frames for video in media.videos] or None,
            videos_kwargs=metadata if media.videos else {},
            return_tensors="pt",
        )
        features = {key: outputs[key] for key in _FEATURES if key in outputs}
        return EncodedPrompt(outputs["input_ids"][0], features)

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

    def embed_media(
        self, thinker: PreTrainedModel, kind: str, features: Mapping[str, Tensor]
    ) -> Tensor:
        output = getattr(thinker, f"get_{kind}_features")(**features, return_dict=True)
        return torch.cat(list(output.pooler_output))  # one tensor for each image or video

    def media_token_ids(self, thinker: PreTrainedModel) -> tuple[int, ...]:
        config = thinker.config
        return (
            config.vision_start_token_id,
            config.vision_end_token_id,
            config.image_token_id,
            config.video_token_id,
        )


def _metadata(video: Video) -> VideoMetadata:
    """What the processor derives the seconds of a temporal patch from."""
    count = len(video.frames)
    return VideoMetadata(total_num_frames=count, fps=video.fps, frames_indices=list(range(count)))
