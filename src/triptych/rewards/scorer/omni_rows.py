"""How candidate contexts are laid out for an omni scorer: rows of one prompt, batches of rows."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from triptych.data.sample import Media, Sample
from triptych.models.prompt import Prompt
from triptych.rewards.answer import known_type
from triptych.rewards.scorer.base import Candidate

TOKENS_PER_BATCH = 16_384
"""Tokens of one forward when scoring, padding included; a single row may be longer."""
TOKENS_PER_ROW = 4_096
"""Candidate tokens of one row; further candidates of a prompt take further rows."""


class Asked(NamedTuple):
    """What a prompt is made of; candidates that agree in it share a row."""

    question: str
    problem_type: str
    options: tuple[str, ...]
    media: tuple[Media, ...]

    @classmethod
    def of(cls, candidate: Candidate, *, with_media: bool) -> "Asked":
        """What was asked where this candidate was written."""
        media = candidate.media if with_media else ()
        return cls(candidate.question, candidate.problem_type, candidate.options, media)

    def sample(self) -> Sample:
        """For the encoder, which looks at nothing else. Errors name it by its question.

        Raises:
            DataError: the problem type is unknown.
        """
        return Sample.model_construct(
            id=self.question,
            question=self.question,
            problem_type=known_type(self.problem_type),
            options=self.options,
            answer="",
            media=self.media,
        )


class Row(NamedTuple):
    """A prompt and the tokens of candidates; `texts` are their places in the order of all."""

    prompt: Prompt
    ids: tuple[list[int], ...]
    texts: tuple[int, ...]

    @property
    def num_tokens(self) -> int:
        return len(self.prompt.input_ids) + sum(map(len, self.ids))


def rows(prompt: Prompt, ids: Sequence[list[int]], texts: Sequence[int]) -> Iterator[Row]:
    """The candidates of one prompt, in as many rows as `TOKENS_PER_ROW` asks for."""
    begin, length = 0, 0
    for end, tokens in enumerate(ids):
        if end > begin and length + len(tokens) > TOKENS_PER_ROW:
            yield Row(prompt, tuple(ids[begin:end]), tuple(texts[begin:end]))
            begin, length = end, 0
        length += len(tokens)
    if ids:
        yield Row(prompt, tuple(ids[begin:]), tuple(texts[begin:]))


def batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """As many rows at once, in their order, as `TOKENS_PER_BATCH` allows."""
    batch: list[Row] = []
    longest = 0
    for row in rows:
        longest = max(longest, row.num_tokens)
        if batch and longest * (len(batch) + 1) > TOKENS_PER_BATCH:
            yield batch
            batch, longest = [], row.num_tokens
        batch.append(row)
    if batch:
        yield batch
