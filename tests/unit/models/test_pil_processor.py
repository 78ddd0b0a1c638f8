"""Processing without torchvision must give what the official classes give."""

import numpy as np
import pytest
import torch
from transformers import WhisperFeatureExtractor
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from triptych.data.sample import Sample
from triptych.models import OmniModel
from triptych.models.pil_processor import Qwen2VLVideoProcessor

SIZE = {"shortest_edge": 56 * 56, "longest_edge": 140 * 140}


def frames(count: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(("height", "width"), [(56, 56), (90, 70), (300, 200), (30, 40)])
def test_a_still_video_is_the_image_processors_image(height: int, width: int) -> None:
    """transformers' own PIL image processor is the oracle: an image is a video of two equal
    frames."""
    (image,) = frames(1, height, width)
    theirs = Qwen2VLImageProcessorPil(size=SIZE)(images=[image], return_tensors="pt")
    ours = Qwen2VLVideoProcessor(size=SIZE)([np.stack([image, image])])
    assert ours["video_grid_thw"].equal(theirs["image_grid_thw"])
    torch.testing.assert_close(
        ours["pixel_values_videos"], theirs["pixel_values"].float(), atol=2e-6, rtol=0
    )


def test_time_runs_along_the_first_axis() -> None:
    video = frames(4, 56, 56)
    processor = Qwen2VLVideoProcessor(size=SIZE)
    whole = processor([video])["pixel_values_videos"]
    halves = [processor([half])["pixel_values_videos"] for half in (video[:2], video[2:])]
    assert whole.equal(torch.cat(halves))


def test_an_odd_frame_is_repeated() -> None:
    video = frames(3, 56, 56)
    padded = np.concatenate([video, video[-1:]])
    processor = Qwen2VLVideoProcessor(size=SIZE)
    assert processor([video])["pixel_values_videos"].equal(
        processor([padded])["pixel_values_videos"]
    )


@pytest.mark.parametrize(("count", "height", "width"), [(4, 56, 56), (5, 90, 70), (2, 300, 200)])
def test_patches_equal_the_official_video_processor(count: int, height: int, width: int) -> None:
    pytest.importorskip("torchvision", reason="the official video processor needs torchvision")
    from transformers import Qwen2VLVideoProcessor as Official

    video = frames(count, height, width)
    ours = Qwen2VLVideoProcessor(size=SIZE)([video])
    theirs = Official(size=SIZE)(videos=[video], return_tensors="pt")
    assert ours["video_grid_thw"].equal(theirs["video_grid_thw"])
    # Both interpolate bicubically with antialiasing; one rounds to bytes where the other does not.
    tolerance = 1e-5 if (height, width) == (56, 56) else 2.5 / 255 / 0.26
    torch.testing.assert_close(
        ours["pixel_values_videos"], theirs["pixel_values_videos"], atol=tolerance, rtol=0
    )


def test_short_padding_gives_the_same_mel_frames(tiny: OmniModel, samples: list[Sample]) -> None:
    """The extractor's own padding to its full window is the oracle."""
    from triptych.data.media import MediaBudget, decode_audio

    prompt = tiny.encode(samples[0])
    audio = decode_audio(samples[0].media[1].path, MediaBudget())
    extractor: WhisperFeatureExtractor = tiny.processor.feature_extractor
    full = extractor(
        audio.samples, sampling_rate=16000, return_tensors="pt", return_attention_mask=True
    )
    valid = int(full["attention_mask"].sum())
    assert int(prompt.features["feature_attention_mask"].sum()) == valid
    assert prompt.features["input_features"].equal(full["input_features"][..., :valid])
