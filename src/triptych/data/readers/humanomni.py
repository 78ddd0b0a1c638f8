"""HumanOmniV2 (arXiv 2506.21277): IntentTrain, IntentBench and what else its code reads.

The rewrites of EMER, Social-IQ 2.0, Video-R1, AVQA and OmniInstruct have this form::

    {"problem": "...", "problem_type": "emer_ov_mc", "options": ["A. happy", ...],
     "solution": "<context>...</context><think>...</think><answer>B,E</answer>",
     "data_type": "video", "path": "sample_1.mp4"}

`path` may be {"image": ..., "audio": ...}, and may stand under `video`; `solution` may be an answer
without stages. A video is heard as well as seen, unless it is silent, as in the published loader.
"""

from triptych.data.readers.base import Fields, Form, RecordError, Row, SampleFields
from triptych.data.readers.fields import question, reference, solution, text
from triptych.data.readers.places import Item, MediaFolder


def _read(row: Row, folder: MediaFolder) -> SampleFields:
    fields = Fields(row.fields)
    name = fields.take("id")
    asked = text(fields.need("problem"), "problem")
    kind = fields.need("problem_type")
    solved = solution(text(fields.need("solution"), "solution"))
    if solved.answer is None:
        raise RecordError("solution", "has stages, but no <answer>; add it")
    media = _media(fields, folder)
    choices = fields.take("options")
    sample = question(
        fields, asked, kind, choices, solved.answer, reference(solved.context, solved.reasoning)
    )
    if solved.odd is not None:
        fields.rest["solution"] = solved.odd
    return {"id": row.name if name is None else text(name, "id"), "media": media, **sample}


def _media(fields: Fields, folder: MediaFolder) -> list[Item]:
    kind = fields.take("data_type")
    if (film := fields.take("video")) is not None:
        return folder.items(film, str(kind or "video"), "video", with_sound=True)
    path = fields.need("path")
    if not isinstance(path, dict):
        return folder.items(path, None if kind is None else str(kind), "path", with_sound=True)
    if not path.keys() <= {"image", "video", "audio"}:
        raise RecordError("path", f"{', '.join(path)}: not all of them image, video or audio")
    alone = "audio" not in path
    return [
        item
        for part, value in path.items()
        for item in folder.items(value, part, f"path.{part}", with_sound=alone)
    ]


HUMANOMNI = Form(
    "humanomni", (("problem",), ("problem_type",), ("solution",), ("path", "video")), _read
)
