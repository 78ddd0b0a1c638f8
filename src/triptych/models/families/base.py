"""What Triptych asks of a model family.

A family is one file. It knows how to load the text decoder with its media encoders (the
"thinker"), how to turn chat messages and decoded media into model inputs, and which positions
the model's own rope index gives to a prompt. Everything else is common to all families.

Shapes: P prompt tokens, 3 rope axes (time, height, width).
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, cast

import torch
import transformers
from PIL.Image import Image
from torch import Tensor
from transformers import PreTrainedModel
from transformers.utils import is_torchvision_available

from triptych.data.media import Audio, Video
from triptych.data.sample import MediaKind, Sample
from triptych.errors import ConfigError, MediaError
from triptych.models.weight_files import named_when_broken

# Fields of configs.
_BRACKETS = (
    "audio_start_token_id",
    "audio_end_token_id",
    "vision_start_token_id",
    "vision_end_token_id",
)


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
        placeholder: field of the thinker's config that holds the id of its placeholder; dots lead
            into configs inside of it.
    """

    tower: str
    features: tuple[str, ...]
    placeholder: str


class Family(ABC):
    """One model family: loading, inputs, positions."""

    name: ClassVar[str]
    hub_ids: ClassVar[tuple[str, ...]]
    """Published models of the family."""
    model_types: ClassVar[frozenset[str]]
    """Values of ``config.model_type`` that this family loads."""
    thinker_class: ClassVar[str]
    """Class of transformers that holds decoder and towers."""
    processor_class: ClassVar[str]
    """Class of transformers that makes model inputs; `pil_processor` has one of the same name for
    machines without torchvision."""
    towers: ClassVar[Mapping[str, str]]
    """Media encoders that can be frozen: short name -> module path in the thinker."""
    projectors: ClassVar[Mapping[str, str]] = {}
    """Tower -> module path of what leads from it to the decoder, where that is no part of it. Only
    if both are frozen is the tower run once for a prompt."""
    media_inputs: ClassVar[Mapping[str, MediaInput]]
    """Kinds of media: name -> how it reaches the decoder."""
    decoder: ClassVar[str] = "model.language_model"
    """Module path, in the thinker, of the text decoder: it takes embeddings and rope positions."""
    rope_axes: ClassVar[int] = 3
    """Axes of the decoder's rope: time, height and width, or 1, which then is the time."""
    towers_by_segment: ClassVar[frozenset[str]] = frozenset({"vision", "audio"})
    """Towers that read all media as one row and attend within segments of it; see
    `tower_attention`. The others keep transformers' own attention."""
    audio_in_video: ClassVar[bool] = False
    """Whether the family can `interleave`."""

    def load_thinker(self, path: str, *, dtype: torch.dtype, **loading: Any) -> PreTrainedModel:
        """Load the weights from a hub id or folder; `loading` is for ``from_pretrained``.

        Raises:
            ModelError: a file of weights is broken.
        """
        kind = getattr(transformers, self.thinker_class)
        with named_when_broken(path):
            thinker = kind.from_pretrained(path, dtype=dtype, attn_implementation="sdpa", **loading)
        if dtype == torch.float64 and hasattr(thinker.config.get_text_config(), "num_experts"):
            thinker.set_experts_implementation("eager")  # grouped products do not know fp64
        return cast(PreTrainedModel, thinker)

    def load_processor(self, path: str) -> Any:
        """Load the processor (tokenizer, feature extractors, chat template)."""
        if is_torchvision_available():
            return getattr(transformers, self.processor_class).from_pretrained(path)
        from triptych.models.pil_processor import load_without_torchvision

        return load_without_torchvision(path, self.processor_class)

    @abstractmethod
    def build_tiny(self, folder: str | Path, seed: int = 0) -> Path:
        """Save a toy of the real architecture, processor included; weights by chance from `seed`.

        Nothing is fetched. All that holds for the family is tested on it.
        """

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
        """Rope positions (3, P) of the prompt and the position () of the first completion token.

        Where the rope has one axis, all three rows are equal.
        """

    def embed_media(
        self, thinker: PreTrainedModel, kind: str, features: Mapping[str, Tensor]
    ) -> Tensor:
        """What a tower and its projector make of the media of one kind.

        Args:
            thinker: its weights.
            kind: a key of `media_inputs`.
            features: those that `media_inputs` names.

        Returns:
            Embeddings (M, H), one for each placeholder, in order; (M, 1 + D, H) where the outputs
            of the first D decoder layers are added to, as well (DeepStack, arXiv 2406.04334).
        """
        output = getattr(thinker, f"get_{kind}_features")(**features, return_dict=True)
        levels = [output.pooler_output, *(getattr(output, "deepstack_features", None) or ())]
        # Of images and videos: one tensor for each.
        joined = [
            level if isinstance(level, Tensor) else torch.cat(list(level)) for level in levels
        ]
        return joined[0] if len(joined) == 1 else torch.stack(joined, dim=1)

    def placeholder_id(self, config: Any, kind: str) -> int:
        """The id that stands for media of a kind, from the thinker's config."""
        return int(attrgetter(self.media_inputs[kind].placeholder)(config))

    def media_token_ids(self, thinker: PreTrainedModel) -> tuple[int, ...]:
        """Ids of placeholders and media brackets: they must never be generated."""
        ids = [self.placeholder_id(thinker.config, kind) for kind in self.media_inputs]
        brackets = (getattr(thinker.config, name, None) for name in _BRACKETS)
        return tuple(sorted({*ids, *(each for each in brackets if each is not None)}))

    def longest(self, config: Any) -> int | None:
        """Most tokens of a prompt with a completion, from the thinker's config; None for any."""
        return None

    def collate(self, features: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """Join the media tensors of several prompts along dimension 0.

        Trailing dimensions that differ (mel frames of clips of different length) are padded with
        zeros; the attention masks among the features are padded alike and keep the padding out.
        """
        keys = {key: None for one in features for key in one}
        return {key: _cat([one[key] for one in features if key in one]) for key in keys}


def counted_positions(prompt: EncodedPrompt) -> tuple[Tensor, Tensor]:
    """What `Family.positions` returns where positions count tokens."""
    size = len(prompt.input_ids_P)
    return torch.arange(size).expand(3, -1), torch.tensor(size)


def check_length(extractor: Any, audios: Sequence[Audio]) -> None:
    """Refuse audio that a feature extractor would cut without a word.

    Raises:
        MediaError: audio is longer than it takes.
    """
    longest = max(len(audio.samples) for audio in audios)
    if longest > extractor.n_samples:
        seconds = extractor.n_samples / extractor.sampling_rate
        raise MediaError(
            f"audio of {longest / extractor.sampling_rate:.1f} s is longer than the "
            f"{seconds:.0f} s that this model takes; set media.max_seconds to {seconds:.0f} or less"
        )


def _cat(tensors: Sequence[Tensor]) -> Tensor:
    shape = [max(sizes) for sizes in zip(*(t.shape[1:] for t in tensors), strict=True)]
    return torch.cat([_pad(t, shape) for t in tensors])


def _pad(tensor: Tensor, shape: Sequence[int]) -> Tensor:
    if list(tensor.shape[1:]) == list(shape):
        return tensor
    padded = tensor.new_zeros(tensor.shape[0], *shape)
    padded[tuple(slice(0, size) for size in tensor.shape)] = tensor
    return padded
