"""The format as a grammar over tokens: what may come next, within budgets.

A `Matcher` follows one completion. Whatever it is fed, as long as that was allowed, the completion
ends in time and is valid: a token is allowed only when some way on from it reaches the end within
the budget of every stage and within the whole. Ways are counted in tokens of the tokenizer at
hand, so a stage that has used up its budget is closed at once, and a reply that runs out of
tokens still opens and closes every stage.

Two choices narrow what is allowed further, without a text lost:

* Where the next text is determined (the closing tag of a stage that is full, say), so are its
  tokens: those of the tokenizer itself. Else the model would choose between spellings.
* A token that carries bytes of two bodies is refused: no reward could be assigned to it.

Shapes: V tokens of the vocabulary.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from triptych.stages.answers import AnswerForm
from triptych.stages.automaton import DEAD, compile_language
from triptych.stages.distances import FAR, GAINS, Distances, StageBudget, find_distances
from triptych.stages.format import DEFAULT_FORMAT, StageFormat
from triptych.stages.language import Language
from triptych.stages.token_graph import Enters, TokenGraph
from triptych.stages.vocabulary import Vocabulary

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_SPELLINGS = 64  # more different tokens than that are a real choice


@dataclass(frozen=True, slots=True)
class Choice:
    """What may come next.

    Attributes:
        mask_V: True for each token that may; not to be written to.
        count: how many those are.
        only: the token, where it is only one.
    """

    mask_V: NDArray[np.bool_]
    count: int
    only: int | None


class _Place(NamedTuple):
    """Where a completion stands."""

    state: int
    opened: int = 0
    """Tokens since the stage opened."""
    body: int = 0
    """Those of them that are sure to be of its body."""
    used: int = 0
    """Tokens of the completion."""


class StageGrammar:
    """The completions of a format that fit budgets.

    Args:
        graph: the format over a vocabulary; several grammars can share it.
        max_new_tokens: most tokens of a completion, the end token included.
        budgets: by stage. A stage that is held to a form takes no minimum.

    Raises:
        ValueError: an unknown stage, or budgets that no completion fits.
    """

    def __init__(
        self,
        graph: TokenGraph,
        max_new_tokens: int,
        budgets: Mapping[str, StageBudget] | None = None,
    ) -> None:
        self.graph, self.max_new_tokens = graph, max_new_tokens
        self._limits = _Limits(graph, max_new_tokens, budgets or {})
        self._choices: dict[tuple[object, ...], Choice] = {}
        self._by_edges: dict[tuple[int, bytes], Choice] = {}

    def matcher(self) -> "Matcher":
        """A matcher at the start of a completion."""
        return Matcher(self)

    def replay(self, token_ids: Sequence[int]) -> list[Choice]:
        """What was allowed at each token of a completion.

        Raises:
            ValueError: a token was not allowed.
        """
        matcher, choices = self.matcher(), []
        for token_id in token_ids:
            choices.append(matcher.choice)
            matcher.advance(token_id)
        return choices

    def choice(self, place: _Place) -> Choice:
        """What may come next at a place; the same object wherever the same may."""
        key = self._limits.key(place)
        if key not in self._choices:
            allowed_E = self._limits.allowed(place)
            same = place.state, allowed_E.tobytes()
            if same not in self._by_edges:
                self._by_edges[same] = self._choose(place.state, allowed_E)
            self._choices[key] = self._by_edges[same]
        return self._choices[key]

    def _choose(self, state: int, allowed_E: NDArray[np.bool_]) -> Choice:
        vocabulary = self.graph.vocabulary
        if state == self.graph.automaton.end:
            mask_V = np.zeros(vocabulary.size, np.bool_)
            mask_V[list(vocabulary.end_token_ids)] = True
        else:
            mask_V = allowed_E[self.graph.edges(state).edge_V]
        allowed = np.flatnonzero(mask_V)
        if 1 < len(allowed) <= _SPELLINGS:
            token = self._spelling(state, allowed.tolist())
            if token is not None:
                mask_V[:] = False
                mask_V[token] = True
                allowed = np.array([token])
        mask_V.setflags(write=False)
        return Choice(mask_V, len(allowed), int(allowed[0]) if len(allowed) == 1 else None)

    def _spelling(self, state: int, allowed: Sequence[int]) -> int | None:
        """The one token to take where all that are allowed spell the same text."""
        auto, vocabulary = self.graph.automaton, self.graph.vocabulary
        rest = auto.remainders[state]
        pieces = vocabulary.after(bool(auto.tagged_S[state])).pieces
        if not all(pieces[token] and rest.startswith(pieces[token]) for token in allowed):
            return None
        own = vocabulary.canonical(rest)
        return own if own in allowed else max(allowed, key=lambda token: len(pieces[token]))


class Matcher:
    """Follows one completion, token by token."""

    def __init__(self, grammar: StageGrammar) -> None:
        self.grammar = grammar
        self.finished = False
        """Whether the end token is there."""
        self._place = _Place(grammar.graph.automaton.start)
        self._choice = grammar.choice(self._place)

    @property
    def choice(self) -> Choice:
        """What may come next; never nothing, until the completion is finished."""
        return self._choice

    def advance(self, token_id: int) -> None:
        """Go on by one token.

        Raises:
            ValueError: the token is not allowed here, or the completion is finished.
        """
        if self.finished or not self._choice.mask_V[token_id]:
            raise ValueError(f"token {token_id} is not allowed after {self._place.used} tokens")
        graph, place = self.grammar.graph, self._place
        if place.state == graph.automaton.end:
            self.finished = True
            return
        edges = graph.edges(place.state)
        edge = edges.edges[edges.edge_V[token_id]]
        if graph.automaton.stage_S[place.state] and not edge.closes:
            opened, body = place.opened + 1, _body_tokens(place)[edge.step]
        else:
            opened, body = int(edge.enters != Enters.NOT), int(edge.enters == Enters.COMMITTED)
        self._place = _Place(edge.after, opened, body, place.used + 1)
        self._choice = self.grammar.choice(self._place)


def _body_tokens(place: _Place) -> tuple[int, int, int, int]:
    """Tokens that are sure to be of the body after each kind of `Step`."""
    return place.body, place.body, place.opened, place.opened + 1


class _Limits:
    """Budgets of one grammar: which tokens leave a way to the end."""

    def __init__(
        self, graph: TokenGraph, max_new_tokens: int, budgets: Mapping[str, StageBudget]
    ) -> None:
        self.graph, self.max_new_tokens = graph, max_new_tokens
        auto, names = graph.automaton, graph.vocabulary.fmt.names
        if unknown := set(budgets) - set(names):
            raise ValueError(f"no stage {sorted(unknown)[0]!r}; there are {', '.join(names)}")
        given = [budgets.get(name, StageBudget()) for name in names]
        for stage in set(auto.bodies) - set(auto.texts):
            given[stage - 1] = replace(given[stage - 1], min_tokens=0)
        self.distances = self._find_distances(given)
        # By stage, from 1; what stands at 0 is for states outside of bodies.
        self.least = np.array([0, *(budget.min_tokens for budget in given)], np.int64)
        self.most = np.array([FAR, *(budget.max_tokens for budget in given)], np.int64)
        self.text = np.array([auto.texts.get(i, DEAD) for i in range(len(names) + 1)])
        far = self.distances
        self._near_close = len(GAINS) + int(_largest(far.text_S))
        inside = _largest(far.end_LS) + _largest(far.text_S)
        self._near_end = max(inside, _largest(far.onward_S)) + len(GAINS)
        # Python's own numbers by state: `key` runs for every token.
        self._least_of = self.least[auto.stage_S].tolist()
        self._most_of = self.most[auto.stage_S].tolist()

    def _find_distances(self, budgets: Sequence[StageBudget]) -> Distances:
        """Distances by short tokens, if those can spell a completion, else by all of them."""
        graph, names = self.graph, self.graph.vocabulary.fmt.names
        free = [StageBudget()] * len(budgets)
        edges = graph.short_edges()
        if find_distances(graph.automaton, edges, free).onward_S[graph.automaton.start] >= FAR:
            edges = graph.all_edges()
        for given in (free, budgets):
            found = find_distances(graph.automaton, edges, given)
            for stage in range(len(names), 0, -1):
                if found.onward_S[graph.automaton.bodies[stage]] >= FAR:
                    raise ValueError(_hopeless(names[stage - 1], given[stage - 1], graph))
            needed = int(found.onward_S[graph.automaton.start])
            if needed >= FAR:
                raise ValueError(_hopeless(names[0], StageBudget(), graph))
            if self.max_new_tokens < needed:
                raise ValueError(
                    f"max_new_tokens is {self.max_new_tokens}, but the shortest completion within "
                    f"the budgets has {needed} tokens; raise it"
                )
        return found

    def key(self, place: _Place) -> tuple[object, ...]:
        """Places with one key allow the same: far from a limit its distance does not matter."""
        state, opened, body, used = place
        room = min(self._most_of[state] - opened, self._near_close)
        missing = max(0, self._least_of[state] - body)
        lacking = max(0, self._least_of[state] - opened)
        left = self.max_new_tokens - used
        if left > self._near_end + lacking:
            left, missing, lacking = FAR, min(missing, 1), min(lacking, self._near_close)
        return state, room, missing, lacking, left

    def allowed(self, place: _Place) -> NDArray[np.bool_]:
        """(E,) the edges after which the end can still be reached."""
        edges, auto, far = self.graph.edges(place.state), self.graph.automaton, self.distances
        after_E, steps_E, closes_E, enters_E = edges.columns
        left = self.max_new_tokens - place.used - 1
        here, stage_E = auto.stage_S[place.state], auto.stage_S[after_E]
        stays_E = (closes_E == 0) & (here > 0)
        sure_E = np.array(_body_tokens(place))[steps_E]
        opened_E = np.where(stays_E, place.opened + 1, enters_E != Enters.NOT)
        body_E = np.where(stays_E, sure_E, enters_E == Enters.COMMITTED)

        # The body that the token starts in: not more than its budget, and closed not before.
        most_sure_E = np.array([0, place.opened, place.opened, place.opened + 1])[steps_E]
        fits_E = most_sure_E <= self.most[here]
        fits_E &= (closes_E == 0) | (sure_E >= self.least[here])

        # From there to the end: between bodies, or by a way that the body has room for.
        least_E, most_E = self.least[stage_E], self.most[stage_E]
        ends_E = ((stage_E == 0) | (opened_E == 0)) & (far.onward_S[after_E] <= left)
        for gain in GAINS:
            gained_E = body_E if gain < 0 else opened_E + gain
            within_E = (least_E <= gained_E) & (gained_E <= most_E)
            ends_E |= within_E & (far.end_LS[gain + 1, after_E] <= left)

        # Or by ordinary text, up to the minimum, and on from there.
        text_E = self.text[stage_E]
        filled_E = np.maximum(least_E, opened_E + far.text_S[after_E])
        room_E = np.minimum(most_E - filled_E, GAINS[-1])
        closing_LS = np.minimum.accumulate(far.end_LS, axis=0)
        closing_E = closing_LS[np.maximum(room_E + 1, 0), text_E]
        ends_E |= (room_E >= 0) & (filled_E - opened_E + closing_E <= left)

        allowed_E: NDArray[np.bool_] = (after_E != DEAD) & fits_E & ends_E
        return allowed_E


def _largest(distances: NDArray[np.int64]) -> int:
    return int(distances[distances < FAR].max(initial=0))


def _hopeless(name: str, budget: StageBudget, graph: TokenGraph) -> str:
    if budget == StageBudget():
        tags = ", ".join(graph.vocabulary.fmt.tags)
        return f"the tokenizer cannot spell the tags {tags}; add them as tokens"
    return (
        f"stage {name!r} cannot have {budget.min_tokens} to {budget.max_tokens} tokens; "
        "widen its budget"
    )


def compile_grammar(
    tokenizer: "PreTrainedTokenizerBase",
    size: int,
    end_token_ids: Sequence[int],
    max_new_tokens: int,
    *,
    fmt: StageFormat = DEFAULT_FORMAT,
    answer: AnswerForm | None = None,
    budgets: Mapping[str, StageBudget] | None = None,
) -> StageGrammar:
    """A grammar from nothing but a tokenizer and the size of the model's head.

    Several grammars over one vocabulary are cheaper from a `TokenGraph` that they share.

    Raises:
        ValueError: see `Vocabulary`, `Language`, `TokenGraph` and `StageGrammar`.
    """
    vocabulary = Vocabulary(tokenizer, size, end_token_ids, fmt)
    graph = TokenGraph(compile_language(Language(fmt, answer)), vocabulary)
    return StageGrammar(graph, max_new_tokens, budgets)
