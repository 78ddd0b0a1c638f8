"""Triptych's own form: see `triptych.data.sample`."""

from triptych.data.readers.base import Form, Row, SampleFields
from triptych.data.readers.places import MediaFolder


def _read(row: Row, folder: MediaFolder) -> SampleFields:
    record = dict(row.fields)
    items = record.get("media")
    if isinstance(items, list | tuple):
        record["media"] = [_placed(item, folder) for item in items]
    return record


def _placed(item: object, folder: MediaFolder) -> object:
    """A media item with its path absolute; anything else is left for `Sample` to refuse."""
    if isinstance(item, dict) and isinstance(path := item.get("path"), str):
        return {**item, "path": folder.absolute(path)}
    return item


NATIVE = Form("native", (("question",), ("problem_type",), ("answer",), ("media",)), _read)
