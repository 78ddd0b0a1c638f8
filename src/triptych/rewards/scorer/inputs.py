"""Candidates as an encoder reads them: two texts beside each other, nothing cut.

| stage | first text | second text |
|---|---|---|
| context | the reference context | the context |
| reasoning | the context that it follows from, question, options | the reasoning, the answer |

A second text that does not fit is read in windows, each beside the whole first text; the score is
the mean over the windows, by their length. So long a text is no better than its parts: a window
that says little or is wrong lowers it. Where the first text leaves no room for a window, there is
no score.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from triptych.rewards.scorer.base import Candidate, Stage
from triptych.stages.prompt import OPTION_LETTERS

Encoded: TypeAlias = dict[str, list[int]]
"""What the tokenizer makes of two texts: ``input_ids`` and what else the model takes."""

LEAST_ROOM = 32
"""Tokens that the first text must leave for a window of the second."""

# A "[SEP]" that a text spells out stays four letters and brackets: as a token it would end the text
# there. Not verbose: the tokenizer would warn of long inputs, which are split.
_ALL_OF_IT = {"truncation": False, "split_special_tokens": True, "verbose": False}
_SENTENCE_END = re.compile(r"[.!?;\n\u3002]\s*")


@dataclass(frozen=True)
class Window:
    """A part of the second text beside the whole first one; `weight` is its share of the text."""

    encoded: Encoded
    weight: float

    def __len__(self) -> int:
        """How many tokens."""
        return len(self.encoded["input_ids"])


def two_texts(candidate: Candidate, stage: Stage) -> tuple[str, str]:
    """What stands before the separator, and what behind it."""
    if stage == "context":
        return candidate.reference, candidate.text
    options = " ".join(
        f"({letter}) {option}"
        for letter, option in zip(OPTION_LETTERS, candidate.options, strict=False)
    )
    first = "\n".join(filter(None, (candidate.reference, candidate.question, options)))
    return first, f"{candidate.text}\nAnswer: {candidate.answer}"


class PairTokenizer:
    """Makes windows of two texts.

    Args:
        tokenizer: a fast tokenizer of transformers.
        max_length: the most tokens of a window, special ones included.
    """

    def __init__(self, tokenizer: Any, max_length: int) -> None:
        self.tokenizer, self.max_length = tokenizer, max_length

    def windows(self, texts: Sequence[tuple[str, str]]) -> list[list[Window]]:
        """The windows of each two texts, nearly always one; none where not even one fits."""
        whole = self._encode(texts)
        return [
            [Window(encoded, 1.0)]
            if len(encoded["input_ids"]) <= self.max_length
            else list(self._parts(first, second))
            for (first, second), encoded in zip(texts, whole, strict=True)
        ]

    def _encode(self, texts: Sequence[tuple[str, str]]) -> list[Encoded]:
        if not texts:
            return []
        first, second = map(list, zip(*texts, strict=True))
        table = self.tokenizer(first, second, **_ALL_OF_IT)
        names = list(table.keys())
        columns = zip(*(table[name] for name in names), strict=True)
        return [dict(zip(names, values, strict=True)) for values in columns]

    def _parts(self, first: str, second: str) -> Iterator[Window]:
        (alone,) = self._encode([(first, "")])
        room = self.max_length - len(alone["input_ids"])
        if room < LEAST_ROOM:
            return
        start = 0
        while start < len(second):
            end, encoded = self._longest_part(first, second, start, room)
            yield Window(encoded, (end - start) / len(second))
            start = end

    def _longest_part(self, first: str, second: str, start: int, room: int) -> tuple[int, Encoded]:
        """Where the part of `second` that begins at `start` ends: with a sentence if it can."""
        offsets = self.tokenizer(
            second[start:],
            add_special_tokens=False,
            return_offsets_mapping=True,
            **_ALL_OF_IT,
        )["offset_mapping"]
        while True:  # a part may take a token more than the same words within the whole text
            end = len(second)
            if len(offsets) > room:
                end = _good_end(second, start, start + max(1, offsets[room - 1][1]))
            (encoded,) = self._encode([(first, second[start:end])])
            if len(encoded["input_ids"]) <= self.max_length:
                return end, encoded
            room -= 1


def _good_end(text: str, start: int, end: int) -> int:
    """The last end of a sentence in the second half of a part, else of a word, else its end."""
    middle = (start + end) // 2
    ends = [match.end() for match in _SENTENCE_END.finditer(text, middle, end)]
    return max(ends, default=0) or text.rfind(" ", middle, end) + 1 or end
