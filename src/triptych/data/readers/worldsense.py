"""WorldSense, as worldsense_qa.json with several questions under each video::

    {"asGryNvr": {"video_id": "asGryNvr", "duration": "<1min", "audio_class": ["Speech"], ...,
                  "task0": {"task_domain": "...", "task_type": "...", "question": "...",
                            "candidates": ["A. ...", ...], "answer": "B"}, "task1": {...}}}

and as tables with one question a row, with `video_path` or `video` beside the rest. The videos are
videos/ID.mp4.
"""

import re
from collections.abc import Iterator

from triptych.data.readers.base import Fields, Form, RecordError, Row, SampleFields
from triptych.data.readers.fields import question, text
from triptych.data.readers.places import MediaFolder

_TASK = re.compile(r"task\d+")


def _unfold(row: Row) -> Iterator[Row]:
    """A row for each question of a video, with what is said of the video."""
    record = row.record
    if isinstance(record, RecordError) or "question" in record:
        yield row
        return
    tasks = {name: task for name, task in record.items() if _TASK.fullmatch(name)}
    if not tasks:
        yield row
    about = {name: value for name, value in record.items() if name not in tasks}
    about.setdefault("video_id", row.name)
    for name, task in tasks.items():
        joined = {**about, **task} if isinstance(task, dict) else about
        yield Row(f"{row.where}.{name}", f"{row.name}-{name}", joined)


def _read(row: Row, folder: MediaFolder) -> SampleFields:
    fields = Fields(row.fields)
    if (path := fields.take("video_path")) is not None:
        film = folder.place(path, "video_path")
    else:
        clip = text(fields.need("video_id", "video"), "video_id")
        fields.rest.setdefault("video_id", clip)
        film = folder.find(f"videos/{clip}.mp4", f"{clip}.mp4")
    asked = text(fields.need("question"), "question")
    choices, answer = fields.need("candidates"), fields.need("answer")
    sample = question(fields, asked, "multiple_choice", choices, answer, {})
    return {"id": row.name, "media": folder.film(film), **sample}


WORLDSENSE = Form(
    "worldsense",
    (("candidates", "task0"), ("question", "task0"), ("video_path", "video", "video_id", "task0")),
    _read,
    _unfold,
)
