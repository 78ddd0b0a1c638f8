"""The columns of a data set, as reward functions are given them: what is known of each sample."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from triptych.data.sample import Media, Reference, Sample
from triptych.errors import DataError


class PlainReference(dict[str, Any]):
    """A `Reference` as a dict, which remembers what it was made from.

    Reward functions are given plain values; ours need the reference again, and to check a dict
    field by field takes longer than to score it.
    """

    def __init__(self, source: Reference) -> None:
        super().__init__(source.model_dump())
        self.source = source


def sample_columns(samples: Sequence[Sample]) -> dict[str, list[Any]]:
    """What a reward function is told about each completion's sample, as TRL passes it: columns.

    Args:
        samples: One per completion, so a sample stands there once for each of its completions.

    Returns:
        Lists as long as `samples`: ``sample_id``, ``question``, ``problem_type`` (str),
        ``options`` (tuple of str), ``answer`` (str), ``reference`` (`Reference` as a dict),
        ``media`` (list of `Media` as dicts) and ``extra`` (dict). Completions of one sample share
        their values.
    """
    # Copies of a sample under other ids share its reference and its media.
    references = {id(sample.reference): sample.reference for sample in samples}
    plain = {key: PlainReference(reference) for key, reference in references.items()}
    media = {id(sample.media): sample.media for sample in samples}
    plain_media = {key: _plain_media(items) for key, items in media.items()}
    return {
        "sample_id": [sample.id for sample in samples],
        "question": [sample.question for sample in samples],
        "problem_type": [str(sample.problem_type) for sample in samples],
        "options": [sample.options for sample in samples],
        "answer": [sample.answer for sample in samples],
        "reference": [plain[id(sample.reference)] for sample in samples],
        "media": [plain_media[id(sample.media)] for sample in samples],
        "extra": [sample.extra for sample in samples],
    }


def _plain_media(media: Sequence[Media]) -> list[dict[str, Any]]:
    return [item.model_dump(mode="json") for item in media]


def as_media(value: Sequence[Media | Mapping[str, Any]] | None) -> tuple[Media, ...]:
    """The `media` column's value as `Media`; None is no media.

    Fields that are None (data set libraries fill gaps so) count as left out.

    Raises:
        DataError: an item is no media item.
    """
    try:
        return tuple(
            item
            if isinstance(item, Media)
            else Media(**{name: entry for name, entry in item.items() if entry is not None})
            for item in value or ()
        )
    except (ValidationError, TypeError, AttributeError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(
            f'media: {value!r:.80} ({reason}); pass a list of {{"kind": "video", "path": "a.mp4"}}'
        ) from error
