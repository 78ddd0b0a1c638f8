"""What a check finds: kinds of faults, each with its severity, and the places where they are."""

from dataclasses import dataclass
from enum import StrEnum

from triptych.data.sample import Media


class Severity(StrEnum):
    """How much a finding matters."""

    ERROR = "error"
    """A run would stop at it, or learn or measure something wrong."""
    WARNING = "warning"
    """A run works, with less than the data seem to hold."""
    INFO = "info"
    """Good to know."""


class Kind(StrEnum):
    """What may be found: its name, its severity, and what it means in one line."""

    severity: Severity
    meaning: str

    def __new__(cls, name: str, severity: Severity, meaning: str) -> "Kind":
        kind = str.__new__(cls, name)
        kind._value_ = name
        kind.severity, kind.meaning = severity, meaning
        return kind

    BAD_RECORD = "bad_record", Severity.ERROR, "the record cannot be read"
    BAD_ID = "bad_id", Severity.ERROR, "the id is missing or no text"
    DUPLICATE_ID = "duplicate_id", Severity.ERROR, "the id stands twice"
    BAD_OPTIONS = "bad_options", Severity.ERROR, "the options are missing, too few or malformed"
    NO_ANSWER = "no_answer", Severity.ERROR, "a question, perhaps with options, without an answer"
    BAD_ANSWER = "bad_answer", Severity.ERROR, "the answer is none that the question allows"
    BAD_MEDIA = "bad_media", Severity.ERROR, "the media are not described as they should be"
    DUPLICATE_OPTION = "duplicate_option", Severity.ERROR, "one option stands under two letters"
    CONTRADICTION = (
        "contradiction",
        Severity.ERROR,
        "the same question about the same media has several answers",
    )
    MEDIA_MISSING = "media_missing", Severity.ERROR, "a media file is missing or empty"
    MEDIA_UNDECODABLE = "media_undecodable", Severity.ERROR, "a media file cannot be decoded"
    MEDIA_WITHOUT_AUDIO = (
        "media_without_audio",
        Severity.ERROR,
        "sound is asked of a file that has none",
    )
    LEAKED_SAMPLE = (
        "leaked_sample",
        Severity.ERROR,
        "the other data hold the same question about the same media",
    )
    LEAKED_MEDIA = (
        "leaked_media",
        Severity.ERROR,
        "the other data hold the same media under another question",
    )

    LEAKED_QUESTION = (
        "leaked_question",
        Severity.WARNING,
        "the other data hold the same question about other media",
    )
    DUPLICATE_SAMPLE = (
        "duplicate_sample",
        Severity.WARNING,
        "the same question, media and answer stand twice",
    )
    INCOMPLETE_REFERENCE = (
        "incomplete_reference",
        Severity.WARNING,
        "the reference lacks its context or its reasoning",
    )
    EMPTY_REFERENCE = "empty_reference", Severity.WARNING, "a stage of the reference is blank"
    VAGUE_REFERENCE = (
        "vague_reference",
        Severity.WARNING,
        "the reference says too little to be compared with",
    )
    MEDIA_CUT = "media_cut", Severity.WARNING, "media that the budget cuts or scales down"

    NO_REFERENCE = (
        "no_reference",
        Severity.INFO,
        "no reference: neither cold start nor context and reasoning rewards",
    )
    NO_MEDIA = "no_media", Severity.INFO, "a question without media"
    SHARED_TEMPLATE = (
        "shared_template",
        Severity.INFO,
        "a question that is asked of many media, here and in the other data",
    )
    COPIED_MEDIA = "copied_media", Severity.INFO, "one content under several file names"
    CONSTANT_ANSWER = (
        "constant_answer",
        Severity.INFO,
        "nearly all questions of a type have one answer",
    )
    POSITION_BIAS = (
        "position_bias",
        Severity.INFO,
        "the right options stand at one letter more often than by chance",
    )


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found at one place.

    Attributes:
        kind: what it is.
        where: the id of the sample, "file:line" of a record that is no sample, or what else it is
            about.
        detail: the case at hand, in words.
        sample: number of the sample in the data set; None where it is not about one.
        media: the item of the sample that it is about, where it is about one.
    """

    kind: Kind
    where: str
    detail: str
    sample: int | None = None
    media: Media | None = None
