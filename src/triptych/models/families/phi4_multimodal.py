"""Phi-4-multimodal: text, images and sound, but no video.

The model was published as one text decoder with two adapters, for prompts with images ("vision")
and with sound alone ("speech"). Here one set of weights reads all prompts: a folder into which an
adapter is merged; weights that still have theirs beside them are refused. What leads from the sound
encoder to the decoder is chosen, as in the model's own forward, by whether there are images in the
prompt.

Each image and each sound is encoded as if it stood alone. transformers' own forward pads sounds of
different length to the longest, and what it hears of the shorter ones then depends on that: its
mask adds one to the scores of sound, and forbids nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from transformers import Phi4MultimodalAudioModel, PreTrainedModel
from transformers.utils import find_adapter_config_file

from triptych.data.media import Audio
from triptych.errors import MediaError, ModelError
from triptych.models.families.base import (
    DecodedMedia,
    EncodedPrompt,
    Family,
    MediaInput,
    counted_positions,
)

_IMAGE = ("image_pixel_values", "image_sizes", "image_attention_mask")
_AUDIO = ("audio_input_features", "audio_embed_sizes", "audio_attention_mask")
_BESIDE_IMAGES = "audio_beside_images"
_ADAPTERS = ("vision-lora", "speech-lora")


class Phi4Multimodal(Family):
    """The multimodal model of the Phi-4 series, with an adapter merged into its weights."""

    name: ClassVar[str] = "phi4_multimodal"
    hub_ids: ClassVar[tuple[str, ...]] = ("microsoft/Phi-4-multimodal-instruct",)
    model_types: ClassVar[frozenset[str]] = frozenset({"phi4_multimodal"})
    thinker_class: ClassVar[str] = "Phi4MultimodalForCausalLM"
    processor_class: ClassVar[str] = "Phi4MultimodalProcessor"
    decoder: ClassVar[str] = "model"
    towers: ClassVar[Mapping[str, str]] = {
        "vision": "model.embed_tokens_extend.image_embed",
        "audio": "model.embed_tokens_extend.audio_embed",
    }
    media_inputs: ClassVar[Mapping[str, MediaInput]] = {
        "image": MediaInput("vision", _IMAGE, "vision_config.image_token_id"),
        "audio": MediaInput("audio", (*_AUDIO, _BESIDE_IMAGES), "audio_config.audio_token_id"),
    }
    rope_axes: ClassVar[int] = 1
    towers_by_segment: ClassVar[frozenset[str]] = frozenset()

    def load_thinker(self, path: str, *, dtype: torch.dtype, **loading: Any) -> PreTrainedModel:
        """Load the weights.

        Raises:
            ModelError: they count on an adapter that lies beside them, or look back through a
                window that is shorter than their texts.
        """
        for adapter in _ADAPTERS:
            if _is_there(path, adapter):
                raise ModelError(
                    f"{path}: these weights count on an adapter of theirs ({adapter}), and without "
                    "it they answer badly; merge vision-lora into them (for sound alone: "
                    "speech-lora) and load what that writes, see docs/families.md"
                )
        thinker = super().load_thinker(path, dtype=dtype, **loading)
        config, window = thinker.config, thinker.config.sliding_window
        if window is not None and window < config.max_position_embeddings:
            raise ModelError(
                f"{path}: the decoder looks back {window} tokens, and a shared prefix needs full "
                "attention; where prompts are shorter, set sliding_window to null in its "
                "config.json"
            )
        config.sliding_window = None  # no text reaches beyond it
        return thinker

    def build_tiny(self, folder: str | Path, seed: int = 0) -> Path:
        from triptych.models.tiny.phi4_multimodal import build_tiny_phi4_multimodal

        return build_tiny_phi4_multimodal(folder, seed)

    def encode(
        self, processor: Any, messages: list[dict[str, Any]], media: DecodedMedia
    ) -> EncodedPrompt:
        features: dict[str, Tensor] = {}
        counts: dict[str, list[int]] = {"image": [], "audio": []}
        if media.images:
            try:
                images = processor.image_processor(images=list(media.images), return_tensors="pt")
            except ValueError as error:
                raise MediaError(f"an image cannot be cut into tiles: {error}") from error
            features |= {name: images[name] for name in _IMAGE}
            counts["image"] = [int(count) for count in images["num_img_tokens"]]
        if media.audios:
            sounds = [_spectrum(processor.audio_processor, audio) for audio in media.audios]
            features |= self.collate(sounds)
            counts["audio"] = features["audio_embed_sizes"].tolist()
            features[_BESIDE_IMAGES] = torch.full((len(sounds),), bool(media.images))
        tokens = {"image": processor.image_token, "audio": processor.audio_token}
        written = {kind: iter(places) for kind, places in counts.items()}
        # As text, since the published chat template knows no parts; and by the tokenizer, since the
        # official processor forgets its template when it is loaded.
        texts = [
            {**message, "content": _text(message["content"], tokens, written)}
            for message in messages
        ]
        tokenizer = processor.tokenizer
        text = tokenizer.apply_chat_template(texts, tokenize=False, add_generation_prompt=True)
        return EncodedPrompt(tokenizer(text, return_tensors="pt")["input_ids"][0], features)

    def positions(self, thinker: PreTrainedModel, prompt: EncodedPrompt) -> tuple[Tensor, Tensor]:
        length, longest = len(prompt.input_ids_P), self.longest(thinker.config)
        if longest is not None and length >= longest:
            raise MediaError(
                f"a prompt of {length} tokens, and {self.name} takes {longest} with its "
                "completion; cut media shorter (media.max_pixels, media.max_seconds)"
            )
        return counted_positions(prompt)

    def longest(self, config: Any) -> int | None:
        """Where all rope frequencies change, those of earlier tokens too; beyond that prompts in a
        row, and a rollout and its update, would not agree.
        """
        rope = config.rope_parameters
        return config.original_max_position_embeddings if rope["rope_type"] == "longrope" else None

    def embed_media(
        self, thinker: PreTrainedModel, kind: str, features: Mapping[str, Tensor]
    ) -> Tensor:
        """As the model's own forward, which writes media into embeddings of text."""
        tower = thinker.get_submodule(self.towers[self.media_inputs[kind].tower])
        read = _image if kind == "image" else _sound
        token, hidden = self.placeholder_id(thinker.config, kind), thinker.config.hidden_size
        embedded = []
        for item in range(len(features[self.media_inputs[kind].features[0]])):
            alone = {name: states[item : item + 1] for name, states in features.items()}
            count, reads = read(tower, alone)
            ids_1M = torch.full((1, count), token, device=thinker.device)
            blank_1MH = torch.zeros(1, count, hidden, device=thinker.device, dtype=thinker.dtype)
            with _same_windows(tower):
                embedded.append(tower(ids_1M, blank_1MH, **reads)[0])
        return torch.cat(embedded) + _nothing(tower)


