"""All guards on one text: what they take out, and what is left."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from triptych.rewards.guards.copies import copied_spans
from triptych.rewards.guards.injections import injected_spans
from triptych.rewards.guards.passages import Span, keys_of, without
from triptych.rewards.guards.repeats import repeated_spans
from triptych.rewards.words import one_line


@dataclass(frozen=True)
class GuardReport:
    """What the guards found in a text.

    Attributes:
        cleaned: What is left, on one line with single spaces.
        injected: Passages that address whoever scores.
        copied: Passages copied from the question or the options.
        repeated: Sentences and runs of words that were said before.
        num_words: How many words the text has.
    """

    cleaned: str
    injected: tuple[str, ...] = ()
    copied: tuple[str, ...] = ()
    repeated: tuple[str, ...] = ()
    num_words: int = 0

    @property
    def injected_share(self) -> float:
        """Share of the words in injected passages, 0 of an empty text; so the other two."""
        return self._share(self.injected)

    @property
    def copied_share(self) -> float:
        return self._share(self.copied)

    @property
    def repeated_share(self) -> float:
        return self._share(self.repeated)

    def _share(self, passages: tuple[str, ...]) -> float:
        return sum(len(keys_of(passage)) for passage in passages) / max(1, self.num_words)


def inspect(text: str, question: str = "", options: Sequence[str] = ()) -> GuardReport:
    """What a text holds that is no observation. Cached: several rewards look at the same text.

    Args:
        text: One stage of a completion.
        question: What was asked; "" where copies of it are welcome.
        options: The texts of its options, without letters.
    """
    return _inspect(text, question, tuple(options))


def clean(text: str, question: str = "", options: Sequence[str] = ()) -> str:
    """The text without injections, copies and repetitions, on one line with single spaces.

    A text that has none comes back word for word. Taking out is exact: an injection that stands
    between sentences leaves what would be there without it.
    """
    return _inspect(text, question, tuple(options)).cleaned


@lru_cache(maxsize=8192)
def _inspect(text: str, question: str, options: tuple[str, ...]) -> GuardReport:
    num_words = len(keys_of(text))
    injected = injected_spans(text)
    injected_texts = _texts(text, injected)
    text = without(text, injected)

    copied = copied_spans(text, question, options)
    copied_texts = _texts(text, copied)
    text = without(text, copied)

    repeated_texts: tuple[str, ...] = ()
    while repeated := repeated_spans(text):  # what is left may repeat in turn
        repeated_texts += _texts(text, repeated)
        text = without(text, repeated)
    return GuardReport(one_line(text), injected_texts, copied_texts, repeated_texts, num_words)


def _texts(text: str, spans: Sequence[Span]) -> tuple[str, ...]:
    return tuple(text[span.start : span.end].strip(" \t\r\n,;:") for span in spans)
