"""What reading gives, and what the reader of a family of data sets is made of.

A *row* is a record as it was stored, with its place. A *form* is how one family writes a record:
which fields tell it, and how they become the fields of a `Sample`. Forms know nothing of files:
any of them may come as JSON, JSONL, CSV, Parquet or a Hugging Face data set.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from triptych.data.sample import Sample

if TYPE_CHECKING:
    from triptych.data.readers.places import MediaFolder

SampleFields: TypeAlias = dict[str, Any]
"""The fields of a `Sample` by name, not yet validated."""


@dataclass(frozen=True)
class Problem:
    """A record that is no sample.

    Attributes:
        where: "file:line" or "file[index]".
        sample_id: its id, where it has one.
        field: the field at fault; "record" for the record as a whole.
        cause: what is wrong, and the way out.
        repairable: only its id is at fault, so that a new one would do.
    """

    where: str
    sample_id: str | None
    field: str
    cause: str
    repairable: bool = False

    def __str__(self) -> str:
        return f"{self.where}: {self.field}: {self.cause}"


@dataclass(frozen=True)
class Dataset:
    """What was read: samples, and the records that are none.

    Attributes:
        samples: in the order of the file.
        problems: in the order of the file.
        form: name of the form that the records have.
        why: how that was told, in one sentence.
    """

    samples: tuple[Sample, ...]
    problems: tuple[Problem, ...]
    form: str
    why: str


class RecordError(Exception):
    """A record that cannot become a sample: the field at fault, why, and the way out."""

    def __init__(self, field: str, cause: str) -> None:
        super().__init__(f"{field}: {cause}")
        self.field, self.cause = field, cause


@dataclass(frozen=True, slots=True)
class Row:
    """A record as it was stored.

    Attributes:
        where: "file:line" or "file[index]".
        name: its place within the data set, as an id for a record that has none.
        record: what stands there, or why it cannot be read.
        files: fields that hold the content of files.
    """

    where: str
    name: str
    record: Mapping[str, Any] | RecordError
    files: frozenset[str] = frozenset()

    @property
    def fields(self) -> Mapping[str, Any]:
        """What stands there.

        Raises:
            RecordError: it cannot be read.
        """
        if isinstance(self.record, RecordError):
            raise self.record
        return self.record


class Fields:
    """A record whose fields are taken one after the other; what is left goes to `extra`.

    A field that holds null counts as absent.
    """

    def __init__(self, record: Mapping[str, Any]) -> None:
        self.rest = dict(record)

    def take(self, *names: str) -> Any:
        """The first of these fields that there is; None without any."""
        for name in names:
            if self.rest.get(name) is not None:
                return self.rest.pop(name)
        return None

    def need(self, *names: str) -> Any:
        """The same of a field that there must be.

        Raises:
            RecordError: there is none of them.
        """
        value = self.take(*names)
        if value is None:
            other = f" (or {', '.join(names[1:])})" if len(names) > 1 else ""
            raise RecordError(names[0], f"missing; add it{other}")
        return value


def _alone(row: Row) -> Iterator[Row]:
    yield row


@dataclass(frozen=True)
class Form:
    """How a family of data sets writes its records.

    Attributes:
        name: what it is called, by `--form` too.
        marks: fields by which its records are told; of each tuple, one is enough.
        read: makes the fields of a sample from a record with its place and media folder; what it
            leaves out of them is refused or filled in by `Sample`. Raises RecordError.
        unfold: makes rows of one question each of a row that holds several.
        any_case: the marks may be written in upper or lower case.
    """

    name: str
    marks: tuple[tuple[str, ...], ...]
    read: Callable[[Row, "MediaFolder"], SampleFields]
    unfold: Callable[[Row], Iterator[Row]] = _alone
    any_case: bool = False

    def marks_of(self, record: Mapping[str, Any]) -> list[str] | None:
        """The fields of a record that show this form; None where one is missing."""
        there = {name for name, value in record.items() if value is not None}
        if self.any_case:
            there = {name.lower() for name in there}
        found = [next((name for name in names if name in there), None) for names in self.marks]
        return list(dict.fromkeys(name for name in found if name)) if all(found) else None
