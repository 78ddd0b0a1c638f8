"""A vocabulary that an automaton can be run over: all tokens at once.

Shapes: V tokens of the vocabulary, padded rows of the model's head included.
"""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from triptych.stages.automaton import DEAD, Automaton
from triptych.stages.format import DEFAULT_FORMAT, StageFormat
from triptych.stages.spans import vocabulary_pieces

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Pieces:
    """The bytes of each token, laid out by position so that one look-up serves all tokens."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self.pieces = pieces
        self.lengths_V = np.array([len(piece) for piece in pieces], np.int16)
        # Longest first: the tokens that have a byte at some position are then the first ones.
        self._order_V = np.argsort(-self.lengths_V, kind="stable")
        lengths = self.lengths_V[self._order_V]
        longest = int(lengths[0]) if len(lengths) else 0
        self._columns = []
        for position in range(longest):
            count = int(np.searchsorted(-lengths, -position, side="left"))
            ids = self._order_V[:count].tolist()
            self._columns.append(np.array([pieces[i][position] for i in ids], np.intp))

    def run(self, automaton: Automaton, state: int) -> NDArray[np.int16]:
        """(V,) the state after each token; tokens without bytes lead nowhere."""
        flat = automaton.table.reshape(-1)
        states = np.full(len(self.pieces), state, np.int16)
        for bytes_ in self._columns:
            reached = states[: len(bytes_)]
            reached[:] = flat[reached.astype(np.intp) * 256 + bytes_]
        states[len(self._columns[0]) if self._columns else 0 :] = DEAD
        after_V = np.empty_like(states)
        after_V[self._order_V] = states
        return after_V


class Vocabulary:
    """The tokens of a tokenizer, as far as they have text, and those that end a completion.

    Args:
        tokenizer: any that `spans` can read token by token.
        size: rows of the model's head; it may be larger than the tokenizer.
        end_token_ids: what ends a completion.
        fmt: the format, whose tags may be special tokens.
        banned_ids: tokens that are never generated, such as media placeholders.

    Raises:
        ValueError: the tokenizer's tokens have no bytes of their own.
    """

    def __init__(
        self,
        tokenizer: "PreTrainedTokenizerBase",
        size: int,
        end_token_ids: Sequence[int],
        fmt: StageFormat = DEFAULT_FORMAT,
        banned_ids: Collection[int] = (),
    ) -> None:
        pieces, words = vocabulary_pieces(tokenizer, size, fmt)
        for token_id in {*banned_ids, *end_token_ids}:
            pieces[token_id] = b""
        self.tokenizer, self.fmt, self.size = tokenizer, fmt, size
        self.end_token_ids = tuple(end_token_ids)
        self._tagged = Pieces(pieces)
        self._spaced = Pieces(_with_spaces(pieces, fmt)) if words else self._tagged

    def after(self, tagged: bool) -> Pieces:
        """The pieces where the text so far is empty or ends with a tag, or not.

        A word-level tokenizer puts a space before a word, but none next to a tag.
        """
        return self._tagged if tagged else self._spaced

    def short(self, count: int = 4096) -> "Vocabulary":
        """A smaller one that can spell the same: the shortest tokens, and the parts of tags."""
        pieces = self._tagged.pieces
        tags = [tag.encode() for tag in self.fmt.tags]
        shortest = np.argsort(self._tagged.lengths_V, kind="stable").tolist()
        keep = [i for i in shortest if pieces[i]][:count]
        keep += [i for i in shortest if pieces[i] and any(pieces[i] in tag for tag in tags)]
        smaller = object.__new__(Vocabulary)
        smaller.__dict__.update(self.__dict__, size=len(keep))
        smaller._tagged = Pieces([pieces[i] for i in keep])
        spaced = self._spaced.pieces
        smaller._spaced = Pieces([spaced[i] for i in keep])
        return smaller

    def canonical(self, text: bytes) -> int | None:
        """The token with which the tokenizer itself begins to spell `text`."""
        ids = self.tokenizer.encode(text.decode(), add_special_tokens=False)
        return int(ids[0]) if ids else None


def _with_spaces(pieces: Sequence[bytes], fmt: StageFormat) -> list[bytes]:
    tags = tuple(tag.encode() for tag in fmt.tags)
    return [piece if piece.startswith(tags) or not piece else b" " + piece for piece in pieces]
