"""Synthetic clips of human intention: a face that may turn, a voice that may change.

What the person feels follows from the face and the voice together, never from one alone, so a
model that only looks or only listens is found out.
"""

from triptych.data.clips.baselines import Baselines
from triptych.data.clips.drills import text_only_samples
from triptych.data.clips.make import SPLITS, ClipSizes, ClipSummary, make_clips
from triptych.data.clips.questions import corpus_lines

__all__ = [
    "SPLITS",
    "Baselines",
    "ClipSizes",
    "ClipSummary",
    "corpus_lines",
    "make_clips",
    "text_only_samples",
]
