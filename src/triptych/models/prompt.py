"""Samples to prompts: chat messages, decoded media, processor, rope positions.

Shapes: P prompt tokens, 3 rope axes.
"""

import copy
from collections import OrderedDict, deque
from collections.abc import Hashable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
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
from triptych.data.sample import Media, Sample
from triptych.data.sound import are_films
from triptych.errors import MediaError, TriptychError
from triptych.models.families import Family
from triptych.models.families.base import DecodedMedia, EncodedPrompt
from triptych.models.kept_features import KeptFeatures, KeptPrompt
from triptych.models.prefetching import Prefetcher
from triptych.models.towers import FrozenTowers, Variant, embedding_name
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
        self._prefetcher: Prefetcher[_Begun] | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> "PromptEncoder":
        """For the copy of a model. Decode workers and the cache on disk are shared."""
        copied = memo[id(self)] = copy.copy(self)
        copied._thinker = copy.deepcopy(self._thinker, memo)
        copied._processor = copy.deepcopy(self._processor, memo)
        copied._towers = FrozenTowers(copied._thinker, self._family)
        copied._cache, copied._used = OrderedDict(), 0
        copied._prefetcher = None
        return copied

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

    def prefetch(self, samples: Iterable[Sample]) -> None:
        """Begin to encode samples in a thread, for a later call that asks for embeddings, too.

        That call gives what it would have given, and says there what was cut, or what is wrong. It
        also makes the embeddings. Call this in the autocast that it will have, and `close` at last.
        """
        if self._prefetcher is None:
            # Tokenizers change their padding while they are used: two threads need two of them.
            processor = copy.deepcopy(self._processor)
            self._prefetcher = Prefetcher(
                lambda begun: self._begin_media(replace(begun, processor=processor)),
                self._encode_ahead,
                ahead=self._pool.limits.workers,
            )
        for sample in samples:
            with suppress(TriptychError):  # of a sample that cannot be asked about
                begun = self._look_up(sample, embed=True)
                if begun.prompt is None:
                    self._prefetcher.add(begun.key, begun)

    def close(self) -> None:
        """Give up what is being encoded ahead. The encoder can go on to be used."""
        if self._prefetcher is not None:
            self._prefetcher.close()
            self._prefetcher = None

    def clear_cache(self) -> None:
        """Forget all prompts, for instance because a media file has changed."""
        self.close()
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
        begun = self._look_up(sample, embed=embed)
        ahead = self._prefetcher.take(begun.key) if embed and self._prefetcher else None
        if begun.prompt is None and ahead is not None:
            return replace(begun, ahead=ahead)
        return begun if begun.ready else self._begin_media(begun)

    def _look_up(self, sample: Sample, *, embed: bool) -> "_Begun":
        """A sample with what memory holds of it."""
        self._family.check_media(sample)
        messages = self._messages(sample)
        variant = self._wanted(sample, embed=embed)
        key = (repr(messages), sample.media)
        begun = _Begun(sample, messages, key, embed, variant, self._processor)
        for held in dict.fromkeys((variant, None)):
            if (prompt := self._cache.get((begun.key, held))) is not None:
                self._cache.move_to_end((begun.key, held))
                return replace(begun, prompt=prompt, ready=held == variant)
        return begun

    def _begin_media(self, begun: "_Begun") -> "_Begun":
        """Begin to decode, unless the disk holds what comes of it or memory holds a part."""
        try:
            with_sound = self._in_turns and are_films(begun.sample.media)
            begun = replace(begun, with_sound=with_sound)
            begun = replace(begun, kept_as=self._names(begun))
        except MediaError as error:
            return begun if begun.prompt else replace(begun, error=error)
        if begun.prompt or (self._kept and any(name in self._kept for name in begun.kept_as)):
            return begun
        return replace(begun, decoding=self._decode(begun.sample))

    def _names(self, begun: "_Begun") -> tuple[str, ...]:
        """Of the entries on disk that may hold what comes of the media, the best first."""
        media, with_sound = begun.sample.media, begun.with_sound
        if self._kept is None or not media:
            return ()
        features = self._kept.key(media, with_sound=with_sound)
        if begun.variant is None or not self._kept.embeddings:
            return (features,)
        towers = self._towers.fingerprint(begun.variant)
        return self._kept.key(media, with_sound=with_sound, towers=towers), features

    def _wanted(self, sample: Sample, *, embed: bool) -> Variant | None:
        """Which embeddings the prompt should hold; None for none."""
        return self._towers.variant() if embed and sample.media else None

    def _decode(self, sample: Sample) -> "list[Future[Decoded]]":
        return [self._pool.submit(item, self._budget) for item in sample.media]

    def _finish(self, begun: "_Begun") -> Prompt | MediaError:
        held = begun.prompt
        if begun.ahead is not None:
            begun = begun.ahead.result()
        if begun.variant != self._wanted(begun.sample, embed=begun.embed):
            # Weights have changed since.
            return self._finish(self._begin(begun.sample, embed=begun.embed))
        if begun.prompt is not None and begun.ready:
            return begun.prompt
        try:
            if begun.error is not None:
                raise begun.error
            prompt = begun.prompt or self._encode(begun)
            if held is None:
                self._notices.tell(begun.sample, prompt.notices)
        except MediaError as error:
            named = MediaError(f"sample {begun.sample.id}: {error}")
            named.__cause__ = error
            return named
        if begun.variant is not None:
            encoded, prompt = prompt, self._towers.embed(prompt, begun.sample.media, begun.variant)
            self._save_embeddings(begun, encoded, prompt)
            self._drop((begun.key, None))  # pixels and mels, which nobody needs any more
        self._keep((begun.key, begun.variant), prompt)
        return prompt

    def _encode_ahead(self, begun: "_Begun") -> "_Begun":
        """What `_finish` goes on with; the thread's processor stays in the thread."""
        begun, own = replace(begun, processor=self._processor), begun
        if begun.error is not None:
            return begun
        try:
            return replace(begun, prompt=self._encode(own), decoding=())
        except MediaError as error:
            return replace(begun, error=error)

    def _encode(self, begun: "_Begun") -> Prompt:
        # Not under a trainer's autocast: the feature extractor computes its spectra with torch.
        with torch.no_grad(), torch.autocast("cpu", enabled=False):
            encoded, notices = self._featurise(begun)
            positions, following = self._family.positions(self._thinker, encoded)
        return Prompt(encoded.input_ids_P, positions, following, encoded.features, tuple(notices))

    def _featurise(self, begun: "_Begun") -> tuple[EncodedPrompt, Sequence[str]]:
        """Model inputs, from the disk or from the media, and what decoding cut."""
        if self._kept is None or not begun.kept_as:
            return self._process(begun)
        place = self._place(begun)
        for name in begun.kept_as:
            found = self._kept.load(name, *place, with_sound=begun.with_sound)
            if found is not None:
                return found
        made = KeptPrompt(*self._process(begun))
        if len(begun.kept_as) == 1:  # else embeddings are kept, once they are made
            self._kept.save(begun.kept_as[0], *place, made)
        return made

    def _save_embeddings(self, begun: "_Begun", encoded: Prompt, embedded: Prompt) -> None:
        """Keep on disk what `embedded` holds in the place of what towers read, if that is asked.

        Grids and lengths, of which positions are made, are kept as well.
        """
        if self._kept is None or len(begun.kept_as) < 2 or begun.kept_as[0] in self._kept:
            return
        read = {
            media.features[0]
            for kind, media in self._family.media_inputs.items()
            if embedding_name(kind) in embedded.features
        }
        features = {**encoded.features, **embedded.features}
        features = {name: tensor for name, tensor in features.items() if name not in read}
        kept = EncodedPrompt(encoded.input_ids, features, begun.with_sound)
        self._kept.save(begun.kept_as[0], *self._place(begun), KeptPrompt(kept, encoded.notices))

    def _place(self, begun: "_Begun") -> tuple[Tensor, tuple[int, ...], Sequence[Media]]:
        """What an entry is fitted into: ids without media, ids that stand for media, the media."""
        plain = self._family.encode(begun.processor, begun.messages, DecodedMedia())
        return plain.input_ids_P, self._family.media_token_ids(self._thinker), begun.sample.media

    def _process(self, begun: "_Begun") -> tuple[EncodedPrompt, tuple[str, ...]]:
        decoded = [future.result() for future in begun.decoding or self._decode(begun.sample)]
        images = [item for item in decoded if isinstance(item, Image)]
        videos = [item for item in decoded if isinstance(item, Video)]
        audios = [item for item in decoded if isinstance(item, Audio)]
        encoded = self._family.encode(
            begun.processor, begun.messages, DecodedMedia(images, videos, audios)
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
        variant: which ones, as the weights are; None for none.
        processor: makes tensors of it.
        prompt: what was in memory.
        ready: it holds the embeddings that are asked for.
        with_sound: its videos are read in turns with their sound.
        decoding: its media, being decoded; empty where they need not be.
        kept_as: names of its embeddings and media features on disk, where they are kept.
        error: why it cannot be encoded, where that is known already.
        ahead: the same sample, encoded in the thread that was told of it before.
    """

    sample: Sample
    messages: Messages
    key: Hashable
    embed: bool
    variant: Variant | None
    processor: Any
    prompt: Prompt | None = None
    ready: bool = False
    with_sound: bool = False
    decoding: "Sequence[Future[Decoded]]" = ()
    kept_as: tuple[str, ...] = ()
    error: MediaError | None = None
    ahead: "Future[_Begun] | None" = None

    def cancel(self) -> None:
        for future in self.decoding:
            future.cancel()
