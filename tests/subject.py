"""What a test that must hold for every family is given; the fixtures stand in fixtures.py."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Self

import pytest
import torch
from _pytest.mark import ParameterSet

from triptych.data.sample import Media, MediaKind, Sample
from triptych.models import OmniModel
from triptych.models.families import FAMILIES, Family

TWINS = {"qwen3_vl_moe"}
"""Of their code nothing is their own: the dense model and the experts of another are tested."""


class FamilyFolders(dict[str, Path]):
    """Folders of tiny models by the names of their families, built at first use."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def __missing__(self, name: str) -> Path:
        (family,) = (family for family in FAMILIES if family.name == name)
        self[name] = family.build_tiny(self.folder / name)
        return self[name]


def family_parameter(family: Family) -> ParameterSet:
    """The name of a family, for tests of all of them; slow where another one stands for it."""
    marks = [pytest.mark.slow] if family.name in TWINS else []
    return pytest.param(family.name, marks=marks, id=family.name)


class Subject(NamedTuple):
    """A model of some family, and samples about media that it takes.

    Attributes:
        model: its weights are the test's own.
        samples: each with all kinds of media that the family takes.
        mixed: one with all kinds, one without media, one of each kind alone, one with a kind twice
            and cut short; no clip twice.
    """

    model: OmniModel
    samples: list[Sample]
    mixed: list[Sample]

    @classmethod
    def of(cls, model: OmniModel, clips: Sequence[Sample], still: Media) -> Self:
        """Clips hold a video and its sound."""

        def about(sample: Sample, *kinds: str, end: float | None = None) -> Sample:
            of_kind = {media.kind.value: media for media in (*sample.media, still)}
            media = [of_kind[kind] for kind in kinds]
            if end is not None:
                media = [
                    item if item.kind is MediaKind.IMAGE else item.model_copy(update={"end": end})
                    for item in media
                ]
            return sample.model_copy(update={"media": tuple(media)})

        kinds = list(model.family.media_inputs)
        films = list({sample.media: sample for sample in clips}.values())
        everything = [about(sample, *kinds) for sample in clips]
        alone = [about(sample, kind) for sample, kind in zip(films[1:], kinds, strict=False)]
        twice = about(films[-1], *kinds, kinds[-1], end=0.5)
        return cls(model, everything, [everything[0], about(films[0]), *alone, twice])


def to_double(model: OmniModel) -> OmniModel:
    """In fp64, which grouped matrix products of experts do not know."""
    if getattr(model.config.get_text_config(), "num_experts", None):
        model.thinker.set_experts_implementation("eager")
    return model.to(torch.float64)
