"""The smallest media that a tower can read, for forwards that must run it without having any.

They come out of the processor as any media do, so this holds for every family.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from PIL.Image import new as blank_image
from torch import Tensor

from triptych.data.media import Audio
from triptych.models.families import Family
from triptych.models.families.base import DecodedMedia
from triptych.models.omni import OmniModel

_PIXELS = 28  # the processor enlarges it to what it takes at least
_SECONDS = 0.1


def towers_in(family: Family, features: Mapping[str, Tensor]) -> frozenset[str]:
    """The towers that read some of a prompt's features."""
    return frozenset(
        tower for tower, names, _ in family.media_inputs.values() if names[0] in features
    )


def smallest_media(model: OmniModel) -> dict[str, tuple[str, dict[str, Tensor]]]:
    """For every tower of the model a kind of media that it reads, and features of that kind."""
    family, smallest = model.family, {}
    made = {"image": _blank_image, "audio": _silence}
    for kind in (kind for kind in family.media_inputs if kind in made):
        tower, names, _ = family.media_inputs[kind]
        message: dict[str, Any] = {"role": "user", "content": [{"type": kind}]}
        # As the trainer encodes: the feature extractor computes its spectra with torch.
        with torch.no_grad(), torch.autocast("cpu", enabled=False):
            encoded = family.encode(model.processor, [message], made[kind](model.processor))
        features = {name: encoded.features[name] for name in names if name in encoded.features}
        smallest[tower] = kind, features
    return smallest


def _blank_image(processor: Any) -> DecodedMedia:
    return DecodedMedia(images=[blank_image("RGB", (_PIXELS, _PIXELS))])


def _silence(processor: Any) -> DecodedMedia:
    extractor = getattr(processor, "feature_extractor", None) or processor.audio_processor
    rate = int(extractor.sampling_rate)
    return DecodedMedia(audios=[Audio(np.zeros(int(_SECONDS * rate), np.float32), rate)])
