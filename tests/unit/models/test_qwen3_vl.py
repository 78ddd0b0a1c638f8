"""What is its own in Qwen3-VL: a video is pictures with their times in words, and its limits are
those of all frames together."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.video_utils import VideoMetadata

from tests.subject import FamilyFolders
from triptych.data.feature_cache import FeatureCache
from triptych.data.media import MediaBudget, Video, decode_image, decode_video
from triptych.data.sample import Sample
from triptych.models import OmniModel
from triptych.models.families.base import DecodedMedia, EncodedPrompt
from triptych.models.pil_processor import Qwen3VLVideoProcessor
from triptych.models.prompt import PromptEncoder
from triptych.models.tiny.qwen3 import PATCH
from triptych.stages import build_messages

BUDGET = MediaBudget(fps=4.0)


@pytest.fixture
def model(family_folders: FamilyFolders) -> OmniModel:
    return OmniModel.from_pretrained(family_folders["qwen3_vl"], budget=BUDGET).eval()


def encode_video(model: OmniModel, frames: int, fps: float) -> EncodedPrompt:
    still = np.zeros((frames, 56, 56, 3), dtype=np.uint8)
    video = Video(still, fps, np.arange(frames) / fps, frames / fps)
    messages: list[dict[str, Any]] = [{"role": "user", "content": [{"type": "video"}]}]
    return model.family.encode(model.processor, messages, DecodedMedia(videos=[video]))


def test_a_prompt_is_what_the_official_call_gives(
    model: OmniModel, silent_samples: list[Sample]
) -> None:
    """Its chat template puts a video in brackets, which published models did not see."""
    sample, processor = silent_samples[0], model.processor
    image, clip = sample.media
    video = decode_video(clip.path, BUDGET)
    messages = build_messages(
        sample.question, sample.problem_type, sample.options, ["image", "video"]
    )
    text = processor.apply_chat_template(messages, add_generation_prompt=True)
    bracketed = "<|vision_start|><|video_pad|><|vision_end|>"
    assert bracketed in text
    count = len(video.frames)
    metadata = VideoMetadata(total_num_frames=count, fps=4.0, frames_indices=list(range(count)))
    official = processor(
        text=[text.replace(bracketed, "<|video_pad|>")],
        images=[decode_image(image.path, BUDGET)],
        videos=[video.frames],
        videos_kwargs={"video_metadata": [metadata], "do_sample_frames": False},
        return_tensors="pt",
    )
    prompt = model.encode(sample)
    assert prompt.input_ids.equal(official["input_ids"][0])
    for name, feature in prompt.features.items():
        assert feature.equal(official[name]), name


@pytest.mark.parametrize(
    ("frames", "fps", "times"),
    [(4, 4.0, ["0.1", "0.6"]), (6, 0.5, ["1.0", "5.0", "9.0"]), (3, 2.0, ["0.2", "1.0"]),
     (1, 2.0, ["0.0"])],
)  # fmt: skip
def test_each_picture_stands_behind_its_time(
    model: OmniModel, frames: int, fps: float, times: list[str]
) -> None:
    """The middle of its two frames; the last one is repeated where their number is odd."""
    prompt = encode_video(model, frames, fps)
    text = model.tokenizer.decode(prompt.input_ids_P)
    pictures = "".join(
        f"<{time} seconds><|vision_start|>{'<|video_pad|>' * 4}<|vision_end|>" for time in times
    )
    assert text.startswith(f"<|im_start|>user\n{pictures}<|im_end|>")
    positions, following = model.family.positions(model.thinker, prompt)
    here = prompt.input_ids_P == model.config.video_token_id
    assert len(positions[0][here].unique()) == len(times), "a picture has one moment"
    assert following == positions[0, -1] + 1 == positions.max() + 1


def test_the_disk_does_not_tear_a_token_that_reaches_into_a_video(
    model: OmniModel, silent_samples: list[Sample], tmp_path: Path
) -> None:
    """Text in front of a video and the sign before its time are one word to a tokenizer."""
    clip = silent_samples[0].model_copy(update={"media": silent_samples[0].media[1:]})
    texts = {"clean": "What?\n", "torn": "What?<", "joined": "What>"}

    def encoder(cache: FeatureCache | None = None) -> PromptEncoder:
        return PromptEncoder(
            model.thinker, model.processor, model.family, BUDGET, model.format,
            messages=ask, cache=cache,
        )  # fmt: skip

    def ask(sample: Sample) -> list[dict[str, Any]]:
        text = {"type": "text", "text": texts[sample.id]}
        return [{"role": "user", "content": [text, {"type": "video"}]}]

    cache = FeatureCache(tmp_path, 1 << 30)
    for name in (*texts, *reversed(texts)):
        sample = clip.model_copy(update={"id": name})
        assert encoder(cache).encode(sample).input_ids.equal(encoder().encode(sample).input_ids), (
            name
        )


def test_a_still_video_is_the_image_processors_image() -> None:
    size = {"shortest_edge": 64 * 64, "longest_edge": 160 * 160}
    in_time = {name: 2 * pixels for name, pixels in size.items()}  # of two frames
    for height, width in ((64, 64), (100, 70), (300, 200), (40, 50)):
        image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
        theirs = Qwen2VLImageProcessorPil(size=size, **PATCH)(images=[image], return_tensors="pt")
        ours = Qwen3VLVideoProcessor(size=in_time)([np.stack([image, image])])
        assert ours["video_grid_thw"].equal(theirs["image_grid_thw"])
        torch.testing.assert_close(
            ours["pixel_values_videos"], theirs["pixel_values"].float(), atol=2e-6, rtol=0
        )


def test_more_frames_are_smaller_frames() -> None:
    size = {"shortest_edge": 64 * 64, "longest_edge": 8 * 128 * 128}
    capped = Qwen3VLVideoProcessor(size=size, cap_pixels_per_frame=True, max_video_tokens=4)
    free = Qwen3VLVideoProcessor(size=size, cap_pixels_per_frame=None, max_video_tokens=None)
    shapes = []
    for processor in (free, capped):
        for count in (2, 8, 32):
            video = np.zeros((count, 256, 256, 3), dtype=np.uint8)
            grid = processor([video])["video_grid_thw"][0]
            shapes.append(tuple(grid.tolist()))
    assert shapes == [(1, 16, 16), (4, 8, 8), (16, 4, 4), (1, 4, 4), (4, 4, 4), (16, 4, 4)]


@pytest.mark.parametrize(("count", "height", "width"), [(4, 64, 64), (5, 90, 70), (2, 300, 200)])
def test_patches_equal_the_official_video_processor(count: int, height: int, width: int) -> None:
    pytest.importorskip("torchvision", reason="the official video processor needs torchvision")
    from transformers import Qwen3VLVideoProcessor as Official

    video = np.random.default_rng(0).integers(0, 256, (count, height, width, 3), dtype=np.uint8)
    size = {"shortest_edge": 64 * 64, "longest_edge": 8 * 160 * 160}
    ours = Qwen3VLVideoProcessor(size=size)([video])
    theirs = Official(size=size)(videos=[video], do_sample_frames=False, return_tensors="pt")
    assert ours["video_grid_thw"].equal(theirs["video_grid_thw"])
    tolerance = 1e-5 if (height, width) == (64, 64) else 2.5 / 255 / 0.5
    torch.testing.assert_close(
        ours["pixel_values_videos"], theirs["pixel_values_videos"], atol=tolerance, rtol=0
    )
