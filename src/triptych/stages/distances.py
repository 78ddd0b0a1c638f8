"""How far it is from each state of a grammar to the end, in tokens.

For a budget it matters not only how many tokens a way has but how many of them the body gains:
"</", "answer", ">" add none to it, "x</", "answer>" are fewer and add one. So distances are kept
by gain, and who asks takes the shortest way that the budget leaves room for.

A gain is counted from the tokens since the stage was opened. Of those, some may yet turn out to
be the closing tag, which is gain -1: the tag goes on, and they are not of the body.

Shapes: S states of the automaton, L gains from -1.
"""

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from triptych.stages.automaton import Automaton
from triptych.stages.token_graph import Edge, Enters, Step

FAR = 1 << 20
"""More tokens than any completion has: the distance to what cannot be reached."""

GAINS = range(-1, 7)
"""Ways to the end on which a body gains more tokens are not looked for."""


@dataclass(frozen=True)
class StageBudget:
    """How many tokens the body of a stage has: those that carry a byte of it."""

    min_tokens: int = 0
    max_tokens: int = FAR


@dataclass(frozen=True)
class Distances:
    """Distances within budgets.

    Attributes:
        end_LS: for states of bodies, tokens to the end of the completion, the end token included,
            by gain.
        text_S: for the same, tokens to the middle of ordinary text of the body.
        onward_S: for states between bodies and where a body begins, tokens to the end.
    """

    end_LS: NDArray[np.int64]
    text_S: NDArray[np.int64]
    onward_S: NDArray[np.int64]

    def within(self, room: int, state: int) -> int:
        """Tokens to the end from within a body that may gain `room` more."""
        return int(self.end_LS[: min(room, GAINS[-1]) + 2, state].min())


def find_distances(
    automaton: Automaton, edges: Mapping[int, Sequence[Edge]], budgets: Sequence[StageBudget]
) -> Distances:
    """Search from the last stage to the first; `budgets` are by stage."""
    num_states = len(automaton.table)
    found = Distances(
        np.full((len(GAINS), num_states), FAR, np.int64),
        np.full(num_states, FAR, np.int64),
        np.full(num_states, FAR, np.int64),
    )
    found.onward_S[automaton.end] = 1
    for stage, budget in reversed(list(enumerate(budgets, start=1))):
        body = [s for s in edges if automaton.stage_S[s] == stage]
        _search(body, edges, found)
        if stage in automaton.texts:
            _search_text(body, edges, found.text_S, automaton.texts[stage])
        found.onward_S[automaton.bodies[stage]] = _from_start(automaton, found, stage, budget)
        ahead = (automaton.stage_S == 0) & (automaton.done_S == stage - 1)
        gap = [s for s in edges if ahead[s]]
        between = Distances(found.end_LS.copy(), found.text_S, found.onward_S)
        _search(gap, edges, between)
        found.onward_S[gap] = between.end_LS[0, gap]
    return found


def _from_start(automaton: Automaton, found: Distances, stage: int, budget: StageBudget) -> int:
    """Tokens from the opening of a stage to the end of the completion, within its budget."""
    start = automaton.bodies[stage]
    gains = [gain for gain in GAINS if budget.min_tokens <= max(0, gain) <= budget.max_tokens]
    direct = min((int(found.end_LS[gain + 1, start]) for gain in gains), default=FAR)
    if stage not in automaton.texts:
        return direct
    filled = max(budget.min_tokens, int(found.text_S[start]))
    if filled > budget.max_tokens:
        return direct
    return min(direct, filled + found.within(budget.max_tokens - filled, automaton.texts[stage]))


def _search(states: Sequence[int], edges: Mapping[int, Sequence[Edge]], found: Distances) -> None:
    """Dijkstra, backwards, from where `states` are left; each state once for every gain."""
    inside = set(states)
    back: dict[int, list[tuple[int, int]]] = {}
    queue: list[tuple[int, int, int]] = []
    for state in states:
        for edge in edges[state]:
            if edge.after in inside:
                back.setdefault(edge.after, []).append((state, edge.step))
            elif edge.enters == Enters.NOT and edge.step != Step.SHIFTS:
                # Ways on which a token ends inside the next body are not counted on.
                queue.append((1 + int(found.onward_S[edge.after]), _FIRST_GAIN[edge.step], state))
    heapq.heapify(queue)
    end_LS = found.end_LS
    while queue:
        end, gain, state = heapq.heappop(queue)
        if end >= FAR or end_LS[gain + 1, state] < FAR:
            continue
        end_LS[gain + 1, state] = end
        for before, step in back.get(state, ()):
            if gain < 0 and step == Step.SHIFTS:
                continue  # what it adds is not known
            more = gain + 1 if gain >= 0 else _FIRST_GAIN[step]
            if more in GAINS:
                heapq.heappush(queue, (end + 1, more, before))


_FIRST_GAIN: Mapping[int, int] = {Step.HOLDS: -1, Step.RESTARTS: 0, Step.COMMITS: 1}
"""The gain before the last token that adds to the body."""


def _search_text(
    states: Sequence[int],
    edges: Mapping[int, Sequence[Edge]],
    text_S: NDArray[np.int64],
    text: int,
) -> None:
    """Breadth first, backwards, from the middle of ordinary text."""
    back: dict[int, list[int]] = {}
    for state in states:
        for edge in edges[state]:
            if not edge.closes:
                back.setdefault(edge.after, []).append(state)
    text_S[text] = 0
    waiting = [text]
    for state in waiting:  # grows while it is gone through
        for before in back.get(state, ()):
            if text_S[before] >= FAR:
                text_S[before] = text_S[state] + 1
                waiting.append(before)
