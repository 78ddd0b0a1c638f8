"""A video and its sound in turns, cut as the model's own rope index and processor cut them."""

import numpy as np
import pytest
import torch

from triptych.data.media import Audio, MediaBudget, Video, decode_audio, decode_video
from triptych.data.sample import Sample
from triptych.models import OmniModel
from triptych.models.families.base import DecodedMedia, EncodedPrompt
from triptych.stages import build_messages


def clip(sample: Sample, frames: int, fps: float, seconds: float) -> tuple[Video, Audio]:
    """A clip of any length, made of the sample's first frame and its sound over and over."""
    budget, path = MediaBudget(fps=4.0), sample.media[0].path
    video, audio = decode_video(path, budget), decode_audio(path, budget)
    still = np.repeat(video.frames[:1], frames, axis=0)
    sound = np.resize(audio.samples, int(seconds * audio.rate))
    return Video(still, fps, np.arange(frames) / fps, frames / fps), Audio(sound)


def encode(model: OmniModel, sample: Sample, *clips: tuple[Video, Audio]) -> EncodedPrompt:
    messages = build_messages(
        sample.question, sample.problem_type, sample.options, ["video", "audio"] * len(clips)
    )
    media = DecodedMedia(videos=[video for video, _ in clips], audios=[audio for _, audio in clips])
    return model.family.encode(model.processor, messages, media)


CLIPS = [(4, 4.0, 1.0), (8, 4.0, 2.5), (20, 2.0, 4.0), (6, 2.0, 4.0), (12, 0.25, 4.0)]
UNEVEN = (12, 3.0, 4.0)  # a patch spans no whole number of positions


@pytest.mark.parametrize(("frames", "fps", "seconds"), CLIPS)
def test_the_turns_are_those_of_the_official_processor(
    omni: OmniModel, samples: list[Sample], frames: int, fps: float, seconds: float
) -> None:
    if not hasattr(omni.processor, "replace_video_with_audio_token"):
        pytest.skip("this version of transformers has no such method to compare with")
    apart = encode(omni, samples[0], clip(samples[0], frames, fps, seconds))
    ids = omni.family.interleave(omni.thinker, apart).input_ids_P.tolist()
    assert sorted(ids) == sorted(apart.input_ids_P.tolist())
    config = omni.config
    features = {
        "video_grid_thw": apart.features["video_grid_thw"].numpy(),
        "video_second_per_grid": apart.features["video_second_per_grid"].tolist(),
    }
    sound = {"num_audio_tokens": [ids.count(config.audio_token_id)]}
    settings = {"position_id_per_seconds": config.position_id_per_seconds}
    if hasattr(config, "seconds_per_chunk"):
        settings["seconds_per_chunk"] = config.seconds_per_chunk
    official = omni.tokenizer.encode(
        omni.processor.replace_video_with_audio_token(features, 0, sound, 0, **settings)
    )
    start = ids.index(config.audio_start_token_id)
    assert ids[start - 1 : start + len(official) + 1] == [
        config.vision_start_token_id,
        *official,
        config.vision_end_token_id,
    ]


@pytest.mark.parametrize(("frames", "fps", "seconds"), [*CLIPS, UNEVEN])
def test_each_token_has_the_position_of_its_moment(
    omni: OmniModel, samples: list[Sample], frames: int, fps: float, seconds: float
) -> None:
    """Sound has a token for each position, and all tokens of a frame share its time."""
    apart = encode(omni, samples[0], clip(samples[0], frames, fps, seconds))
    prompt = omni.family.interleave(omni.thinker, apart)
    positions, following = omni.family.positions(omni.thinker, prompt)
    ids = prompt.input_ids_P
    assert positions.shape == (3, len(ids))
    is_sound = ids == omni.config.audio_token_id
    times = positions[0, is_sound]
    assert torch.equal(times, times[0] + torch.arange(len(times)))
    is_video = ids == omni.config.video_token_id
    first = positions[0, is_video][0]
    assert first == times[0], "both begin at once"
    grid = apart.features["video_grid_thw"][0]
    per_patch = positions[0, is_video].view(int(grid[0]), -1) - first
    step = omni.config.position_id_per_seconds * float(apart.features["video_second_per_grid"][0])
    expected = (torch.arange(int(grid[0])) * step).to(positions.dtype)
    torch.testing.assert_close(per_patch, expected[:, None].expand_as(per_patch))
    assert following == positions.max() + 1


def test_two_clips_keep_their_order(omni: OmniModel, samples: list[Sample]) -> None:
    clips = [clip(samples[0], 8, 4.0, 2.5), clip(samples[1], 4, 4.0, 1.0)]
    apart = encode(omni, samples[0], *clips)
    together = omni.family.interleave(omni.thinker, apart).input_ids_P.tolist()
    one_by_one = [
        omni.family.interleave(omni.thinker, encode(omni, samples[0], one)).input_ids_P.tolist()
        for one in clips
    ]
    start, end = omni.config.vision_start_token_id, omni.config.vision_end_token_id
    parts = [ids[ids.index(start) : ids.index(end) + 1] for ids in one_by_one]
    begin = together.index(start)
    assert together[begin : begin + len(parts[0]) + len(parts[1])] == parts[0] + parts[1]
