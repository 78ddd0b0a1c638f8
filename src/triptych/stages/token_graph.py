"""A format's automaton in steps of tokens: where each token leads, and how far the end is.

A stage's budget counts the tokens that carry a byte of its body. While "</" is being written it
is open whether it is body or the start of the closing tag, so a step within a body is one of
three kinds; see `Step`.

Shapes: S states of the automaton, V tokens, E edges of a state that differ.
"""

from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from triptych.stages.automaton import DEAD, Automaton
from triptych.stages.vocabulary import Vocabulary


class Step(IntEnum):
    """What a token in a body means for the number of the body's tokens."""

    HOLDS = 0
    """Nothing yet: all of it continues what may be the closing tag."""
    SHIFTS = 1
    """The closing tag began later than it seemed, but before this token: some earlier tokens are
    of the body. Only with tags such as "((a", whose start repeats itself."""
    RESTARTS = 2
    """The closing tag begins with this token: all earlier tokens are of the body."""
    COMMITS = 3
    """It is of the body, and so are all tokens before it."""


class Enters(IntEnum):
    """How a token is part of a body that begins within it."""

    NOT = 0
    HELD = 1
    """By bytes that may yet be the closing tag."""
    COMMITTED = 2
    """For good."""


class Edge(NamedTuple):
    """What a token does in one state.

    Attributes:
        after: the state that it leads to; `DEAD` where it is refused whatever the budget.
        step: the `Step` in the body that it starts in; HOLDS outside of bodies.
        closes: it closes that body.
        enters: the `Enters` of the body that it opens, if any.
    """

    after: int
    step: int = Step.HOLDS
    closes: bool = False
    enters: int = Enters.NOT


@dataclass(frozen=True)
class Edges:
    """The edges of one state, and which of them each token is.

    Attributes:
        edges: those that differ.
        edge_V: place in `edges`, by token.
        columns: `edges` by attribute, (E,) each.
    """

    edges: list[Edge]
    edge_V: NDArray[np.int16]
    columns: tuple[NDArray[np.int64], ...]


class TokenGraph:
    """An automaton over one vocabulary."""

    def __init__(self, automaton: Automaton, vocabulary: Vocabulary) -> None:
        self.automaton, self.vocabulary = automaton, vocabulary
        self.edges = cache(lambda state: self._edges(self.vocabulary, state))
        self.short_edges = cache(lambda: self._edges_of_all(self.vocabulary.short()))
        self.all_edges = cache(lambda: self._edges_of_all(self.vocabulary))

    def _edges_of_all(self, vocabulary: Vocabulary) -> dict[int, list[Edge]]:
        """By state, without tokens that are refused."""
        states = range(1, len(self.automaton.table))
        return {s: [e for e in self._edges(vocabulary, s).edges if e.after] for s in states}

    def _edges(self, vocabulary: Vocabulary, state: int) -> Edges:
        auto, pieces = self.automaton, vocabulary.after(bool(self.automaton.tagged_S[state]))
        after_V = pieces.run(auto, state)
        stage = auto.stage_S[state]
        steps_V = np.zeros(len(after_V), np.int16)
        if stage > 0:
            lengths_V = pieces.lengths_V.astype(np.int64)
            steps_V[:] = _steps(auto.tail_S[state], auto.tail_S[after_V], lengths_V)
        steps_V[after_V == DEAD] = Step.HOLDS

        # Most tokens stay in the body or out of it: they differ by state and step alone.
        code_V = after_V.astype(np.int32) * len(Step) + steps_V
        crosses_V = (auto.stage_S[after_V] != stage) | (auto.done_S[after_V] != auto.done_S[state])
        crossing = np.flatnonzero((after_V != DEAD) & crosses_V).tolist()
        code_V[crossing] = 0
        codes, edge_V = _number(code_V)
        edges = [Edge(code // len(Step), code % len(Step)) for code in codes]
        place = {edge: i for i, edge in enumerate(edges)}
        for token in crossing:
            edge = self._cross(pieces.pieces[token], state, int(after_V[token]))
            edge_V[token] = place.setdefault(edge, len(place))
        edges = list(place)
        return Edges(
            edges, edge_V, tuple(np.array(edges, np.int64).reshape(-1, len(Edge._fields)).T)
        )

    def _cross(self, piece: bytes, state: int, after: int) -> Edge:
        """The edge of a token that opens or closes a stage; refused where it does too much.

        A token that carries bytes of two bodies could be credited to neither.
        """
        auto = self.automaton
        step, body_bytes, here = Step.HOLDS, 0, state
        for count, byte in enumerate(piece, start=1):
            before, here = here, int(auto.table[here, byte])
            if auto.done_S[here] > auto.done_S[before]:
                tag = self.vocabulary.fmt.stages[int(auto.done_S[before])].close_tag.encode()
                step = Step(int(_steps(auto.tail_S[state], len(tag), count)))
                body_bytes = 0
            elif auto.stage_S[here] and auto.stage_S[before]:
                body_bytes += 1
        closed = int(auto.done_S[after] - auto.done_S[state])
        if closed > (auto.stage_S[state] > 0) or (step is Step.COMMITS and body_bytes):
            return Edge(DEAD)
        held = body_bytes <= auto.tail_S[after]
        enters = (Enters.HELD if held else Enters.COMMITTED) if body_bytes else Enters.NOT
        return Edge(after, step, closed > 0, enters)


def _number(code_V: NDArray[np.int32]) -> tuple[list[int], NDArray[np.int16]]:
    """The codes that occur, and the place of each token's among them; `DEAD` has the first."""
    occurs = np.zeros(int(code_V.max(initial=0)) + 1, np.bool_)
    occurs[code_V] = True
    occurs[0] = True
    place = np.cumsum(occurs, dtype=np.int16) - 1
    return np.flatnonzero(occurs).tolist(), place[code_V].astype(np.int16)


def _steps(tail: Any, tail_after: Any, length: Any) -> Any:
    """The `Step` of a token, or of many, from the bytes that may be the closing tag."""
    return np.select(
        [tail_after < length, tail_after == tail + length, tail_after == length],
        [Step.COMMITS, Step.HOLDS, Step.RESTARTS],
        Step.SHIFTS,
    )
