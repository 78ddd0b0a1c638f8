"""`triptych data show PATH OUT`: a data set as one HTML page to look at."""

from dataclasses import dataclass
from pathlib import Path

from triptych.cli.config import argument
from triptych.cli.model import check_at_least


@dataclass(frozen=True, kw_only=True)
class ShowConfig:
    """What is shown, and where."""

    path: Path = argument()
    """The data set, in any form that `triptych data convert` reads."""
    out: Path = argument()
    """HTML file for the page; one that is there is replaced."""
    form: str | None = None
    """Form of its records, if it cannot be told from them; see `triptych data convert`."""
    media_root: Path | None = None
    """Folder that media paths are relative to; by default the folder of the data set."""
    limit: int = 60
    """Most samples on the page, at equal distances over the data set."""

    def __post_init__(self) -> None:
        check_at_least(1, self, "limit")


def run(config: ShowConfig) -> None:
    """Write a contact sheet: each sample with its frames, sound, question and reference.

    The page is self-contained. Media that cannot be decoded, and records that cannot be read, are
    named on it.
    """
    from triptych.data.readers import read_dataset
    from triptych.report.contact_sheet import write_contact_sheet

    dataset = read_dataset(config.path, media_root=config.media_root, form=config.form)
    count = write_contact_sheet(dataset, config.path.name, config.out, config.limit)
    print(f"{count} of {len(dataset.samples)} samples: {config.out}")
