"""What a test that must hold for every family is given; the fixture stands in conftest.py."""

from typing import NamedTuple

from triptych.data.sample import Sample
from triptych.models import OmniModel


class Subject(NamedTuple):
    """A model of some family, and samples with all kinds of media that it takes."""

    model: OmniModel
    samples: list[Sample]
