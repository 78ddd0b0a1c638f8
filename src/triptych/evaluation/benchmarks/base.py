"""What a benchmark is: where its data are had, how they are read, and how results are grouped.

A benchmark is data, not code: one file of this folder says all of it.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from triptych.data.readers import Dataset, read_dataset
from triptych.data.readers.tables import is_hub
from triptych.data.sample import Sample
from triptych.errors import DataError
from triptych.evaluation.protocol import Protocol

_log = logging.getLogger(__name__)

Group: TypeAlias = Callable[[Sample], str | None]
"""The part of a benchmark that a sample belongs to; None where the data do not say."""


def field_of(*names: str) -> Group:
    """The group that the first of these fields names, of those that data sets keep in `extra`."""

    def group(sample: Sample) -> str | None:
        values = (sample.extra.get(name) for name in names)
        value = next((value for value in values if value is not None), None)
        return None if value is None else str(value)

    return group


@dataclass(frozen=True)
class Source:
    """Where the data of a benchmark are had, and where they are looked for.

    Attributes:
        folder: where they are looked for unless another place is named.
        files: names that the file with the questions may have; of several, the first is read.
        commands: lines of shell that put the data into `folder`.
    """

    folder: Path
    files: tuple[str, ...]
    commands: tuple[str, ...]

    def file(self, title: str, path: Path | None) -> Path:
        """The file with the questions.

        Args:
            title: whose questions, for the message.
            path: that file, or the folder with it; `folder` by default.

        Raises:
            DataError: it is not there.
        """
        place = self.folder if path is None else path
        if place.is_file() or is_hub(place):
            return place
        candidates = [place / name for name in self.files]
        found = next((candidate for candidate in candidates if candidate.is_file()), None)
        if found is None:
            missing = candidates[0] if path is None or path.is_dir() else path
            raise DataError(f"{missing}: there is no such file; {self.way(title)}")
        return found

    def way(self, title: str) -> str:
        """How the data are had, and how another place is named."""
        lines = "".join(f"\n  {line}" for line in self.commands)
        return f"get {title} by{lines}\nor name the file or its folder by --data"


@dataclass(frozen=True)
class KnownResult:
    """A published figure of a known system.

    Attributes:
        system: which one.
        percent: the figure, between 0 and 100.
        source: where it is published.
        group: name of the group that `value` is of; None where the figure is of all questions.
        value: the part of the benchmark that the figure is of.
    """

    system: str
    percent: float
    source: str
    group: str | None = None
    value: str | None = None


@dataclass(frozen=True)
class Benchmark:
    """A benchmark.

    Attributes:
        name: what the command line calls it.
        title: what people call it.
        groups: names of groups, and the group that a sample belongs to.
        source: where the data are had; None where they are the user's own.
        forms: forms of records that it may have; any, where there are none.
        foreign: why a sample is none of this benchmark; None where it may be one.
        questions: how many it has as published; None where that depends.
        protocol: how it was evaluated by those who published figures.
        known: these figures.
    """

    name: str
    title: str
    groups: Mapping[str, Group]
    source: Source | None = None
    forms: tuple[str, ...] = ()
    foreign: Callable[[Sample], str | None] = field(default=lambda sample: None)
    questions: int | None = None
    protocol: Protocol | None = None
    known: tuple[KnownResult, ...] = ()

    def load(self, path: Path | None = None, *, need_media: bool = True) -> list[Sample]:
        """All questions.

        One line of the log says so where they are not as many as were published.

        Args:
            path: the file with the questions or its folder; by default where `source` puts it.
            need_media: refuse questions none of whose media is there.

        Raises:
            DataError: the data are not there, are not those of this benchmark, a record is no
                sample, or not one media file is there. The message says where to get them.
        """
        file = self._file(path)
        dataset = read_dataset(file)
        self._refuse_others(file, dataset)
        if dataset.problems:
            raise DataError(str(dataset.problems[0]))
        samples = list(dataset.samples)
        if need_media:
            self._refuse_without_media(file, samples)
        if self.questions not in (None, len(samples)):
            _log.warning(
                "%s: %d questions, where %s has %s: figures are not those of the whole benchmark",
                file, len(samples), self.title, f"{self.questions:,}",
            )  # fmt: skip
        return samples

    def _file(self, path: Path | None) -> Path:
        if self.source is not None:
            return self.source.file(self.title, path)
        if path is None:
            raise DataError(f"{self.title}: name the data set by --data")
        return path

    def _refuse_others(self, file: Path, dataset: Dataset) -> None:
        """Refuse the data of another benchmark."""
        if self.forms and dataset.form not in self.forms:
            raise DataError(
                f"{file}: is not {self.title}: its records have the form {dataset.form!r} "
                f"({dataset.why}), not {' or '.join(map(repr, self.forms))}; name the right file "
                "by --data, or the right benchmark"
            )
        for sample in dataset.samples:
            if (why := self.foreign(sample)) is not None:
                raise DataError(
                    f"{file}: is not {self.title}: sample {sample.id!r} {why}; name the right "
                    "file by --data, or the right benchmark"
                )

    def _refuse_without_media(self, file: Path, samples: list[Sample]) -> None:
        """Refuse questions whose media were not unpacked. Single ones are named when decoded."""
        paths = dict.fromkeys(item.path for sample in samples for item in sample.media)
        if not paths or any(path.exists() for path in paths):
            return
        way = "" if self.source is None else f"; {self.source.way(self.title)}"
        raise DataError(
            f"{file}: none of its {len(paths)} media files is there, not even "
            f"{next(iter(paths))}{way}"
        )
