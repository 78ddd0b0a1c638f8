"""Social-IQ 2.0 as its challenge publishes it, one object a line::

    {"qid": "0-HM2VCdrC0_q1", "q": "...", "vid_name": "0-HM2VCdrC0", "ts": "0.00-60.00",
     "a0": "...", "a1": "...", "a2": "...", "a3": "...", "answer_idx": 2}

The video is video/VID_NAME.mp4, beside the folder of the questions. `ts` says which part a question
is about; the whole clip is shown, and `ts` kept in `extra`.
"""

from triptych.data.readers.base import Fields, Form, RecordError, Row, SampleFields
from triptych.data.readers.fields import question, text
from triptych.data.readers.places import MediaFolder
from triptych.stages.prompt import OPTION_LETTERS


def _read(row: Row, folder: MediaFolder) -> SampleFields:
    fields = Fields(row.fields)
    asked, name = text(fields.need("q"), "q"), text(fields.need("qid"), "qid")
    film = text(fields.need("vid_name"), "vid_name")
    choices = [text(fields.need(f"a{i}"), f"a{i}") for i in range(4)]
    index = fields.need("answer_idx")
    if str(index) not in ("0", "1", "2", "3"):
        raise RecordError("answer_idx", f"{index!r:.80} is no index of the four answers, 0 to 3")
    sample = question(fields, asked, "multiple_choice", choices, OPTION_LETTERS[int(index)], {})
    path = folder.find(
        f"video/{film}.mp4", f"../video/{film}.mp4", f"{film}.mp4", f"videos/{film}.mp4"
    )
    return {"id": name, "media": folder.film(path), **sample}


SOCIAL_IQ = Form("social_iq", (("q",), ("qid",), ("vid_name",), ("a0",), ("a1",)), _read)