def _is_there(path: str, adapter: str) -> bool:
    try:
        return find_adapter_config_file(path, subfolder=adapter) is not None
    except (OSError, ValueError):  # no model at all, as loading it will say
        return False


def _spectrum(extractor: Any, audio: Audio) -> dict[str, Tensor]:
    """What the encoder reads of one sound. With others the extractor would pad it."""
    if len(audio.samples) < extractor.win_length:
        raise MediaError(
            f"audio of {len(audio.samples)} samples is shorter than the {extractor.win_length} "
            "that this model looks at together"
        )
    made = extractor([audio.samples], sampling_rate=audio.rate, return_tensors="pt")
    features = {name: made[name] for name in _AUDIO if name in made}
    mels = features["audio_input_features"]
    return {**features, "audio_attention_mask": torch.ones(mels.shape[:2], dtype=torch.bool)}


def _text(content: Any, tokens: Mapping[str, str], counts: Mapping[str, Iterator[int]]) -> str:
    """A message's parts with as many placeholders as media have embeddings; one for unknown."""
    if isinstance(content, str):
        return content
    parts: Sequence[Mapping[str, Any]] = content
    return "".join(
        tokens[part["type"]] * next(counts[part["type"]], 1)
        if part["type"] in tokens
        else part["text"]
        for part in parts
    )


def _image(tower: nn.Module, alone: Mapping[str, Tensor]) -> tuple[int, dict[str, Tensor]]:
    """How many embeddings an image has, and what is read of it: no tiles of padding."""
    edge, overview = cast(int, tower.crop_size), cast(int, tower.num_img_tokens)
    rows, columns = (alone["image_sizes"][0] // edge).tolist()
    reads = {
        name: alone[name][:, : 1 + rows * columns] if alone[name].ndim > 2 else alone[name]
        for name in _IMAGE
    }
    mask_KMM = reads["image_attention_mask"][0, 1:, ::2, ::2]
    tiles = int(mask_KMM.sum()) + int(mask_KMM[::columns, :, 0].sum())
    return overview + int(overview**0.5) + 1 + tiles, reads


def _sound(tower: nn.Module, alone: Mapping[str, Tensor]) -> tuple[int, dict[str, Any]]:
    """The same of a sound: no frames of padding, and hence no mask."""
    frames = int(alone["audio_attention_mask"].sum())
    sizes = alone["audio_embed_sizes"]
    return int(sizes), {
        "audio_input_features": alone["audio_input_features"][:, :frames],
        "audio_embed_sizes": sizes,
        "audio_projection_mode": "vision" if alone[_BESIDE_IMAGES].all() else "speech",
    }


@contextmanager
def _same_windows(tower: nn.Module) -> Iterator[None]:
    """In training, too: there the sound encoder would draw the borders of its windows by chance,
    and the log-probs of an update would not be those of its rollout.
    """
    encoders = [part for part in tower.modules() if isinstance(part, Phi4MultimodalAudioModel)]
    training = [encoder for encoder in encoders if encoder.training]
    for encoder in training:
        encoder.training = False  # of the modules inside it nothing is changed
    try:
        yield
    finally:
        for encoder in training:
            encoder.training = True


def _nothing(tower: nn.Module) -> Tensor | float:
    """Zero, of all trained weights between a tower and the decoder: they get a gradient wherever it
    runs, whichever of them it takes. Processes exchange the gradients of a tower as a whole.
    """
    if not torch.is_grad_enabled():
        return 0.0
    projectors = [part for name, part in tower.named_children() if "_proj_" in name]
    weights = [weight for part in projectors for weight in part.parameters()]
    return cast(Tensor, sum(0 * weight.sum() for weight in weights if weight.requires_grad))
