"""Qwen2.5-Omni (3B, 7B): the thinker, which reads text, images, video and audio.

The talker and the vocoder are not loaded: Triptych trains what the model says, not its voice.
A video and its sound go in one after the other, as in HumanOmniV2, or in turns of two seconds, as
in pretraining ("audio in video").
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import Any, ClassVar, TypeAlias, cast

import torch
from torch import Tensor
from transformers import PreTrainedModel

from triptych.data.media import Audio, Video
from triptych.models.families.base import (
    DecodedMedia,
    EncodedPrompt,
    Family,
    MediaInput,
    check_length,
)

_FEATURES = (
    "pixel_values",
    "image_grid_thw",
    "pixel_values_videos",
    "video_grid_thw",
    "video_second_per_grid",
    "input_features",
    "feature_attention_mask",
)


class Qwen25Omni(Family):
    """The Qwen2.5-Omni thinker, from a full checkpoint or on its own."""

    name: ClassVar[str] = "qwen2_5_omni"
    hub_ids: ClassVar[tuple[str, ...]] = ("Qwen/Qwen2.5-Omni-3B", "Qwen/Qwen2.5-Omni-7B")
    model_types: ClassVar[frozenset[str]] = frozenset({"qwen2_5_omni", "qwen2_5_omni_thinker"})
    thinker_class: ClassVar[str] = "Qwen2_5OmniThinkerForConditionalGeneration"
    processor_class: ClassVar[str] = "Qwen2_5OmniProcessor"
    towers: ClassVar[Mapping[str, str]] = {"vision": "model.visual", "audio": "model.audio_tower"}
    media_inputs: ClassVar[Mapping[str, MediaInput]] = {
        "image": MediaInput("vision", ("pixel_values", "image_grid_thw"), "image_token_id"),
        "video": MediaInput("vision", ("pixel_values_videos", "video_grid_thw"), "video_token_id"),
        "audio": MediaInput(
            "audio", ("input_features", "feature_attention_mask"), "audio_token_id"
        ),
    }
    audio_in_video: ClassVar[bool] = True

    def build_tiny(self, folder: str | Path, seed: int = 0) -> Path:
        from triptych.models.tiny import build_tiny

        return build_tiny(folder, seed)

    def encode(
        self, processor: Any, messages: list[dict[str, Any]], media: DecodedMedia
    ) -> EncodedPrompt:
        text = processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        if not media.images and not media.videos and not media.audios:
            ids = processor.tokenizer(text, return_tensors="pt")["input_ids"]
            return EncodedPrompt(ids[0])
        outputs = processor(
            text=[text],
            images=list(media.images) or None,
            videos=[video.frames for video in media.videos] or None,
            audio=[audio.samples for audio in media.audios] or None,
            return_tensors="pt",
            # The processor class carries a size of its own that would override the checkpoint's.
            videos_kwargs={"size": dict(processor.video_processor.size)},
            audio_kwargs=self.audio_options(processor, media.audios) if media.audios else {},
        )
        features = {key: outputs[key] for key in _FEATURES if key in outputs}
        if media.videos:
            features["video_second_per_grid"] = _seconds_per_grid(processor, media.videos)
        if media.audios:
            _trim_audio(features)
        return EncodedPrompt(outputs["input_ids"][0], features)

    def audio_options(self, processor: Any, audios: Sequence[Audio]) -> dict[str, int]:
        """What the feature extractor is told, apart from the samples.

        Pad the mel input to the longest clip instead of the extractor's 300 s. One window (n_fft)
        of zeros after the last sample keeps every frame that counts bit-equal to what full padding
        gives.

        Raises:
            MediaError: audio is longer than the extractor takes.
        """
        extractor = processor.feature_extractor
        check_length(extractor, audios)
        longest = max(len(audio.samples) for audio in audios)
        return {"max_length": min(longest + extractor.n_fft, extractor.n_samples)}

    def interleave(self, thinker: PreTrainedModel, prompt: EncodedPrompt) -> EncodedPrompt:
        ids = interleave(prompt.input_ids_P.tolist(), prompt.features, thinker.config, _turns)
        return replace(prompt, input_ids_P=torch.tensor(ids), with_sound=True)

    def positions(self, thinker: PreTrainedModel, prompt: EncodedPrompt) -> tuple[Tensor, Tensor]:
        features = prompt.features
        audio_mask = features.get("feature_attention_mask")
        ids_BP = prompt.input_ids_P[None]
        positions_3BP, _ = cast(Any, thinker).get_rope_index(
            ids_BP,
            image_grid_thw=features.get("image_grid_thw"),
            video_grid_thw=features.get("video_grid_thw"),
            attention_mask=torch.ones_like(ids_BP),
            audio_seqlens=None if audio_mask is None else audio_mask.sum(-1),
            second_per_grids=features.get("video_second_per_grid"),
            use_audio_in_video=prompt.with_sound,
        )
        return positions_3BP[:, 0], positions_3BP.max() + 1


Turns: TypeAlias = Callable[[Sequence[int], int, Any], list[tuple[int, int]]]
"""From the time of each token of a video, in positions, the number of tokens of its sound, and the
config: how many tokens of each come in every turn."""


def interleave(
    ids: Sequence[int], features: Mapping[str, Tensor], config: Any, turns: Turns
) -> list[int]:
    """Prompt ids with each video and the sound behind it in turns.

    ``<vision> video </vision><audio> sound </audio>`` becomes
    ``<vision><audio> turn, turn ... </audio></vision>``. The model's own rope index assumes that
    for all videos of a prompt.
    """
    grids = features["video_grid_thw"].tolist()
    seconds = features["video_second_per_grid"].tolist()
    merge = config.vision_config.spatial_merge_size**2
    result: list[int] = []
    position = 0
    for (frames, height, width), step in zip(grids, seconds, strict=True):
        first = ids.index(config.video_token_id, position)
        video = frames * height * width // merge
        sound_at = first + video + 2  # behind the brackets </vision><audio>
        sound = next(i for i, t in enumerate(ids[sound_at:]) if t != config.audio_token_id)
        # In fp32 and cut to whole positions, as in the rope index.
        times = (torch.arange(frames) * step * config.position_id_per_seconds).long()
        of_video, of_sound = [config.video_token_id], [config.audio_token_id]
        result += [*ids[position:first], config.audio_start_token_id]
        for from_video, from_sound in turns(
            times.repeat_interleave(video // frames).tolist(), sound, config
        ):
            result += of_video * from_video + of_sound * from_sound
        result += [config.audio_end_token_id, config.vision_end_token_id]
        position = sound_at + sound + 1
    return [*result, *ids[position:]]


def _turns(video: Sequence[int], sound: int, config: Any) -> list[tuple[int, int]]:
    """Of two seconds each, cut as the model's own rope index cuts them."""
    per_chunk = int(config.position_id_per_seconds * config.seconds_per_chunk)
    chunks = zip_longest(_chunks(video, per_chunk), _chunks(range(sound), per_chunk), fillvalue=0)
    return list(chunks)


def _chunks(times: Sequence[int], per_chunk: int) -> list[int]:
    """Sizes of the chunks; where frames are far apart, one chunk falls behind the clock.

    That is how the model counts: a chunk ends at the first token beyond it, whatever is skipped.
    """
    sizes: list[int] = []
    start = 0
    for i, time in enumerate(times):
        if time >= (len(sizes) + 1) * per_chunk:
            sizes.append(i - start)
            start = i
    return [*sizes, len(times) - start]


def _trim_audio(features: dict[str, Tensor]) -> None:
    frames = int(features["feature_attention_mask"].sum(-1).max())
    features["input_features"] = features["input_features"][..., :frames]
    features["feature_attention_mask"] = features["feature_attention_mask"][..., :frames]


def _seconds_per_grid(processor: Any, videos: Sequence[Video]) -> Tensor:
    """Seconds that one temporal patch spans, from the true rate of the sampled frames.

    The processor would assume 2 frames a second for every clip.
    """
    frames_per_patch = processor.video_processor.temporal_patch_size
    return torch.tensor([frames_per_patch / video.fps for video in videos])
