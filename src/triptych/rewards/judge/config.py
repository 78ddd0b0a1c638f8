"""The settings of an LLM judge: the section `judge:` of a command's config."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from triptych.data.media import MediaBudget
from triptych.endpoint import EndpointConfig


@dataclass(frozen=True, kw_only=True)
class JudgeConfig(EndpointConfig):
    """Which model judges, how it is asked, and when it is given up."""

    section: ClassVar[str] = "judge"
    own_fields: ClassVar[frozenset[str]] = frozenset(
        {"model", "messages", "temperature", "seed", "max_tokens", "response_format"}
    )

    cache: Path | None = None
    """SQLite file, on a local disk, where scored replies are kept; without one nothing is kept.
    Runs may share it, at the same time too."""
    with_media: bool = False
    """Judge contexts by frames and sound as well, for a model that sees and hears; also those that
    have no reference."""
    media: MediaBudget = MediaBudget(fps=1.0, max_frames=8, max_pixels=448 * 448, max_seconds=60.0)
    """How much of each clip the judge sees and hears (with_media)."""
    temperature: float | None = 0.0
    """Sampling temperature; null leaves it to the server."""
    seed: int | None = 0
    """Seed of the server's sampling; null leaves it to the server."""
    max_tokens: int | None = 512
    """Most tokens of a reply; null leaves it to the server."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check("temperature", lambda value: value >= 0, "0 or more")
        self.check("max_tokens", lambda value: value >= 1, "1 or more")
