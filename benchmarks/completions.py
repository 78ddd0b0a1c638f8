"""Completions that a grammar allows, to be fed to everything that is measured.

Shapes: V tokens of the vocabulary.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from triptych.stages.grammar import StageGrammar

ROWS = 8
"""Completions of a batch."""
SEED = 0


@dataclass(frozen=True)
class Length:
    """How long completions may be.

    Attributes:
        stage_tokens: most tokens of the context, and as many of the thinking.
    """

    stage_tokens: int
    answer_tokens: int = 8

    @property
    def budgets(self) -> dict[str, int]:
        """Most tokens by stage."""
        return {
            "context": self.stage_tokens,
            "think": self.stage_tokens,
            "answer": self.answer_tokens,
        }

    @property
    def max_new_tokens(self) -> int:
        """With room for the tags and the end token."""
        return sum(self.budgets.values()) + 32


def draw_completions(grammar: StageGrammar, count: int) -> list[list[int]]:
    """Completions of one length, without end token, drawn evenly from the allowed tokens.

    Only from those that print, as long as some do: a model seldom writes half characters.
    """
    pieces = grammar.graph.vocabulary.after(tagged=True).pieces
    prints_V = np.array([_prints(piece) for piece in pieces])
    rng = np.random.default_rng(SEED)
    by_length: dict[int, list[list[int]]] = {}
    while True:
        completion = _draw_completion(grammar, prints_V, rng)
        alike = by_length.setdefault(len(completion), [])
        alike.append(completion)
        if len(alike) == count:
            return alike


def _draw_completion(
    grammar: StageGrammar, prints_V: NDArray[np.bool_], rng: np.random.Generator
) -> list[int]:
    matcher, ids = grammar.matcher(), []
    while not matcher.finished:
        allowed_V = matcher.choice.mask_V
        printing = np.flatnonzero(allowed_V & prints_V)
        ids.append(int(rng.choice(printing if len(printing) else np.flatnonzero(allowed_V))))
        matcher.advance(ids[-1])
    return ids[:-1]


def _prints(piece: bytes) -> bool:
    try:
        text = piece.decode()
    except UnicodeDecodeError:
        return False
    return text.isprintable() and not text.isspace()
