"""What two data sets share that should not: questions, and media by content.

A question that is asked of many clips (`TEMPLATE_CLIPS` and more) in either data set is a template,
such as "What does the person feel?"; that the other data ask it too is no leak.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from triptych.data.check.findings import Finding, Kind
from triptych.data.check.keys import QuestionKey, question_key
from triptych.data.sample import Sample

TEMPLATE_CLIPS = 3

_NO_MEDIA = ""  # stands for the content of the media of a question that has none


@dataclass
class _Asked:
    """What one question is asked of: the first sample for each content, and how many clips."""

    first: dict[str, str] = field(default_factory=dict)
    clips: int = 0


class Questions:
    """A data set by its questions and by what its media hold.

    Args:
        name: what the data set is called in findings.
        samples: its samples.
        identities: a name for what each media file holds, equal for equal contents.
    """

    def __init__(
        self, name: str, samples: Sequence[Sample], identities: Mapping[Path, str]
    ) -> None:
        self.name, self.samples = name, samples
        self._identities = identities
        self._asked: dict[QuestionKey, _Asked] = {}
        self._first: dict[str, str] = {}
        for sample in samples:
            asked = self._asked.setdefault(question_key(sample), _Asked())
            contents = self.contents(sample)
            asked.clips += asked.first.keys().isdisjoint(contents)
            for content in contents:
                asked.first.setdefault(content, sample.id)
                if content is not _NO_MEDIA:
                    self._first.setdefault(content, sample.id)

    def contents(self, sample: Sample) -> list[str]:
        """What the media of a sample hold, each once."""
        found = dict.fromkeys(self._identities[item.path] for item in sample.media)
        return list(found) or [_NO_MEDIA]

    def leak_into(self, other: "Questions", sample: Sample) -> tuple[Kind, str] | None:
        """The worst that `other` shares with a sample of this data set: what, and with which id."""
        question, contents = question_key(sample), self.contents(sample)
        theirs = other._asked.get(question, _Asked())
        for kind, known in ((Kind.LEAKED_SAMPLE, theirs.first), (Kind.LEAKED_MEDIA, other._first)):
            for content in contents:
                if content in known:
                    return kind, known[content]
        if not theirs.clips:
            return None
        template = max(theirs.clips, self._asked[question].clips) >= TEMPLATE_CLIPS
        kind = Kind.SHARED_TEMPLATE if template else Kind.LEAKED_QUESTION
        return kind, next(iter(theirs.first.values()))


def check_leakage(own: Questions, other: Questions) -> Iterator[Finding]:
    """What each sample of `own` shares with `other`."""
    for number, sample in enumerate(own.samples):
        if found := own.leak_into(other, sample):
            kind, their_id = found
            yield Finding(kind, sample.id, f"{their_id} in {other.name}", number)
