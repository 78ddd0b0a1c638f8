"""`triptych clips make OUT`: the synthetic human-intention clips."""

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from triptych.cli.config import argument
from triptych.data.clips import ClipSizes, ClipSummary, make_clips


@dataclass(frozen=True)
class ClipsConfig:
    """Where the clips go, and how many there are."""

    out: Path = argument()
    """Folder for the clips: per split one folder of mp4 files and one JSONL file of questions."""
    seed: int = 0
    """Seed of everything drawn by chance. The same seed writes the same JSONL files, byte for
    byte."""
    sizes: ClipSizes = ClipSizes()
    """Clips of each split, and questions of each clip."""
    jobs: int | None = None
    """Processes that draw and encode clips at the same time; all cores by default."""


def make(config: ClipsConfig) -> None:
    """Write the synthetic human-intention clips.

    They are short H.264/AAC files of a cartoon face and a voice-like tone, with questions,
    answers and reference reasoning as JSONL. A set that is already there, whole and from the same
    seed and sizes, is kept; any other set of clips there is replaced.
    """
    summary = make_clips(config.out, config.seed, config.sizes, config.jobs)
    _show(summary, Console())


def _show(summary: ClipSummary, console: Console) -> None:
    """Print the questions by split and kind, and how far one modality gets."""
    kinds = list(dict.fromkeys(kind for split in summary.counts.values() for kind in split))
    table = Table("split", *kinds, title="questions")
    for split, by_kind in summary.counts.items():
        totals = (sum(by_kind.get(kind, {}).values()) for kind in kinds)
        table.add_row(split, *map(str, totals))
    console.print(table)
    baselines = summary.baselines
    console.print(
        "Intention questions of test-balanced answered rightly by the best rule that knows only "
        f"the face {baselines.face_only:.3f}, only the voice {baselines.voice_only:.3f}, "
        f"neither {baselines.prior:.3f}."
    )
    state = "were there already" if summary.reused else "written"
    if summary.replaced is not None:
        state += f" in the place of the set of seed {summary.replaced}"
    console.print(f"Clips {state}: {summary.folder}", soft_wrap=True)
