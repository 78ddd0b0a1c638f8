"""Samples to prompts: chat messages, decoded media, processor, rope positions.

Shapes: P prompt tokens, 3 rope axes.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor
from transformers import PreTrainedModel

from triptych.data.media import MediaBudget, decode_audio, decode_image, decode_video
from triptych.data.sample import Media, MediaKind, Sample
from triptych.errors import MediaError
from triptych.models.families import Family
from triptych.models.families.base import DecodedMedia
from triptych.stages import StageFormat, build_messages

T = TypeVar("T")

_log = logging.getLogger(__name__)
_TOLD_AT_MOST = 10


@dataclass(frozen=True)
class Prompt:
    """What the model reads before it writes.

    Attributes:
        input_ids: (P,) int64, media placeholders already expanded.
        position_ids: (3, P) rope positions from the model's own index.
        next_position: () position of the first completion token, the same on all axes.
        features: the processor's media tensors, to be concatenated along dimension 0.
        notices: what decoding cut to stay in the budget.
    """

    input_ids: Tensor
    position_ids: Tensor
    next_position: Tensor
    features: dict[str, Tensor]
    notices: tuple[str, ...] = ()

    @property
    def num_bytes(self) -> int:
        tensors = (self.input_ids, self.position_ids, *self.features.values())
        return sum(t.element_size() * t.nelement() for t in tensors)


class PromptEncoder:
    """Encodes samples and keeps the last ones, up to ``cache_bytes``.

    Decoding and featurising cost more than a tiny model's forward, and a sample comes back in
    every epoch, in every iteration on a rollout, and in evaluation.
    """

    def __init__(
        self,
        thinker: PreTrainedModel,
        processor: Any,
        family: Family,
        budget: MediaBudget,
        fmt: StageFormat,
        cache_bytes: int = 1 << 30,
    ) -> None:
        self._thinker, self._processor, self._family = thinker, processor, family
        self._budget, self._format = budget, fmt
        self._cache_bytes, self._used = cache_bytes, 0
        self._told = 0
        self._cache: OrderedDict[tuple[Any, ...], Prompt] = OrderedDict()

    def encode(self, sample: Sample) -> Prompt:
        """Raises MediaError that names sample, file and cause."""
        key = (sample.question, sample.problem_type, sample.options, sample.media)
        if (cached := self._cache.get(key)) is not None:
            self._cache.move_to_end(key)
            return cached
        try:
            prompt = self._encode(sample)
        except MediaError as error:
            raise MediaError(f"sample {sample.id}: {error}") from error
        self._keep(key, prompt)
        return prompt

    def clear_cache(self) -> None:
        """Forget all prompts, for instance because a media file has changed."""
        self._cache.clear()
        self._used = 0

    def _keep(self, key: tuple[Any, ...], prompt: Prompt) -> None:
        self._cache[key] = prompt
        self._used += prompt.num_bytes
        while self._used > self._cache_bytes:
            _, oldest = self._cache.popitem(last=False)
            self._used -= oldest.num_bytes

    def _tell(self, sample: Sample, notices: Sequence[str]) -> None:
        """Say what was cut, but do not fill the screen with it."""
        for notice in notices:
            self._told += 1
            if self._told <= _TOLD_AT_MOST:
                _log.warning("sample %s: %s", sample.id, notice)
            if self._told == _TOLD_AT_MOST:
                _log.warning("further media are cut to the budget without a line of their own")

    def _encode(self, sample: Sample) -> Prompt:
        messages = build_messages(
            sample.question,
            sample.problem_type,
            sample.options,
            [str(media.kind) for media in sample.media],
            self._format,
        )
        images = _decode(sample, MediaKind.IMAGE, lambda m: decode_image(m.path, self._budget))
        videos = _decode(
            sample,
            MediaKind.VIDEO,
            lambda m: decode_video(m.path, self._budget, start=m.start, end=m.end),
        )
        audios = _decode(
            sample,
            MediaKind.AUDIO,
            lambda m: decode_audio(m.path, self._budget, start=m.start, end=m.end),
        )
        # Not under a trainer's autocast: the feature extractor computes its spectra with torch.
        with torch.no_grad(), torch.autocast("cpu", enabled=False):
            encoded = self._family.encode(
                self._processor, messages, DecodedMedia(images, videos, audios)
            )
            positions, following = self._family.positions(self._thinker, encoded)
        notices = [notice for video in videos for notice in video.notices]
        notices += [notice for audio in audios for notice in audio.notices]
        notices += [notice for image in images for notice in image.info.get("notices", ())]
        self._tell(sample, notices)
        return Prompt(encoded.input_ids_P, positions, following, encoded.features, tuple(notices))


def _decode(sample: Sample, kind: MediaKind, decode: Callable[[Media], T]) -> list[T]:
    return [decode(media) for media in sample.media if media.kind == kind]
