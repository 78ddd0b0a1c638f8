"""The forms that are known. A new family of data sets is a file and a line here."""

from triptych.data.readers.base import Form
from triptych.data.readers.chat import CHAT
from triptych.data.readers.columns import COLUMNS
from triptych.data.readers.daily_omni import DAILY_OMNI
from triptych.data.readers.humanomni import HUMANOMNI
from triptych.data.readers.native import NATIVE
from triptych.data.readers.social_iq import SOCIAL_IQ
from triptych.data.readers.video_r1 import VIDEO_R1
from triptych.data.readers.worldsense import WORLDSENSE

FORMS: dict[str, Form] = {
    form.name: form
    for form in (
        NATIVE,
        VIDEO_R1,
        HUMANOMNI,
        SOCIAL_IQ,
        DAILY_OMNI,
        WORLDSENSE,
        CHAT,
        COLUMNS,
    )
}
"""By name; of two that fit a record, the first one counts."""
