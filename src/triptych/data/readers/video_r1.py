"""Video-R1 (arXiv 2503.21776): Video-R1-260k, and Video-R1-COT-165k with its reasoning::

    {"problem_id": 4, "problem": "...", "problem_type": "multiple choice", "options": ["A. ..."],
     "process": "<think>...</think>", "solution": "<answer>B</answer>",
     "data_type": "video", "path": "./CLEVRER/video_1.mp4", "data_source": "CLEVRER"}

Its videos are only seen. The rewrite for HumanOmniV2, told by its <context>, is read as that.
"""

from triptych.data.readers.base import Fields, Form, RecordError, Row, SampleFields
from triptych.data.readers.fields import question, reference, solution, text
from triptych.data.readers.humanomni import HUMANOMNI
from triptych.data.readers.places import MediaFolder


def _read(row: Row, folder: MediaFolder) -> SampleFields:
    fields = Fields(row.fields)
    solved = solution(text(fields.need("solution"), "solution"))
    if solved.context is not None:
        return HUMANOMNI.read(row, folder)
    if solved.answer is None:
        raise RecordError("solution", "has stages, but no <answer>; add it")
    asked = text(fields.need("problem"), "problem")
    kind = fields.need("problem_type")
    choices, process, path = fields.take("options"), fields.take("process"), fields.need("path")
    told = fields.take("data_type")
    thought = solved.reasoning
    if process:
        reasoned = solution(text(process, "process"))
        # Without tags, all of it is reasoning.
        thought = reasoned.answer if reasoned.reasoning is None else reasoned.reasoning
        if reasoned.odd is not None or (reasoned.reasoning and reasoned.answer):
            fields.rest["process"] = process
    sample = question(fields, asked, kind, choices, solved.answer, reference(None, thought))
    if solved.odd is not None:
        fields.rest["solution"] = solved.odd
    items = folder.items(path, None if told is None else str(told), "path", with_sound=False)
    return {"id": row.name, "media": items, **sample}


VIDEO_R1 = Form(
    "video_r1",
    (("problem",), ("problem_type",), ("solution",), ("path",), ("problem_id", "data_source")),
    _read,
)
