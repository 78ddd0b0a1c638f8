"""The text of a completion, stage by stage, while its tokens arrive.

Text is given out as soon as it is certain. Held back is what further tokens may change: the bytes
of a character that is not whole yet, and an end such as "</thi" that may become a tag.
"""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from triptych.stages import DEFAULT_FORMAT, Region, StageFormat, completion_text

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Increment(NamedTuple):
    """Some more text of a completion."""

    region: int
    """The `Region` that it stands in."""
    text: str
    """Never empty. A tag comes alone and whole, outside of all stages."""


class StageStream:
    """Turns the tokens of one completion into text.

    All increments together are the completion's text, as `completion_text` gives it. A stage that
    is opened again is given out each time, where `parse` chooses one of its bodies.

    Args:
        tokenizer: of the model that writes.
        fmt: the format, which says what is a tag.
    """

    def __init__(
        self, tokenizer: "PreTrainedTokenizerBase", fmt: StageFormat = DEFAULT_FORMAT
    ) -> None:
        self._tokenizer, self._format = tokenizer, fmt
        self._tags = re.compile("|".join(map(re.escape, fmt.tags)))
        self._after = {tag: int(Region.OUTSIDE) for tag in fmt.tags}
        self._after |= {stage.open_tag: i for i, stage in enumerate(fmt.stages, start=1)}
        self._token_ids: list[int] = []
        self._region = int(Region.OUTSIDE)
        self._given = 0  # characters

    def feed(self, token_id: int) -> list[Increment]:
        """The text that is certain since the last token; the end token is not to be fed.

        Raises:
            ValueError: a negative id.
        """
        self._token_ids.append(token_id)
        text = self._text().rstrip("\ufffd")  # what stands for a part of a character, too
        return list(self._give(text, len(text) - self._open_end(text)))

    def finish(self) -> list[Increment]:
        """What was still held back, once no further token comes."""
        text = self._text()
        return list(self._give(text, len(text)))

    def _text(self) -> str:
        # Decoding from the start costs a look-up per token, nothing next to a decoding step.
        return completion_text(self._token_ids, self._tokenizer, self._format)

    def _give(self, text: str, stop: int) -> Iterator[Increment]:
        for tag in self._tags.finditer(text, self._given):
            yield from self._give_within(text, tag.start())
            yield Increment(int(Region.OUTSIDE), tag[0])
            self._given, self._region = tag.end(), self._after[tag[0]]
        yield from self._give_within(text, stop)

    def _give_within(self, text: str, stop: int) -> Iterator[Increment]:
        """Text up to `stop` that holds no tag."""
        if self._given < stop:
            yield Increment(self._region, text[self._given : stop])
            self._given = stop

    def _open_end(self, text: str) -> int:
        """Length of the longest end of `text` that is the start of a tag."""
        tags = self._format.tags
        longest = min(len(text) - self._given, max(map(len, tags)) - 1)
        for length in range(longest, 0, -1):
            if any(len(tag) > length and tag.startswith(text[-length:]) for tag in tags):
                return length
        return 0
