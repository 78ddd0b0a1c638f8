"""What a sample is, where it comes from and what its media hold."""

from triptych.data.media import Audio, MediaBudget, Video, decode_audio, decode_image, decode_video
from triptych.data.sample import (
    Element,
    Media,
    MediaKind,
    ProblemType,
    Reference,
    Sample,
    read_samples,
    write_samples,
)

__all__ = [
    "Audio",
    "Element",
    "Media",
    "MediaBudget",
    "MediaKind",
    "ProblemType",
    "Reference",
    "Sample",
    "Video",
    "decode_audio",
    "decode_image",
    "decode_video",
    "read_samples",
    "write_samples",
]
