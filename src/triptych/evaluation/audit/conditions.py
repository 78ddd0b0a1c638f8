"""The conditions that a benchmark is repeated under, and what becomes of a sample under each.

A condition keeps a sample's id and question. It alters what there is to see and to hear, or the
order of the options with the letter of the right answer.
"""

from collections.abc import Mapping
from enum import StrEnum

from triptych.data.sample import Media, MediaKind, ProblemType, Sample
from triptych.evaluation.metrics import cluster_of
from triptych.stages.prompt import OPTION_LETTERS


class Condition(StrEnum):
    """What is altered."""

    FULL = "full"
    """Nothing: the benchmark as it is."""
    BLIND = "blind"
    """Videos and images are withheld."""
    DEAF = "deaf"
    """Sound is withheld."""
    TEXT_ONLY = "text_only"
    """All media are withheld: the question alone. Asked in every cyclic order of the options."""
    SWAPPED_VIDEO = "swapped_video"
    """The videos and images are another sample's."""
    SWAPPED_AUDIO = "swapped_audio"
    """The sound is another sample's."""
    SWAPPED = "swapped"
    """All media are another sample's."""
    SHUFFLED = "shuffled"
    """The frames of the videos stand in random order."""
    PERMUTED = "permuted"
    """The options of multiple-choice questions stand in every other cyclic order, the letter of the
    right answer with them."""


class Withhold(StrEnum):
    """What a withheld medium is replaced by."""

    REMOVE = "remove"
    """Nothing: the prompt does not mention it."""
    BLANK = "blank"
    """Black frames or silence, as long as what is withheld."""


SEEN = frozenset({MediaKind.VIDEO, MediaKind.IMAGE})
HEARD = frozenset({MediaKind.AUDIO})

WITHHELD: Mapping[Condition, frozenset[MediaKind]] = {
    Condition.BLIND: SEEN,
    Condition.DEAF: HEARD,
    Condition.TEXT_ONLY: SEEN | HEARD,
}
"""The kinds of media that a condition withholds."""

SWAPS: Mapping[Condition, frozenset[MediaKind]] = {
    Condition.SWAPPED_VIDEO: SEEN,
    Condition.SWAPPED_AUDIO: HEARD,
    Condition.SWAPPED: SEEN | HEARD,
}
"""The kinds of media that a condition takes from another sample."""

REORDERED = (Condition.TEXT_ONLY, Condition.PERMUTED)
"""Conditions that are asked in several orders of the options."""

_CHOICES = (ProblemType.MULTIPLE_CHOICE, ProblemType.MULTI_SELECT)


def has_options(sample: Sample) -> bool:
    """Whether the question is answered by letters of options."""
    return sample.problem_type in _CHOICES


def has_media(sample: Sample, kinds: frozenset[MediaKind]) -> bool:
    """Whether anything of these kinds is shown or heard."""
    return any(item.kind in kinds for item in sample.media)


def with_media(sample: Sample, media: tuple[Media, ...]) -> Sample:
    """The sample with other media. What it shares with other questions stays what it was."""
    extra = {**sample.extra, "clip": cluster_of(sample)}
    return sample.model_copy(update={"media": media, "extra": extra})


def without(sample: Sample, kinds: frozenset[MediaKind]) -> Sample:
    """The sample with its media of these kinds removed from the prompt."""
    return with_media(sample, tuple(item for item in sample.media if item.kind not in kinds))


def replaced(sample: Sample, by: Mapping[Media, Media]) -> Sample:
    """The sample with other media in the place of some of its own."""
    return with_media(sample, tuple(by.get(item, item) for item in sample.media))


def swapped(sample: Sample, donor: Sample, kinds: frozenset[MediaKind]) -> Sample:
    """The sample with the donor's media of these kinds in the place of its own.

    The first video becomes the donor's first video, and so on, kind by kind: the order of the
    prompt stays. Each of the donor's items keeps its start and end.
    """
    given = {kind: [item for item in donor.media if item.kind is kind] for kind in kinds}
    media = tuple(given[item.kind].pop(0) if item.kind in kinds else item for item in sample.media)
    return with_media(sample, media)


def turned(sample: Sample, places: int) -> Sample:
    """The sample with its options moved up by some places, the first ones behind the last.

    The letters of the right answer move along. The reasoning of the reference is left out: it may
    name letters, which are no longer right.
    """
    count = len(sample.options)
    options = tuple(sample.options[(index + places) % count] for index in range(count))
    letters = sorted(
        OPTION_LETTERS[(OPTION_LETTERS.index(letter) - places) % count]
        for letter in sample.answer.split(",")
    )
    reference = sample.reference.model_copy(update={"reasoning": None})
    return sample.model_copy(
        update={"options": options, "answer": ",".join(letters), "reference": reference}
    )
