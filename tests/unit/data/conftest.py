"""A small set of clips, made once."""

from pathlib import Path

import pytest

from triptych.data.clips import ClipSizes, ClipSummary, make_clips

SEED = 7
SIZES = ClipSizes(cold_start=72, rl_biased=20, rl_balanced=9, validation=9, test_balanced=36)


@pytest.fixture(scope="session")
def clip_set(tmp_path_factory: pytest.TempPathFactory) -> ClipSummary:
    return make_clips(tmp_path_factory.mktemp("clips") / "set", SEED, SIZES, jobs=1)


@pytest.fixture
def clip(clip_set: ClipSummary) -> Path:
    """One clip: 1.0 s, eight frames of 56 x 56, sound."""
    return clip_set.folder / "cold-start" / "0000.mp4"
