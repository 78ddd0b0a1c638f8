"""What a trained scorer is: it is given a text of one stage, and says how good it is.

No torch here: a run that uses no scorer does not load one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, get_args

from triptych.data.sample import Media
from triptych.errors import ConfigError, DataError
from triptych.files import read_json, write_json
from triptych.rewards.base import Unscored
from triptych.rewards.scorer.corruptions.pair import Stage

__all__ = ["SCORER_FILE", "Candidate", "Scorer", "Stage", "read_scorer_file", "write_scorer_file"]

SCORER_FILE = "scorer.json"
FORMAT = 1


@dataclass(frozen=True)
class Candidate:
    """A text of one stage, with all that a scorer may hold it against.

    Attributes:
        text: What a model wrote in the stage.
        reference: Context: the reference context. Reasoning: the context that it has to follow
            from, which is the model's own.
        answer: What the completion answers; for reasoning only.
        media: What the model saw and heard; for scorers that look.
    """

    text: str
    reference: str = ""
    question: str = ""
    problem_type: str = ""
    options: tuple[str, ...] = ()
    answer: str = ""
    media: tuple[Media, ...] = ()


class Scorer(Protocol):
    """A trained reward model of one stage."""

    @property
    def stage(self) -> Stage:
        """The stage whose texts it scores."""

    @property
    def needs_reference(self) -> bool:
        """Whether it compares with a reference; others look at the media."""

    def score(self, candidates: Sequence[Candidate]) -> list[float | Unscored]:
        """One value in [0, 1] per candidate, or why it has none. A blank text is 0.

        What stands in a text to move its score (`guards.clean`) is taken out first.
        """


def write_scorer_file(folder: Path, *, kind: str, stage: Stage, **settings: Any) -> None:
    """Write scorer.json, which makes a folder a scorer; so write it last."""
    record = {"format": FORMAT, "kind": kind, "stage": stage, **settings}
    write_json(folder / SCORER_FILE, record)


def read_scorer_file(folder: Path) -> dict[str, Any]:
    """What scorer.json says: ``format``, ``kind``, ``stage``, and settings of the kind.

    Raises:
        ConfigError: the folder holds no scorer, or one of a newer format.
        DataError: the file is broken.
    """
    path = Path(folder) / SCORER_FILE
    if not path.is_file():
        raise ConfigError(
            f"{folder}: not a scorer, it has no {SCORER_FILE}; name a folder that "
            "`triptych reward train` wrote"
        )
    record = read_json(path)
    if record.get("format") != FORMAT:
        raise ConfigError(
            f"{path}: format: is {record.get('format')!r}, this version reads {FORMAT}; "
            "train the scorer again, or use the version of Triptych that wrote it"
        )
    if record.get("stage") not in get_args(Stage):
        raise DataError(
            f"{path}: stage: {record.get('stage')!r} is none of {', '.join(get_args(Stage))}"
        )
    return record
