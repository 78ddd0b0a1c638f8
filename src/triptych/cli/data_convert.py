"""`triptych data convert PATH OUT`: a data set in any known form as one file of samples."""

import re
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from triptych.cli.config import argument
from triptych.data.media import MediaBudget
from triptych.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from triptych.data.readers import Problem

_SHOWN = 10
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class Target(StrEnum):
    """The form of what is written."""

    NATIVE = "native"
    """JSONL, one sample a line: what the other commands read."""
    VERL = "verl"
    """A Parquet file of prompts for verl, without sound."""


@dataclass(frozen=True, kw_only=True)
class ConvertConfig:
    """What is converted, and how it is read."""

    path: Path = argument()
    """The data set: a JSON, JSONL, CSV, TSV or Parquet file; a YAML list of such, with json_path,
    data_root and sampling_strategy; a folder that datasets saved; or hf:NAME:SPLIT on the hub."""
    out: Path = argument()
    """File for the samples; one that is there is replaced. Media stay where they are."""
    to: Target = Target.NATIVE
    """What is written: native, a JSONL file; or verl, a Parquet file of prompts for verl."""
    media: MediaBudget = MediaBudget()
    """How much of each video and image verl is told to take (--to verl; fps, max_frames and
    max_pixels)."""
    form: str | None = None
    """Form of the records: native, video_r1, humanomni, social_iq, daily_omni, worldsense, chat or
    columns. By default it is told from their fields."""
    media_root: Path | None = None
    """Folder that media paths are relative to; by default that of the file, or the data_root of a
    list."""
    seed: int = 0
    """Decides which records a list draws by random:N."""
    new_ids: bool = False
    """Give a record whose id is missing, or stands twice, a new one made from its place."""
    save_media: Path | None = None
    """Folder for the media that a table holds in its cells, as Hugging Face data sets do."""
    allow_problems: bool = False
    """Exit code 0 even where records were left out."""

    def __post_init__(self) -> None:
        if self.out.resolve() == self.path.resolve():
            raise ConfigError(f"out is {self.out}, which is being converted; name another file")


def run(config: ConvertConfig) -> int:
    """Write a data set, whatever its form, as the JSONL file that the other commands read.

    Or, by --to verl, as the prompts that verl reads.

    Fields that Triptych does not know are kept under "extra". A record that is no sample is left
    out, and listed with its cause in OUT.rejected.jsonl; then the exit code is 1.
    """
    from triptych.data.readers import read_dataset
    from triptych.data.sample import write_samples
    from triptych.errors import DataError
    from triptych.files import write_lines

    dataset = read_dataset(
        config.path,
        media_root=config.media_root,
        form=config.form,
        seed=config.seed,
        new_ids=config.new_ids,
        save_media=config.save_media,
    )
    print(f"{config.path}: {dataset.form}: {dataset.why}")
    rejected = config.out.with_name(f"{config.out.name}.rejected.jsonl")
    _show_problems(dataset.problems)
    if not dataset.samples:
        raise DataError(f"{config.path}: no record is a sample, so nothing is written")
    if config.to == Target.VERL:
        from triptych.integrations.verl_data import write_prompts

        write_prompts(config.out, dataset.samples, config.media)
    else:
        write_samples(config.out, dataset.samples)
    if dataset.problems:
        write_lines(rejected, (vars(problem) for problem in dataset.problems))
    else:
        rejected.unlink(missing_ok=True)
    counts = Counter(str(sample.problem_type) for sample in dataset.samples)
    by_type = ", ".join(f"{kind} {count}" for kind, count in counts.most_common())
    print(f"written: {config.out}, {len(dataset.samples)} samples ({by_type})")
    if dataset.problems:
        print(f"left out: {len(dataset.problems)} records, listed in {rejected}")
    return 1 if dataset.problems and not config.allow_problems else 0


def _show_problems(problems: "Sequence[Problem]") -> None:
    for problem in problems[:_SHOWN]:
        # No control character of the data reaches the terminal.
        print(f"  {_CONTROLS.sub('?', str(problem))}")
    if len(problems) > _SHOWN:
        print(f"  and {len(problems) - _SHOWN} more")
    if (count := sum(problem.repairable for problem in problems)) > 0:
        print(f"  {count} of them lack nothing but an id of their own: --new-ids makes them")
