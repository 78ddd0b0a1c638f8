"""Qwen2.5-Omni (3B, 7B): the thinker, which reads text, images, video and audio.

The talker and the vocoder are not loaded: Triptych trains what the model says, not its voice.
A video and its sound go in one after the other, as in HumanOmniV2, or in turns of two seconds, as
in pretraining ("audio in video").
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest
from typing import Any, ClassVar, cast

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.utils import is_torchvision_available

from triptych.data.media import Audio, Video
from triptych.errors import MediaError
from triptych.models.families.base import DecodedMedia, EncodedPrompt, Family, MediaInput

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
    model_types: ClassVar[frozenset[str]] = frozenset({"qwen2_5_omni", "qwen2_5_omni_thinker"})
    towers: ClassVar[Mapping[str, str]] = {"vision": "model.visual", "audio": "model.audio_tower"}
    media_inputs: ClassVar[Mapping[str, MediaInput]] = {
        "image": MediaInput("vision", ("pixel_values", "image_grid_thw"), "image_token_id"),
        "video": MediaInput("vision", ("pixel_values_videos", "video_grid_thw"), "video_token_id"),
        "audio": MediaInput(
            "audio", ("input_features", "feature_attention_mask"), "audio_token_id"
        ),
    }
    audio_in_video: ClassVar[bool] = True

    def load_thinker(self, path: str, *, dtype: torch.dtype) -> PreTrainedModel:
        from transformers import Qwen2_5OmniThinkerForConditionalGeneration as Thinker

        return cast(
            PreTrainedModel,
            Thinker.from_pretrained(path, dtype=dtype, attn_implementation="sdpa"),
        )

    def load_processor(self, path: str) -> Any:
        if is_torchvision_available():
            from transformers import Qwen2_5OmniProcessor

            return Qwen2_5OmniProcessor.from_pretrained(path)
        from triptych.models.pil_processor import load_without_torchvision

        return load_without_torchvision(path)

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
            audio_kwargs=_audio_options(processor, media.audios) if media.audios else {},
        )
        features = {key: outputs[key] for key in _FEATURES if key in outputs}
        if media.videos:
            features["video_second_per_grid"] = _seconds_per_grid(processor, media.videos)
        if media.audios:
            _trim_audio(features)
        return EncodedPrompt(outputs["input_ids"][0], features)

    def interleave(self, thinker: PreTrainedModel, prompt: EncodedPrompt) -> EncodedPrompt:
        ids = interleave(prompt.input_ids_P.tolist(), prompt.features, thinker.config)
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

    def embed_media(
        self, thinker: PreTrainedModel, kind: str, features: Mapping[str, Tensor]
    ) -> Tensor:
        output = getattr(thinker, f"get_{kind}_features")(**features, return_dict=True)
        # Of images and videos: one tensor for each.
        embeddings = output.pooler_output
        return embeddings if isinstance(embeddings, Tensor) else torch.cat(list(embeddings))

    def media_token_ids(self, thinker: PreTrainedModel) -> tuple[int, ...]:
        config = thinker.config
        names = (
            "image_token_id",
            "video_token_id",
            "audio_token_id",
            "audio_start_token_id",
            "audio_end_token_id",
            "vision_start_token_id",
            "vision_end_token_id",
        )
        ids = (getattr(config, name, None) for name in names)
        return tuple(sorted({token_id for token_id in ids if token_id is not None}))


def interleave(ids: Sequence[int], features: Mapping[str, Tensor], config: Any) -> list[int]:
    """Prompt ids with each video and the sound behind it in turns.

    ``<vision> video </vision><audio> sound </audio>`` becomes
    ``<vision><audio> video of two seconds, sound of two seconds, video ... </audio></vision>``,
    cut as the model's own rope index cuts it. It assumes that for all videos of a prompt.
    """
    grids = features["video_grid_thw"].tolist()
    seconds = features["video_second_per_grid"].tolist()
    per_second, per_chunk = config.position_id_per_seconds, config.seconds_per_chunk
    merge = config.vision_config.spatial_merge_size**2
    result: list[int] = []
    position = 0
    for (frames, height, width), step in zip(grids, seconds, strict=True):
        first = ids.index(config.video_token_id, position)
        video = frames * height * width // merge
        sound_at = first + video + 2  # behind the brackets </vision><audio>
        sound = next(i for i, t in enumerate(ids[sound_at:]) if t != config.audio_token_id)
        # In fp32 and cut to whole positions, as in the rope index.
        times = (torch.arange(frames) * step * per_second).long()
        times = times.repeat_interleave(video // frames).tolist()
        turns = _turns(times, list(range(sound)), int(per_second * per_chunk))
        of_video, of_sound = [config.video_token_id], [config.audio_token_id]
        result += [*ids[position:first], config.audio_start_token_id]
        for from_video, from_sound in turns:
            result += of_video * from_video + of_sound * from_sound
        result += [config.audio_end_token_id, config.vision_end_token_id]
        position = sound_at + sound + 1
    return [*result, *ids[position:]]


def _turns(video: Sequence[int], sound: Sequence[int], per_chunk: int) -> list[tuple[int, int]]:
    """How many tokens of each come in every turn, from their times."""
    chunks = zip_longest(_chunks(video, per_chunk), _chunks(sound, per_chunk), fillvalue=0)
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


def _audio_options(processor: Any, audios: Sequence[Audio]) -> dict[str, int]:
    """Pad the mel input to the longest clip instead of the extractor's 300 s.

    One window (n_fft) of zeros after the last sample keeps every frame that counts bit-equal to
    what full padding gives. The extractor cuts longer audio without a word: refuse it here.
    """
    extractor = processor.feature_extractor
    longest = max(len(audio.samples) for audio in audios)
    if longest > extractor.n_samples:
        seconds = extractor.n_samples / extractor.sampling_rate
        raise MediaError(
            f"audio of {longest / extractor.sampling_rate:.1f} s is longer than the "
            f"{seconds:.0f} s that this model takes; set media.max_seconds to {seconds:.0f} or less"
        )
    return {"max_length": min(longest + extractor.n_fft, extractor.n_samples)}


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
