"""The processors of the model families where torchvision is not installed.

transformers' own video processor needs torchvision, which has no build for every machine. The
classes here carry the official names, so that a folder saved with them loads with the official
ones as soon as torchvision is there, and the other way round.

Shapes: T frames, H and W pixels, C channels.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from PIL import Image
from transformers import (
    AutoTokenizer,
    Phi4MultimodalFeatureExtractor,
    Phi4MultimodalProcessor,
    ProcessorMixin,
    Qwen2_5_VLProcessor,
    Qwen2_5OmniProcessor,
    Qwen3OmniMoeProcessor,
    Qwen3VLProcessor,
    WhisperFeatureExtractor,
)
from transformers.feature_extraction_utils import BatchFeature
from transformers.image_utils import (
    IMAGENET_STANDARD_MEAN,
    IMAGENET_STANDARD_STD,
    OPENAI_CLIP_MEAN,
    OPENAI_CLIP_STD,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import (
    Qwen2VLImageProcessorPil,
    smart_resize,
)
from transformers.models.qwen3_vl.video_processing_qwen3_vl import smart_resize as resize_in_time
from transformers.video_processing_utils import VideoProcessorMixin
from transformers.video_utils import VideoMetadata

from triptych.models.pil_phi4_multimodal import Phi4MultimodalImageProcessor


class Qwen2VLVideoProcessor(VideoProcessorMixin):
    """Frames -> flat patches, as the official class of the same name, by PIL and numpy."""

    model_input_names = ("pixel_values_videos", "video_grid_thw")
    defaults: ClassVar[Mapping[str, Any]] = {
        "size": {"shortest_edge": 128 * 28 * 28, "longest_edge": 768 * 28 * 28},
        "patch_size": 14,
        "image_mean": OPENAI_CLIP_MEAN,
        "image_std": OPENAI_CLIP_STD,
    }

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        # A processor_config.json may hold nulls: a missing and a null value mean the same.
        given = {**self.defaults, **{name: x for name, x in kwargs.items() if x is not None}}
        self.size = dict(given["size"])
        # The names that Qwen2.5's own folders still use.
        for edge, name in (("shortest_edge", "min_pixels"), ("longest_edge", "max_pixels")):
            if (pixels := kwargs.get(name)) is not None:
                self.size[edge] = int(pixels)
        self.patch_size = int(given["patch_size"])
        self.temporal_patch_size = int(given.get("temporal_patch_size", 2))
        self.merge_size = int(given.get("merge_size", 2))
        self.image_mean = list(given["image_mean"])
        self.image_std = list(given["image_std"])

    def __call__(
        self,
        videos: list[NDArray[np.uint8]],
        size: dict[str, int] | None = None,
        video_metadata: Sequence[VideoMetadata] | None = None,
        **_: Any,
    ) -> BatchFeature:
        """Videos (T, H, W, 3) uint8 -> ``pixel_values_videos`` and ``video_grid_thw``.

        Metadata, where given, are passed on to the processor that asked.
        """
        limits = size or self.size
        patches, grids = zip(*(self._patches(video, limits) for video in videos), strict=True)
        metadata = {} if video_metadata is None else {"video_metadata": video_metadata}
        return BatchFeature(
            {
                "pixel_values_videos": torch.from_numpy(np.concatenate(patches)),
                "video_grid_thw": torch.tensor(grids),
                **metadata,
            }
        )

    def _frame_size(self, shape: tuple[int, ...], limits: dict[str, int]) -> tuple[int, int]:
        """To which height and width the frames of a video (T, H, W, C) are resized."""
        _, height, width, _ = shape
        size: tuple[int, int] = smart_resize(
            height,
            width,
            factor=self.patch_size * self.merge_size,
            min_pixels=limits["shortest_edge"],
            max_pixels=limits["longest_edge"],
        )
        return size

    def _patches(
        self, frames_THWC: NDArray[np.uint8], limits: dict[str, int]
    ) -> tuple[NDArray[np.float32], tuple[int, int, int]]:
        p, m, t = self.patch_size, self.merge_size, self.temporal_patch_size
        height, width = self._frame_size(frames_THWC.shape, limits)
        resized = np.stack([_resize(frame, height, width) for frame in frames_THWC])
        mean, std = np.array([self.image_mean, self.image_std], dtype=np.float32)
        pixels = (resized.astype(np.float32) / 255 - mean) / std
        if missing := -len(pixels) % t:
            pixels = np.concatenate([pixels, pixels[-1:].repeat(missing, axis=0)])
        grid = (len(pixels) // t, height // p, width // p)
        blocks = pixels.transpose(0, 3, 1, 2).reshape(
            grid[0], t, 3, grid[1] // m, m, p, grid[2] // m, m, p
        )
        # The order in which the vision tower merges m x m neighbours: patches of one merged
        # token are adjacent, pixels of one patch run channel, time, row, column.
        flat = blocks.transpose(0, 3, 6, 4, 7, 2, 1, 5, 8)
        return flat.reshape(grid[0] * grid[1] * grid[2], 3 * t * p * p), grid


class Qwen3VLVideoProcessor(Qwen2VLVideoProcessor):
    """The same for the official class of this name: its limits hold for all frames together."""

    defaults: ClassVar[Mapping[str, Any]] = {
        "size": {"shortest_edge": 128 * 32 * 32, "longest_edge": 768 * 32 * 32},
        "patch_size": 16,
        "image_mean": IMAGENET_STANDARD_MEAN,
        "image_std": IMAGENET_STANDARD_STD,
    }

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.cap_pixels_per_frame = bool(kwargs.get("cap_pixels_per_frame"))
        self.max_video_tokens = int(kwargs.get("max_video_tokens") or 768)

    def _frame_size(self, shape: tuple[int, ...], limits: dict[str, int]) -> tuple[int, int]:
        frames, height, width, _ = shape
        factor = self.patch_size * self.merge_size
        least, most = limits["shortest_edge"], limits["longest_edge"]
        if self.cap_pixels_per_frame:
            cap = min(self.max_video_tokens * factor**2, most // frames)
            most = max(cap, int(least * 1.05)) * frames
        size: tuple[int, int] = resize_in_time(
            frames,
            height,
            width,
            temporal_factor=self.temporal_patch_size,
            factor=factor,
            min_pixels=least,
            max_pixels=most,
        )
        return size


def _resize(frame_HWC: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    if frame_HWC.shape[:2] == (height, width):
        return frame_HWC
    return np.asarray(Image.fromarray(frame_HWC).resize((width, height), Image.Resampling.BICUBIC))


class _AnyVideoProcessor(ProcessorMixin):
    """A processor minus the part of its class check that needs torchvision.

    `parts` are the classes of what it is made of, in the order of the official constructor.
    """

    parts: ClassVar[tuple[Any, ...]]

    def check_argument_for_proper_class(self, argument_name: str, argument: Any) -> Any:
        if argument_name == "video_processor" and isinstance(argument, VideoProcessorMixin):
            return VideoProcessorMixin
        return super().check_argument_for_proper_class(argument_name, argument)

    @classmethod
    def _get_arguments_from_pretrained(
        cls, pretrained_model_name_or_path: Any, processor_dict: Any = None, **kwargs: Any
    ) -> list[Any]:
        path = pretrained_model_name_or_path
        return [part.from_pretrained(path, **kwargs) for part in cls.parts]


class OmniProcessor(_AnyVideoProcessor, Qwen2_5OmniProcessor):
    """The official processor of Qwen2.5-Omni."""

    parts = (
        Qwen2VLImageProcessorPil,
        Qwen2VLVideoProcessor,
        WhisperFeatureExtractor,
        AutoTokenizer,
    )


class VLProcessor(_AnyVideoProcessor, Qwen2_5_VLProcessor):
    """The official processor of Qwen2.5-VL; it reads a video's rate from its metadata."""

    parts = (Qwen2VLImageProcessorPil, AutoTokenizer, Qwen2VLVideoProcessor)


