"""What is its own in Qwen2.5-VL: inputs and positions as the official processor and model make
them, no ears, and folders as they are published."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers.video_utils import VideoMetadata

from tests.unit.models.naive import greedy, naive_logps
from triptych.data.media import MediaBudget, Video, decode_image, decode_video
from triptych.data.media.write import write_video
from triptych.data.sample import Media, MediaKind, Sample
from triptych.errors import ConfigError, ModelError
from triptych.generation import SamplingConfig
from triptych.generation.local import LocalEngine
from triptych.models import OmniModel
from triptych.models.families.base import DecodedMedia, EncodedPrompt
from triptych.models.packing import pack
from triptych.models.pil_processor import Qwen2VLVideoProcessor
from triptych.models.prompt import PromptEncoder
from triptych.stages import build_messages

GREEDY = SamplingConfig(max_new_tokens=12, temperature=0)


def test_a_prompt_is_what_the_official_call_gives(
    tiny_vl: OmniModel, silent_samples: list[Sample]
) -> None:
    """One call of the processor for text, image and video; positions by the model's own index."""
    sample, processor = silent_samples[0], tiny_vl.processor
    image, clip = sample.media
    video = decode_video(clip.path, MediaBudget(fps=4.0))
    messages = build_messages(
        sample.question, sample.problem_type, sample.options, ["image", "video"]
    )
    count = len(video.frames)
    metadata = VideoMetadata(total_num_frames=count, fps=4.0, frames_indices=list(range(count)))
    official = processor(
        text=[processor.apply_chat_template(messages, add_generation_prompt=True)],
        images=[decode_image(image.path, MediaBudget())],
        videos=[video.frames],
        videos_kwargs={"video_metadata": [metadata]},
        return_tensors="pt",
    )
    prompt = tiny_vl.encode(sample)
    assert prompt.input_ids.equal(official["input_ids"][0])
    assert prompt.features.keys() == official.keys() - {
        "input_ids", "attention_mask", "mm_token_type_ids",
    }  # fmt: skip
    for name, feature in prompt.features.items():
        assert feature.equal(official[name]), name
    positions_3BP, _ = tiny_vl.thinker.model.get_rope_index(**official)
    assert prompt.position_ids.equal(positions_3BP[:, 0])
    assert (prompt.next_position == positions_3BP[:, 0, -1] + 1).all()


def encode_video(model: OmniModel, frames: int, fps: float) -> EncodedPrompt:
    still = np.zeros((frames, 56, 56, 3), dtype=np.uint8)
    video = Video(still, fps, np.arange(frames) / fps, frames / fps)
    messages: list[dict[str, Any]] = [{"role": "user", "content": [{"type": "video"}]}]
    return model.family.encode(model.processor, messages, DecodedMedia(videos=[video]))


@pytest.mark.parametrize(("fps", "apart"), [(0.5, 8), (1.0, 4), (2.0, 2), (4.0, 1)])
def test_time_positions_follow_the_true_frame_rate(
    tiny_vl: OmniModel, fps: float, apart: int
) -> None:
    """Two positions a second, two frames a patch."""
    prompt = encode_video(tiny_vl, 8, fps)
    positions, _ = tiny_vl.family.positions(tiny_vl.thinker, prompt)
    times = positions[0][prompt.input_ids_P == tiny_vl.config.video_token_id].unique()
    assert times.diff().tolist() == [apart] * 3


def test_completions_of_a_long_video_go_on_where_generate_does(
    tiny_vl: OmniModel, silent_samples: list[Sample], tmp_path: Path
) -> None:
    """Text does not wait for its last moment, as in the forward of the model and in `generate`."""
    frames = np.random.default_rng(0).integers(0, 256, (24, 56, 56, 3), dtype=np.uint8)
    write_video(tmp_path / "long.mp4", frames, fps=0.25)
    long = Media(kind=MediaKind.VIDEO, path=tmp_path / "long.mp4")
    sample = silent_samples[0].model_copy(update={"media": (long,)})
    prompt = tiny_vl.encode(sample)
    assert prompt.position_ids.max() > prompt.next_position + GREEDY.max_new_tokens
    ((completion,),) = LocalEngine(tiny_vl).generate([sample], 1, GREEDY)
    ids = list(completion.token_ids)
    assert ids == greedy(tiny_vl, sample, GREEDY.max_new_tokens)
    packed = pack([prompt], [[ids, ids[:5]]], tiny_vl.pad_token_id, tiny_vl.family)
    ours = tiny_vl(**packed.model_inputs()).logps_N
    theirs = torch.cat(naive_logps(tiny_vl, sample, [ids, ids[:5]]))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def test_sound_is_refused_and_never_left_out_without_a_word(
    tiny_vl: OmniModel, samples: list[Sample]
) -> None:
    message = (
        rf"^sample {samples[0].id}: qwen2_5_vl cannot hear .*: it takes image and video, no audio; "
        "leave its audio out of the sample's media, or use an omni model"
    )
    with pytest.raises(ConfigError, match=message):
        tiny_vl.encode(samples[0])
    with pytest.raises(ConfigError, match="cannot hear"):
        list(tiny_vl.encoder.outcomes(samples[:2]))


def test_what_only_omni_models_have_is_refused(tiny_vl: OmniModel) -> None:
    with pytest.raises(ModelError, match=r"no module 'audio'; it has: vision, text"):
        tiny_vl.freeze(["audio"])
    with pytest.raises(ConfigError, match="leave out audio_in_video"):
        PromptEncoder(
            tiny_vl.thinker, tiny_vl.processor, tiny_vl.family, MediaBudget(), tiny_vl.format,
            audio_in_video=True,
        )  # fmt: skip


def test_pixel_limits_by_their_older_names() -> None:
    """As in the preprocessor_config.json that the models are published with."""
    processor = Qwen2VLVideoProcessor(min_pixels=3136, max_pixels=12845056)
    assert processor.size == {"shortest_edge": 3136, "longest_edge": 12845056}
