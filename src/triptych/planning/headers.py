"""How long a prompt will be, told from the headers of its media; nothing is decoded.

For models of Qwen's whose processor is not here. Frames, pixels and seconds are counted as decoding
counts them, patches and mel frames as Qwen's processors do, within the limits that they are
published with. Text is estimated by its characters.
"""

import math
from pathlib import Path
from typing import Any

from PIL import Image
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

from triptych.data.containers import audio_stream, opened, stated_end, video_stream
from triptych.data.media import MediaBudget
from triptych.data.media.audio import SAMPLE_RATE
from triptych.data.media.budget import fit
from triptych.data.messages import MessageBuilder
from triptych.data.sample import Media, MediaKind, Sample
from triptych.errors import MediaError, ModelError
from triptych.planning.lengths import PromptLength
from triptych.planning.sizes import ModelSizes

CHARACTERS = 4
"""Of a token of English."""

_PIXELS = {"min_pixels": 56 * 56, "max_pixels": 28 * 28 * 16384}
_HOP = 160  # samples of a mel frame
_LAYOUT = 16  # tokens around the turns of a chat
_BRACKETS = 2  # tokens around a media item


def length_by_headers(
    sample: Sample, messages: MessageBuilder, config: Any, sizes: ModelSizes, budget: MediaBudget
) -> PromptLength:
    """The length of a sample's prompt.

    Args:
        sample: its media are looked at.
        messages: what it is asked by.
        config: of the thinker.
        sizes: of the thinker.
        budget: how much of each item is decoded.

    Raises:
        MediaError: a file is missing, or says nothing of its size.
        ModelError: the model's processor counts otherwise.
    """
    if not config.model_type.startswith("qwen"):
        raise ModelError(
            f"{sizes.name}: how long prompts are is known from the model's processor only; name a "
            "folder that holds tokenizer and preprocessor files, too"
        )
    parts = [part for message in messages(sample) for part in _parts(message["content"])]
    characters = sum(len(part.get("text", "")) for part in parts)
    patches = mels = audio = 0
    for item in sample.media:
        if item.kind is MediaKind.AUDIO:
            frames = int(_seconds_of_sound(item, budget) * SAMPLE_RATE) // _HOP
            mels += frames
            audio += audio_tokens(frames, sizes.towers["audio"].pool)
        else:
            patches += _patches(item, config.vision_config, budget)
    vision, patch = 0, 0
    if patches:
        shape = config.vision_config
        vision = patches // shape.spatial_merge_size**2
        patch = 3 * shape.temporal_patch_size * shape.patch_size**2
    return PromptLength(
        text=-(-characters // CHARACTERS) + _LAYOUT + _BRACKETS * len(sample.media),
        vision=vision,
        audio=audio,
        vision_bytes=patches * patch * 4,
        audio_bytes=mels * config.audio_config.num_mel_bins * 4 if mels else 0,
    )


def audio_tokens(frames: int, pool: int) -> int:
    """Tokens that an encoder makes of mel frames: 25 a second, or 13 of whole seconds in Qwen3."""
    if not frames:
        return 0
    if pool == 2:
        return max(1, ((frames - 1) // 2 + 1 - 2) // 2 + 1)
    whole, rest = divmod(frames, 100)
    for _ in range(3):
        rest = -(-rest // 2)
    return whole * 13 + rest


def _parts(content: Any) -> list[dict[str, Any]]:
    return [{"text": content}] if isinstance(content, str) else list(content)


def _patches(item: Media, shape: Any, budget: MediaBudget) -> int:
    """Patches of an image, or of the frames that are taken of a video."""
    if item.kind is MediaKind.IMAGE:
        width, height, grids = *_image_size(item.path), 1
    else:
        width, height, frames = _video_size(item, budget)
        grids = -(-frames // shape.temporal_patch_size)
    width, height = fit(item.path, width, height, budget.max_pixels)
    factor = shape.patch_size * shape.spatial_merge_size
    high, wide = smart_resize(height, width, factor=factor, **_PIXELS)
    return int(grids * high * wide // shape.patch_size**2)


def _image_size(path: Path) -> tuple[int, int]:
    try:
        with Image.open(path) as image:
            return image.size
    except OSError as error:
        raise MediaError(f"{path}: cannot be read as an image ({error})") from error


def _video_size(item: Media, budget: MediaBudget) -> tuple[int, int, int]:
    """Width, height, and the number of frames that are taken."""
    with opened(item.path) as container:
        stream = video_stream(container, item.path)
        total = stated_end(container, stream) or (container.duration or 0) / 1_000_000
        rate = float(stream.average_rate or stream.guessed_rate or 25)
        width, height = stream.width, stream.height
    seconds = min(_within(item, total), budget.max_seconds)
    frames = min(round(seconds * budget.fps), math.ceil(seconds * rate), budget.max_frames)
    return width, height, max(1, frames)


def _seconds_of_sound(item: Media, budget: MediaBudget) -> float:
    with opened(item.path) as container:
        stream = audio_stream(container, item.path)
        total = stated_end(container, stream) or (container.duration or 0) / 1_000_000
    return min(_within(item, total), budget.max_seconds)


def _within(item: Media, total: float) -> float:
    """Seconds of the wanted part of a file that is this long."""
    if not total:
        raise MediaError(f"{item.path}: its header does not say how long it is")
    return max(0.0, min(total, item.end or total) - (item.start or 0.0))
