"""Qwen3-VL (2B, 4B, 8B, 32B): text, images and video, but no audio.

A video is read as pictures, each behind the time at which it was taken, in words:
``<0.2 seconds><|vision_start|> picture <|vision_end|>``. The first decoder layers read images and
videos, too (DeepStack).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from triptych.data.media import Video
from triptych.models.families.qwen2_5_vl import Qwen25VL


class Qwen3VL(Qwen25VL):
    """The dense vision-language models of the Qwen3 series."""

    name: ClassVar[str] = "qwen3_vl"
    hub_ids: ClassVar[tuple[str, ...]] = (
        "Qwen/Qwen3-VL-2B-Instruct",
        "Qwen/Qwen3-VL-4B-Instruct",
        "Qwen/Qwen3-VL-8B-Instruct",
        "Qwen/Qwen3-VL-32B-Instruct",
    )
    model_types: ClassVar[frozenset[str]] = frozenset({"qwen3_vl"})
    thinker_class: ClassVar[str] = "Qwen3VLForConditionalGeneration"
    processor_class: ClassVar[str] = "Qwen3VLProcessor"

    def build_tiny(self, folder: str | Path, seed: int = 0) -> Path:
        from triptych.models.tiny.qwen3_vl import build_tiny_qwen3_vl

        return build_tiny_qwen3_vl(folder, seed)

    def frames(self, video: Video) -> NDArray[np.uint8]:
        # Its processor needs two; of an odd number it repeats the last one, too.
        return video.frames.repeat(2, axis=0) if len(video.frames) == 1 else video.frames

    def prompt_text(self, processor: Any, messages: list[dict[str, Any]]) -> str:
        """Without the chat template's brackets around a video: each picture of it has its own.

        The processor that the models were published with takes them away; later ones leave them,
        around the first time and behind the last picture.
        """
        text = super().prompt_text(processor, messages)
        start, video, end = (
            processor.vision_start_token,
            processor.video_token,
            processor.vision_end_token,
        )
        return text.replace(start + video + end, video)

    def video_options(self, videos: Sequence[Video]) -> dict[str, Any]:
        # Frames are sampled already.
        return {**super().video_options(videos), "do_sample_frames": False}
