"""Decode images, video and sound within a budget.

A file that cannot be decoded is an error that names it and the cause; it is never replaced by
blank frames or silence. What the budget cuts is said in `notices`, one sentence each.
"""

from triptych.data.media.audio import SAMPLE_RATE, Audio, decode_audio
from triptych.data.media.budget import MediaBudget
from triptych.data.media.images import decode_image
from triptych.data.media.video import Video, decode_video

__all__ = [
    "SAMPLE_RATE",
    "Audio",
    "MediaBudget",
    "Video",
    "decode_audio",
    "decode_image",
    "decode_video",
]
