"""Daily-Omni, qa.json::

    {"Type": "Event Sequence", "Question": "...", "Choice": ["A. ...", ...], "Answer": "C",
     "video_id": "G_VTkkb34gw", "content_parent_category": "...", "video_duration": "30s"}

The files are Videos/ID/ID_video.mp4 and Videos/ID/ID_audio.wav. Where the second is missing, the
sound is that of the video.
"""

from triptych.data.readers.base import Fields, Form, Row, SampleFields
from triptych.data.readers.fields import question, text
from triptych.data.readers.places import MediaFolder

_FOLDERS = ("Videos/", "", "videos/")


def _read(row: Row, folder: MediaFolder) -> SampleFields:
    fields = Fields(row.fields)
    clip = text(fields.rest.get("video_id"), "video_id")
    film, sound = (
        folder.find(*(f"{parent}{clip}/{clip}_{name}" for parent in _FOLDERS))
        for name in ("video.mp4", "audio.wav")
    )
    asked = text(fields.need("Question"), "Question")
    choices, answer = fields.need("Choice"), fields.need("Answer")
    sample = question(fields, asked, "multiple_choice", choices, answer, {})
    return {"id": row.name, "media": folder.film(film, sound), **sample}


DAILY_OMNI = Form("daily_omni", (("Question",), ("Choice",), ("Answer",), ("video_id",)), _read)
