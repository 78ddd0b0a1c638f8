"""From a path to samples: the store, the form of its records, each record, ids that stand once."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from triptych.data.readers.base import Dataset, Form, Problem, RecordError, Row
from triptych.data.readers.lists import Part, read_list
from triptych.data.readers.places import MediaFolder
from triptych.data.readers.registry import FORMS
from triptych.data.readers.stores import Store, open_store
from triptych.data.readers.tables import hub_files, is_hub
from triptych.data.sample import Sample, first_cause
from triptych.errors import ConfigError, DataError
from triptych.settings import did_you_mean

_LOOKED_AT = 100  # records by which a form is told
_LIST = re.compile(rb"^\s*(?:-\s+)?['\"]?json_path['\"]?\s*:", re.MULTILINE)
_NATIVE = ("id", "question", "problem_type", "answer", "media")


def load_samples(
    path: Path, *, media_root: Path | None = None, form: str | None = None, seed: int = 0
) -> list[Sample]:
    """All samples of a data set in any form that is known; see `read_dataset`.

    Raises:
        DataError: it cannot be read, or a record is no sample. The message reads
            ``file:line: field: cause``.
    """
    dataset = read_dataset(path, media_root=media_root, form=form, seed=seed)
    if dataset.problems:
        raise DataError(str(dataset.problems[0]))
    return list(dataset.samples)


def read_dataset(
    path: Path,
    *,
    media_root: Path | None = None,
    form: str | None = None,
    seed: int = 0,
    new_ids: bool = False,
    save_media: Path | None = None,
) -> Dataset:
    """Read a data set in any form that is known. A record that is no sample becomes a `Problem`.

    Args:
        path: a JSON, JSONL, CSV, TSV or Parquet file; a YAML list of such; a folder that `datasets`
            saved; or "hf:NAME:SPLIT" for a data set on the Hugging Face hub.
        media_root: folder that media paths are relative to; by default that of the file, or the one
            that a list names.
        form: name of the form of the records; by default it is told from them.
        seed: decides which records a list draws by chance.
        new_ids: give a record whose id is missing or taken a new one, made from its place.
        save_media: folder for the media that a table holds in its cells.

    Raises:
        DataError: nothing can be read there.
        ConfigError: there is no form of that name.
    """
    path = Path(path)
    if form is not None and form not in FORMS:
        hint = did_you_mean(form, FORMS) or f"; use one of {', '.join(FORMS)}"
        raise ConfigError(f"form {form!r} is unknown{hint}")
    asked = FORMS[form] if form is not None else None
    collector = _Collector(new_ids, save_media)
    if not _is_list(path):
        told, why = collector.add(open_store(path), media_root, asked, path)
        return collector.dataset(told.name, why)
    parts = read_list(path, media_root, seed)
    found = [_add_part(collector, part, asked) for part in parts]
    names = ", ".join(dict.fromkeys(told.name for told, _ in found))
    each = "; ".join(f"{part.path} is {why}" for part, (_, why) in zip(parts, found, strict=True))
    return collector.dataset(names, f"a list of {len(parts)} data sets: {each}")


def data_files(paths: Iterable[Path]) -> list[Path]:
    """The files that records are read from: those of lists and folders in place of these.

    Raises:
        DataError: a list or a data set on the hub cannot be read.
    """
    return [file for path in paths for file in _files(Path(path))]


def _files(path: Path) -> list[Path]:
    if is_hub(path):
        return hub_files(path)
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.is_file())
    if not _is_list(path):
        return [path]
    parts = dict.fromkeys(part.path for part in read_list(path, None, 0))
    return [path, *(file for part in parts for file in _files(part))]


def _is_list(path: Path) -> bool:
    if is_hub(path) or not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(_LOOKED_AT << 6)
    yaml = path.suffix.lower() in (".yaml", ".yml") or _LIST.search(head) is not None
    return yaml and not head.lstrip().startswith((b"[", b"{"))


def _add_part(collector: "_Collector", part: Part, asked: Form | None) -> tuple[Form, str]:
    store = open_store(part.path, part.name)
    chosen = Store(store.kind, part.chosen(store.rows), store.folder)
    return collector.add(chosen, part.folder, asked, part.path)


class _Collector:
    """Gathers samples and problems; an id that stands twice is a problem."""

    def __init__(self, new_ids: bool, save_media: Path | None) -> None:
        self._new_ids, self._save_media = new_ids, save_media
        self._samples: list[Sample] = []
        self._problems: list[Problem] = []
        self._where_of_id: dict[str, str] = {}

    def dataset(self, form: str, why: str) -> Dataset:
        return Dataset(tuple(self._samples), tuple(self._problems), form, why)

    def add(
        self, store: Store, media_root: Path | None, asked: Form | None, path: Path
    ) -> tuple[Form, str]:
        """Read the rows of a store; tell their form, and by what it was told."""
        head = list(islice(store.rows, _LOOKED_AT))
        if not head:
            raise DataError(f"{path}: holds no samples; write one JSON object a line")
        form, why = (asked, "whose form was given") if asked else _told_form(head, path)
        base = store.folder if media_root is None else media_root
        folder = MediaFolder(base, self._save_media)
        for row in chain(head, store.rows):
            for one in form.unfold(row):
                self._add(one, form, folder)
        return form, f"{store.kind} {why}"

    def _add(self, row: Row, form: Form, folder: MediaFolder) -> None:
        try:
            fields = form.read(row, folder)
            if self._new_ids and not fields.get("id"):
                fields["id"] = row.name
            sample = Sample.model_validate(fields)
            if unread := row.files & sample.extra.keys():
                raise RecordError(min(unread), "holds a file that is not read; leave it out")
        except RecordError as error:
            self._refuse(row, error.field, error.cause)
        except RecursionError:
            self._refuse(row, "record", "nested too deeply; flatten it")
        except ValidationError as error:
            only_id = all(one["loc"] == ("id",) for one in error.errors(include_url=False))
            self._refuse(row, *first_cause(error), repairable=only_id)
        else:
            self._keep(row, sample)

    def _keep(self, row: Row, sample: Sample) -> None:
        other = self._where_of_id.get(sample.id)
        if other is not None and self._new_ids and row.name not in self._where_of_id:
            sample, other = sample.model_copy(update={"id": row.name}), None
        if other is not None:
            cause = f"{sample.id!r} already stands at {other}; give every sample an id of its own"
            self._refuse(row, "id", cause, repairable=True)
            return
        self._where_of_id[sample.id] = row.where
        self._samples.append(sample)

    def _refuse(self, row: Row, field: str, cause: str, *, repairable: bool = False) -> None:
        named = None if isinstance(row.record, RecordError) else row.record.get("id")
        sample_id = named if isinstance(named, str) else None
        self._problems.append(Problem(row.where, sample_id, field, cause, repairable))


def _told_form(rows: Sequence[Row], path: Path) -> tuple[Form, str]:
    """The form that most records have, and by which fields it is told.

    Raises:
        DataError: the records have none that is known.
    """
    records = [row.record for row in rows if not isinstance(row.record, RecordError)]
    marks = {form: [m for r in records if (m := form.marks_of(r))] for form in FORMS.values()}
    form = max(marks, key=lambda one: len(marks[one]))  # of equals, the first
    if marks[form]:
        share = "whose" if len(marks[form]) == len(records) else _share(len(marks[form]), records)
        return form, f"{share} records have {', '.join(marks[form][0])}"
    names = Counter(name for record in records for name in record)
    if not records or len(names.keys() & set(_NATIVE)) > 1:
        return FORMS["native"], "whose records come nearest to native ones"
    raise DataError(
        f"{path}: no form is known whose records have the fields {', '.join(names)}; name one by "
        f"--form ({', '.join(FORMS)}), or rename the columns"
    )


def _share(count: int, records: Sequence[Any]) -> str:
    return f"of which {count} of the first {len(records)}"