class Omni3Processor(_AnyVideoProcessor, Qwen3OmniMoeProcessor):
    """The official processor of Qwen3-Omni."""

    parts = OmniProcessor.parts


class VL3Processor(_AnyVideoProcessor, Qwen3VLProcessor):
    """The official processor of Qwen3-VL; it writes the time of each picture into the prompt."""

    parts = (Qwen2VLImageProcessorPil, AutoTokenizer, Qwen3VLVideoProcessor)


class Phi4Processor(_AnyVideoProcessor, Phi4MultimodalProcessor):
    """The official processor of Phi-4-multimodal."""

    parts = (Phi4MultimodalImageProcessor, Phi4MultimodalFeatureExtractor, AutoTokenizer)


PROCESSORS: Mapping[str, type[ProcessorMixin]] = {
    official.__name__: ours
    for official, ours in (
        (Qwen2_5OmniProcessor, OmniProcessor),
        (Qwen2_5_VLProcessor, VLProcessor),
        (Qwen3OmniMoeProcessor, Omni3Processor),
        (Qwen3VLProcessor, VL3Processor),
        (Phi4MultimodalProcessor, Phi4Processor),
    )
}
"""By the names of the official classes."""

for _name, _ours in PROCESSORS.items():
    # The names go into processor_config.json, where the official loader looks them up.
    _ours.__name__ = _name


def load_without_torchvision(path: str, name: str) -> Any:
    """The processor saved at ``path`` (hub id or folder), by the name of its official class.

    One that is not among ours reads no pictures, and is used as it is.
    """
    kind = PROCESSORS.get(name) or getattr(transformers, name)
    return kind.from_pretrained(path)
