"""What is kept on disk of an encoded prompt, and how prompts are made of it again.

Kept are the processor's media tensors and the part of the prompt's ids that the media fill. The
text around it is tokenised afresh, so all questions about the same media share an entry. Where the
cache keeps embeddings, those of frozen towers stand in the place of pixels and mels.

Shapes: P prompt tokens, M of them from the first to the last that stands for media.
"""

import hashlib
import importlib.metadata
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

import triptych
from triptych.data.feature_cache import Entry, FeatureCache
from triptych.data.media import MediaBudget
from triptych.data.sample import Media
from triptych.models.families import Family
from triptych.models.families.base import EncodedPrompt

_PACKAGES = ("av", "numpy", "pillow", "torch", "torchvision", "transformers")
_SOURCES = (
    "data/containers.py", "data/media/*.py", "models/families/*.py", "models/pil_*.py",
    "models/tower*.py",
)  # fmt: skip
_PROCESSORS = ("image_processor", "video_processor", "feature_extractor", "audio_processor")
_PLACEHOLDERS, _IDS, _FEATURE = "placeholders", "ids", "feature."


class KeptPrompt(NamedTuple):
    """A prompt from the cache, and what decoding cut of its media."""

    encoded: EncodedPrompt
    notices: tuple[str, ...]


class KeptFeatures:
    """The entries of a cache that belong to one processor and budget."""

    def __init__(
        self, cache: FeatureCache, processor: Any, family: Family, budget: MediaBudget
    ) -> None:
        self._cache = cache
        self._processor, self._family, self._budget = processor, family, budget

    @property
    def embeddings(self) -> bool:
        """Whether embeddings are kept."""
        return self._cache.embeddings

    def key(self, media: Sequence[Media], *, with_sound: bool = False, towers: str = "") -> str:
        """The name of the entry for these media.

        Args:
            media: their files are read.
            with_sound: the videos are read in turns with their sound.
            towers: what made the embeddings of the entry; "" for one without.

        Raises:
            MediaError: a file is missing or cannot be read.
        """
        recipe = f"{self._recipe}, videos with sound" if with_sound else self._recipe
        recipe += f", towers {towers}" if towers else ""
        return self._cache.key(media, recipe)

    def __contains__(self, key: str) -> bool:
        return key in self._cache

    def load(
        self,
        key: str,
        plain_P: Tensor,
        media_ids: Iterable[int],
        media: Sequence[Media],
        *,
        with_sound: bool = False,
    ) -> KeptPrompt | None:
        """Make a prompt of an entry; None where there is none that is whole and fits.

        Args:
            key: the name of the entry.
            plain_P: the prompt's ids with one placeholder for each media item.
            media_ids: ids that stand for media.
            media: the items, whose files the notices name.
            with_sound: as in the key.
        """
        entry = self._cache.get(key)
        if entry is None:
            return None
        part = _media_part(plain_P, media_ids)
        if not plain_P[_seam(part)].equal(entry.tensors[_PLACEHOLDERS]):  # another chat template
            return None
        ids = torch.cat([plain_P[: part.start], entry.tensors[_IDS], plain_P[part.stop :]])
        features = {
            name.removeprefix(_FEATURE): tensor
            for name, tensor in entry.tensors.items()
            if name.startswith(_FEATURE)
        }
        notices = [
            _with_path(index, text, media) for index, text in json.loads(entry.texts["notices"])
        ]
        return KeptPrompt(EncodedPrompt(ids, features, with_sound), tuple(notices))

    def save(
        self,
        key: str,
        plain_P: Tensor,
        media_ids: Iterable[int],
        media: Sequence[Media],
        prompt: KeptPrompt,
    ) -> None:
        """Keep the media of a prompt; the first arguments are those of `load`.

        Nothing is kept where a token reaches from the text into the part that media fill, as before
        the time of a picture in words.
        """
        part, ids_P = _media_part(plain_P, media_ids), prompt.encoded.input_ids_P
        filled = slice(part.start, len(ids_P) - (len(plain_P) - part.stop))
        if not ids_P[: part.start].equal(plain_P[: part.start]):
            return
        features = {_FEATURE + name: tensor for name, tensor in prompt.encoded.features.items()}
        tensors = {_PLACEHOLDERS: plain_P[_seam(part)], _IDS: ids_P[filled], **features}
        notices = [_without_path(notice, media) for notice in prompt.notices]
        self._cache.put(key, Entry(tensors, {"notices": json.dumps(notices)}))

    @cached_property
    def _recipe(self) -> str:
        """A fingerprint of all that features depend on besides the media: settings and code.

        At first use, not before: tokens may be added to the tokenizer when it is loaded.
        """
        parts = {name: getattr(self._processor, name, None) for name in _PROCESSORS}
        sources = Path(triptych.__file__).parent
        files = sorted(file for pattern in _SOURCES for file in sources.glob(pattern))
        recipe = {
            "budget": asdict(self._budget),
            "family": self._family.name,
            "processors": {
                name: [type(part).__module__, part.to_dict()]
                for name, part in parts.items()
                if part
            },
            "vocabulary": sorted(self._processor.tokenizer.get_vocab().items()),
            "versions": {name: _version(name) for name in _PACKAGES},
            "code": [hashlib.sha256(file.read_bytes()).hexdigest() for file in files],
        }
        return hashlib.sha256(json.dumps(recipe, sort_keys=True, default=str).encode()).hexdigest()


def _without_path(notice: str, media: Sequence[Media]) -> tuple[int | None, str]:
    """Which item's path a notice begins with, and the rest: the file may be moved."""
    for index, item in enumerate(media):
        if notice.startswith(beginning := f"{item.path}: "):
            return index, notice.removeprefix(beginning)
    return None, notice


def _with_path(index: int | None, text: str, media: Sequence[Media]) -> str:
    return text if index is None else f"{media[index].path}: {text}"


def _media_part(plain_P: Tensor, media_ids: Iterable[int]) -> slice:
    """From the first to the last id that stands for media."""
    (places,) = torch.isin(plain_P, torch.tensor(sorted(media_ids))).nonzero(as_tuple=True)
    return slice(int(places[0]), int(places[-1]) + 1)


def _seam(part: slice) -> slice:
    """The part and the token in front of it, on which the first token of the part may depend."""
    return slice(max(part.start - 1, 0), part.stop)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
