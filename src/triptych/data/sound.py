"""Videos and their own sound: which items of a prompt belong together, and adding what is missing.

The list of a sample's media says what a model sees and hears. A video and an audio item right
behind it, of the same file and the same seconds, are one film: they can be read in turns.
"""

import logging
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from triptych.data.detect import detect
from triptych.data.sample import Media, MediaKind, Sample
from triptych.errors import MediaError

_log = logging.getLogger(__name__)


def own_sound(video: Media) -> Media:
    """The sound of a video, as an item of its own."""
    return video.model_copy(update={"kind": MediaKind.AUDIO})


def are_films(media: Sequence[Media]) -> bool:
    """Whether the videos of a prompt are to be read in turns with their sound.

    Models take either all videos of a prompt so, or none. None where the prompt is without video
    or without sound: then there is nothing to take turns with.

    Raises:
        MediaError: there are both, and a video's own sound is not right behind it.
    """
    kinds = {item.kind for item in media}
    if not kinds >= {MediaKind.VIDEO, MediaKind.AUDIO}:
        return False
    for item, following in zip(media, [*media[1:], None], strict=True):
        if item.kind is MediaKind.VIDEO and following != own_sound(item):
            raise MediaError(
                f"{item.path}: its own sound (an audio item of the same file, start and end) is "
                "not the next item, as it must be of every video of a prompt that is read in "
                "turns; put it there if the file has one, or leave out audio_in_video"
            )
    return True


def with_own_sound(samples: Sequence[Sample]) -> list[Sample]:
    """Samples that show videos but let nothing be heard, with the sound of these videos added.

    Where a sample names some sound itself it stays as it is, and so does a silent video. A file
    that is missing or broken is left for decoding to name.
    """
    has_sound = cache(_has_sound)  # many samples may ask about one file

    def heard(sample: Sample) -> Sample:
        if any(item.kind is MediaKind.AUDIO for item in sample.media):
            return sample
        items: list[Media] = []
        for item in sample.media:
            items.append(item)
            if item.kind is MediaKind.VIDEO and has_sound(item.path):
                items.append(own_sound(item))
        return sample.model_copy(update={"media": tuple(items)})

    changed = [heard(sample) for sample in samples]
    pairs = zip(samples, changed, strict=True)
    if count := sum(len(one.media) != len(two.media) for one, two in pairs):
        _log.warning("%d of %d samples are given the sound of their videos", count, len(samples))
    return changed


def _has_sound(path: Path) -> bool:
    try:
        return MediaKind.AUDIO in detect(path)
    except MediaError:
        return False
