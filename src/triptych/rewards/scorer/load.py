"""Scorers from their folders, whatever kind they are."""

from pathlib import Path
from typing import cast

from triptych.errors import ConfigError
from triptych.rewards.scorer.base import Scorer, read_scorer_file


def load_scorer(path: str | Path, device: str = "auto") -> Scorer:
    """The scorer in a folder that `triptych reward train` wrote.

    Args:
        path: the folder.
        device: "cpu", "cuda" ..., or "auto": a GPU when there is one.

    Raises:
        ConfigError: the folder holds no scorer, or one of an unknown kind.
        DataError: its scorer.json is broken.
    """
    folder = Path(path)
    match read_scorer_file(folder).get("kind"):
        case "text":
            from triptych.rewards.scorer.text import TextScorer

            return TextScorer.load(folder, device)
        case "omni":
            from triptych.rewards.scorer.omni import OmniScorer

            return cast(Scorer, OmniScorer.load(folder, device))
        case kind:
            raise ConfigError(f"{folder}: kind: {kind!r} is neither 'text' nor 'omni'")
