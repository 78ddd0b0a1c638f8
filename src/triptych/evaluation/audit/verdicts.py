"""What the intervals of an audit allow to be said in words, and nothing more."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from triptych.evaluation.audit.conditions import Condition
from triptych.evaluation.audit.kept import Kept
from triptych.evaluation.audit.options import PositionBias, TextAnswerable
from triptych.evaluation.audit.report import AuditReport
from triptych.statistics import Interval

IGNORED = 0.8
"""At least so much is kept without what a model does not need."""
NEEDED = 0.5
"""At most so much is kept without what it needs."""
FEWEST_CLIPS = 6
"""With fewer, nothing is said. Clips that tell nothing all point one way with probability
2 ** (1 - clips): with five more than once in twenty times.
"""


class _Words(NamedTuple):
    without: str
    ignored: str
    needed: str | None
    """None where an altered prompt may by itself cost accuracy: a drop then proves nothing."""
    astray: str | None = None


_WORDS: Mapping[Condition, _Words] = {
    Condition.BLIND: _Words("without the pictures", "it does not look", None),
    Condition.DEAF: _Words("without the sound", "it does not listen", None),
    Condition.TEXT_ONLY: _Words(
        "from the question alone", "it needs neither to look nor to listen", None
    ),
    Condition.SWAPPED_VIDEO: _Words(
        "with another sample's pictures", "it does not look", "it looks", "the wrong pictures"
    ),
    Condition.SWAPPED_AUDIO: _Words(
        "with another sample's sound", "it does not listen", "it listens", "the wrong sound"
    ),
    Condition.SWAPPED: _Words(
        "with another sample's media",
        "it needs neither to look nor to listen",
        "it needs its media",
        "the wrong media",
    ),
    Condition.SHUFFLED: _Words(
        "with the frames in random order",
        "the order of the frames hardly matters to it",
        "it needs the order of the frames",
    ),
}


def verdicts(report: AuditReport) -> list[str]:
    """The sentences that the figures support."""
    full = report.conditions[Condition.FULL].kept
    if full is None:
        return ["No answer was scored: nothing can be said."]
    if report.clips < FEWEST_CLIPS:
        return [f"Too few clips, {report.clips}: from {FEWEST_CLIPS} on something can be said."]
    lines: list[str] = []
    if full.kept is None:
        lines.append(
            f"Its accuracy, {_figure(full.accuracy)}, is not told apart from chance, "
            f"{full.chance:.2f}: what it needs cannot be said."
        )
    for condition, words in _WORDS.items():
        figures = report.conditions.get(condition)
        if figures and figures.kept:
            lines += _about(figures.kept, words)
    if report.text:
        lines += _about_text(report.text)
    if report.position:
        lines += _about_places(report.position)
    return lines


def _about(kept: Kept, words: _Words) -> Iterator[str]:
    share = kept.kept
    if share is None:
        return
    if _is_of_few_clips(share):
        yield f"Too few clips, {share.clusters}, to say what it keeps {words.without}."
        return
    if share.low is None or share.high is None:
        return
    says = f"{_percent(share)} of its accuracy above chance {words.without}"
    if share.low >= IGNORED:
        yield f"Keeps {says}: {words.ignored}."
    elif words.astray and share.high < 0:
        yield f"Keeps {says}: it follows {words.astray}."
    elif words.needed and share.high <= NEEDED:
        yield f"Keeps {says}: {words.needed}."


def _about_text(text: TextAnswerable) -> Iterator[str]:
    if _is_of_few_clips(text.share):
        yield f"Too few clips, {text.share.clusters}, to say what it answers from the text alone."
    elif text.share.low is not None and text.share.low > text.steady_luck:
        yield (
            f"Answers {_percent(text.share)} of the questions with options from their text alone, "
            f"in every order of the options; guessing would give {text.luck:.1%}, keeping to one "
            f"guess {text.steady_luck:.1%}."
        )


def _about_places(bias: PositionBias) -> Iterator[str]:
    if _is_of_few_clips(bias.distance):
        yield f"Too few clips, {bias.distance.clusters}, to say which letters it prefers."
        return
    for place in bias.places:
        low, high = place.difference.low, place.difference.high
        if low is None or high is None or low <= 0 <= high:
            continue
        word = "prefers" if low > 0 else "avoids"
        yield (
            f"It {word} the letter {place.letter}: chosen in {place.chosen:.0%} of the answers, "
            f"right in {place.right:.0%}."
        )


def _is_of_few_clips(interval: Interval) -> bool:
    return interval.clusters is not None and interval.clusters < FEWEST_CLIPS


def _figure(interval: Interval) -> str:
    if interval.low is None or interval.high is None:
        return f"{interval.mean:.2f}"
    return f"{interval.mean:.2f} [{interval.low:.2f}, {interval.high:.2f}]"


def _percent(interval: Interval) -> str:
    if interval.low is None or interval.high is None:
        return f"{interval.mean:.0%}"
    return f"{interval.mean:.0%} [{interval.low:.0%}, {interval.high:.0%}]"
