"""Samples to prompts: chat messages, decoded media, processor, rope positions.

Shapes: P prompt tokens, 3 rope axes.
"""

from collections import OrderedDict, deque
from collections.abc import Hashable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor
from transformers import PreTrainedModel

from triptych.data.decode_worker import Decoded
from triptych.data.decoding import DecodePool
from triptych.data.feature_cache import FeatureCache
from triptych.data.media import Audio, MediaBudget, Video
from triptych.data.messages import MessageBuilder, Messages, stage_messages
from triptych.data.notices import CutNotices
from triptych.data.sample import Sample
from triptych.data.sound import are_films
from triptych.errors import MediaError
from triptych.models.families import Family
from triptych.models.families.base import DecodedMedia, EncodedPrompt
from triptych.models.kept_features import KeptFeatures, KeptPrompt
from triptych.models.towers import FrozenTowers, Variant
from triptych.stages import StageFormat


@dataclass(frozen=True)
class Prompt:
    """What the model reads before it writes.

    Attributes:
        input_ids: (P,) int64, media placeholders already expanded.
        position_ids: (3, P) rope positions from the model's own index.
        next_position: () position of the first completion token, the same on all axes.
        features: the processor's media tensors, or embeddings in the place of those that a frozen
            tower would read; to be concatenated along dimension 0.
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
    every epoch, in every iteration on a rollout, and in evaluation. `pool` decodes (by default the
    process itself, without limits); `cache` keeps media features on disk (by default nothing does).
    With `audio_in_video` a video and its own sound, named one after the other, are read in turns.
    `messages` makes the chat messages of a sample; by default they ask for the stages of `fmt`.

    Raises:
        ConfigError: `audio_in_video` is set, and the family cannot do that.
    """

    def __init__(
        self,
        thinker: PreTrainedModel,
        processor: Any,
        family: Family,
        budget: MediaBudget,
        fmt: StageFormat,
        cache_bytes: int = 1 << 30,
        *,
        pool: DecodePool | None = None,
        cache: FeatureCache | None = None,
        audio_in_video: bool = False,
        messages: MessageBuilder | None = None,
    ) -> None:
        if audio_in_video:
            family.check_audio_in_video()
        self._thinker, self._processor, self._family = thinker, processor, family
        self._budget, self._in_turns = budget, audio_in_video
        self._messages = messages or stage_messages(fmt)
        self._cache_bytes, self._used = cache_bytes, 0
        self._notices = CutNotices()
        self._cache: OrderedDict[Hashable, Prompt] = OrderedDict()
        self._towers = FrozenTowers(thinker, family)
        self._pool = pool or DecodePool()
        self._kept = KeptFeatures(cache, processor, family, budget) if cache else None

    @property
    def budget(self) -> MediaBudget:
        """How much of each media item is decoded."""
        return self._budget

    @property
    def audio_in_video(self) -> bool:
        """Whether a video and its own sound are read in turns."""
        return self._in_turns

    def encode(self, sample: Sample) -> Prompt:
        """Raises MediaError that names sample, file and cause."""
        (prompt,) = self.encode_all([sample])
        return prompt

    def encode_all(self, samples: Iterable[Sample], *, embed: bool = False) -> Iterator[Prompt]:
        """Encode samples in order; while one is being featurised, the next are being decoded.

        Args:
            samples: what to encode.
            embed: put embeddings in the place of what the frozen towers would read, see
                `FrozenTowers`; they run in the number format of the autocast around, if any.

        Raises:
            ConfigError: a sample has media of a kind that the family does not take.
            MediaError: the media of a sample cannot be decoded; it names sample, file and cause.
        """
        for outcome in self.outcomes(samples, embed=embed):
            if isinstance(outcome, MediaError):
                raise outcome
            yield outcome

    def outcomes(
        self, samples: Iterable[Sample], *, embed: bool = False
    ) -> Iterator[Prompt | MediaError]:
        """As `encode_all`, but what cannot be encoded comes as an error and does not end it."""
        ahead: deque[_Begun] = deque()
        try:
            for sample in samples:
                ahead.append(self._begin(sample, embed=embed))
                if len(ahead) > self._pool.limits.workers:
                    yield self._finish(ahead.popleft())
            while ahead:
                yield self._finish(ahead.popleft())
        finally:
            for begun in ahead:
                begun.cancel()

    def clear_cache(self) -> None:
        """Forget all prompts, for instance because a media file has changed."""
        self._cache.clear()
        self._towers.forget()
        self._used = 0

    def _keep(self, key: Hashable, prompt: Prompt) -> None:
        self._drop(key)
        self._cache[key] = prompt
        self._used += prompt.num_bytes
        while self._used > self._cache_bytes:
            _, oldest = self._cache.popitem(last=False)
            self._used -= oldest.num_bytes

    def _drop(self, key: Hashable) -> None:
        if (prompt := self._cache.pop(key, None)) is not None:
            self._used -= prompt.num_bytes

    def _begin(self, sample: Sample, *, embed: bool) -> "_Begun":
        """Begin to decode a sample's media, unless memory or disk hold what comes of it."""
        self._family.check_media(sample)
        messages = self._messages(sample)
        begun = _Begun(sample, messages, (repr(messages), sample.media), embed)
        for variant in dict.fromkeys((self._variant(begun), None)):
            if (prompt := self._cache.get((begun.key, variant))) is not None:
                self._cache.move_to_end((begun.key, variant))
                return replace(begun, prompt=prompt, variant=variant)
        kept_as = None
        try:
            with_sound = self._in_turns and are_films(sample.media)
            if self._kept is not None and sample.media:
                kept_as = self._kept.key(sample.media, with_sound=with_sound)
        except MediaError as error:
            return replace(begun, error=error)
        begun = replace(begun, with_sound=with_sound, kept_as=kept_as)
        if self._kept is not None and kept_as is not None and kept_as in self._kept:
            return begun
        return replace(begun, decoding=self._decode(sample))

    def _variant(self, begun: "_Begun") -> Variant | None:
        """Which embeddings the prompt should hold; None for none."""
        return self._towers.variant() if begun.embed and begun.sample.media else None

    def _decode(self, sample: Sample) -> "list[Future[Decoded]]":
        return [self._pool.submit(item, self._budget) for item in sample.media]

    def _finish(self, begun: "_Begun") -> Prompt | MediaError:
        variant = self._variant(begun)
        if begun.variant not in (None, variant):  # weights have changed since it was begun
            begun = self._begin(begun.sample, embed=begun.embed)
        if begun.prompt is not None and begun.variant == variant:
            return begun.prompt
        try:
            if begun.error is not None:
                raise begun.error
            prompt = begun.prompt or self._encode(begun)
        except MediaError as error:
            named = MediaError(f"sample {begun.sample.id}: {error}")
            named.__cause__ = error
            return named
        if variant is not None:
            prompt = self._towers.embed(prompt, begun.sample.media, variant)
            self._drop((begun.key, None))  # pixels and mels, which nobody needs any more
        self._keep((begun.key, variant), prompt)
        return prompt

    def _encode(self, begun: "_Begun") -> Prompt:
        # Not under a trainer's autocast: the feature extractor computes its spectra with torch.
        with torch.no_grad(), torch.autocast("cpu", enabled=False):
            encoded, notices = self._featurise(begun)
            positions, following = self._family.positions(self._thinker, encoded)
        self._notices.tell(begun.sample, notices)
        return Prompt(encoded.input_ids_P, positions, following, encoded.features, tuple(notices))

    def _featurise(self, begun: "_Begun") -> tuple[EncodedPrompt, Sequence[str]]:
        """Model inputs, from the disk or from the media, and what decoding cut."""
        media = begun.sample.media
        if self._kept is None or begun.kept_as is None:
            return self._process(begun)
        plain_P = self._family.encode(self._processor, begun.messages, DecodedMedia()).input_ids_P
        media_ids = self._family.media_token_ids(self._thinker)
        found = self._kept.load(
            begun.kept_as, plain_P, media_ids, media, with_sound=begun.with_sound
        )
        if found is None:
            found = KeptPrompt(*self._process(begun))
            self._kept.save(begun.kept_as, plain_P, media_ids, media, found)
        return found

    def _process(self, begun: "_Begun") -> tuple[EncodedPrompt, tuple[str, ...]]:
        decoded = [future.result() for future in begun.decoding or self._decode(begun.sample)]
        images = [item for item in decoded if isinstance(item, Image)]
        videos = [item for item in decoded if isinstance(item, Video)]
        audios = [item for item in decoded if isinstance(item, Audio)]
        encoded = self._family.encode(
            self._processor, begun.messages, DecodedMedia(images, videos, audios)
        )
        if begun.with_sound:
            encoded = self._family.interleave(self._thinker, encoded)
        notices = [notice for video in videos for notice in video.notices]
        notices += [notice for audio in audios for notice in audio.notices]
        notices += [notice for image in images for notice in image.info["notices"]]
        return encoded, tuple(notices)


@dataclass(frozen=True)
class _Begun:
    """A sample on its way to a prompt.

    Attributes:
        messages: what the model is asked.
        key: names messages and media.
        embed: embeddings are asked for.
        prompt: what was in memory.
        variant: which embeddings that holds; None for none.
        with_sound: its videos are read in turns with their sound.
        decoding: its media, being decoded; empty where they need not be.
        kept_as: the name of its media features on disk, where they are kept.
        error: why it cannot be encoded, where that is known already.
    """

    sample: Sample
    messages: Messages
    key: Hashable
    embed: bool
    prompt: Prompt | None = None
    variant: Variant | None = None
    with_sound: bool = False
    decoding: "Sequence[Future[Decoded]]" = ()
    kept_as: str | None = None
    error: MediaError | None = None

    def cancel(self) -> None:
        for future in self.decoding:
            future.cancel()
