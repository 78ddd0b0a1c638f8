"""What Triptych asks of a model family.

A family is one file. It knows how to load the text decoder with its media encoders (the
"thinker"), how to turn chat messages and decoded media into model inputs, and which positions
the model's own rope index gives to a prompt. Everything else is common to all families.

Shapes: P prompt tokens, 3 rope axes (time, height, width).
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import torch
from PIL.Image import Image
from torch import Tensor
from transformers import PreTrainedModel

from triptych.data.media import Audio, Video
from triptych.data.sample import MediaKind, Sample
from triptych.errors import ConfigError


@dataclass(frozen=True)
class DecodedMedia:
    """The media of one prompt, in the order in which the messages name them."""

    images: Sequence[Image] = ()
    videos: Sequence[Video] = ()
    audios: Sequence[Audio] = ()


@dataclass(frozen=True)
class EncodedPrompt:
    """Model inputs of one prompt.

    ``features`` holds the processor's media tensors, whose first dimension runs over media items
    or patches, so that prompts can be concatenated along it. ``with_sound``: every video is read in
    turns with its sound, see `Family.interleave`.
    """

    input_ids_P: Tensor
    features: dict[str, Tensor] = field(default_factory=dict)
    with_sound: bool = False


class MediaInput(NamedTuple):
    """How one kind of media reaches the decoder.

    Attributes:
        tower: the media encoder that reads it, by its short name.
        features: what that reads, by the processor's names; the first one is there wherever media
            of this kind are.
        placeholder: field of the thinker's config that holds the id of its placeholder.
    """

    tower: str
    features: tuple[str, ...]
    placeholder: str


class Family(ABC):
    """One model family: loading, inputs, positions."""

    name: ClassVar[str]
    model_types: ClassVar[frozenset[str]]
    """Values of ``config.model_type`` that this family loads."""
    towers: ClassVar[Mapping[str, str]]
    """Media encoders that can be frozen: short name -> module path in the thinker."""
    media_inputs: ClassVar[Mapping[str, MediaInput]]
    """Kinds of media: name -> how it reaches the decoder."""
    audio_in_video: ClassVar[bool] = False
    """Whether the family can `interleave`."""

    @abstractmethod
    def load_thinker(self, path: str, *, dtype: torch.dtype) -> PreTrainedModel:
        """Load the weights from a hub id or folder."""

    @abstractmethod
    def load_processor(self, path: str) -> Any:
        """Load the processor (tokenizer, feature extractors, chat template)."""

    @abstractmethod
    def encode(
        self, processor: Any, messages: list[dict[str, Any]], media: DecodedMedia
    ) -> EncodedPrompt:
        """Apply the chat template with the generation prompt and process the media."""

    def check_media(self, sample: Sample) -> None:
        """Refuse a sample of which the family would miss something.

        Chat templates pass over media that they do not know without a word.

        Raises:
            ConfigError: there is media of a kind that the family does not take.
        """
        for item in sample.media:
            if item.kind not in self.media_inputs:
                cannot = "hear" if item.kind is MediaKind.AUDIO else "see"
                raise ConfigError(
                    f"sample {sample.id}: {self.name} cannot {cannot} {item.path}: it takes "
                    f"{' and '.join(self.media_inputs)}, no {item.kind}; leave its {item.kind} "
                    "out of the sample's media, or use an omni model (Qwen/Qwen2.5-Omni-7B)"
                )

    def check_audio_in_video(self) -> None:
        """Raises ConfigError where the family cannot `interleave`."""
        if not self.audio_in_video:
            raise self._only_one_after_the_other()

    def interleave(self, thinker: PreTrainedModel, prompt: EncodedPrompt) -> EncodedPrompt:
        """Put videos and their sounds, which stand one after the other, in turns.

        Families with `audio_in_video` say how.

        Raises:
            ConfigError: the family cannot.
        """
        raise self._only_one_after_the_other()

    def _only_one_after_the_other(self) -> ConfigError:
        return ConfigError(
            f"{self.name} cannot read a video and its sound in turns; leave out audio_in_video"
        )

    @abstractmethod
    def positions(self, thinker: PreTrainedModel, prompt: EncodedPrompt) -> tuple[Tensor, Tensor]:
        """Rope positions (3, P) of the prompt and the position () of the first completion token."""

    @abstractmethod
    def embed_media(
        self, thinker: PreTrainedModel, kind: str, features: Mapping[str, Tensor]
    ) -> Tensor:
        """What a tower and its projector make of the media of one kind.

        Args:
            thinker: its weights.
            kind: a key of `media_inputs`.
            features: those that `media_inputs` names.

        Returns:
            Embeddings (M, H), one for each placeholder, in order.
        """

    @abstractmethod
    def media_token_ids(self, thinker: PreTrainedModel) -> tuple[int, ...]:
        """Ids of placeholders and media brackets: they must never be generated."""

    def collate(self, features: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """Join the media tensors of several prompts along dimension 0.

        Trailing dimensions that differ (mel frames of clips of different length) are padded with
        zeros; the attention masks among the features are padded alike and keep the padding out.
        """
        keys = {key: None for one in features for key in one}
        return {key: _cat([one[key] for one in features if key in one]) for key in keys}


def _cat(tensors: Sequence[Tensor]) -> Tensor:
    shape = [max(sizes) for sizes in zip(*(t.shape[1:] for t in tensors), strict=True)]
    return torch.cat([_pad(t, shape) for t in tensors])


def _pad(tensor: Tensor, shape: Sequence[int]) -> Tensor:
    if list(tensor.shape[1:]) == list(shape):
        return tensor
    padded = tensor.new_zeros(tensor.shape[0], *shape)
    padded[tuple(slice(0, size) for size in tensor.shape)] = tensor
    return padded
