"""A format's language over the bytes of UTF-8, as one table.

Tokens are bytes: they end inside characters, and one can hold the end of a body, a whole tag and
the start of the next body. So the language over characters is spelled out in bytes. Invalid UTF-8
is not part of it, and no tag can follow half a character.

Shapes: S states.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from triptych.stages.language import OTHER, Body, End, Gap, Language, Seen, State, Value

DEAD = 0
"""The state from which no valid text can come."""

_Range: TypeAlias = tuple[int, int]
_ANY: _Range = (0x80, 0xBF)


class _Half(NamedTuple):
    """Inside a character that may yet be one of the alphabet."""

    state: State
    prefix: bytes


class _Rest(NamedTuple):
    """Inside a character that leads to `target` whichever it is; `ranges` of bytes complete it."""

    target: State
    ranges: tuple[_Range, ...]


_ByteState: TypeAlias = State | _Half | _Rest


@dataclass(frozen=True)
class Automaton:
    """A language, byte by byte.

    Attributes:
        table: (S, 256) the state after each byte; `DEAD` stays there.
        start: the state before the first byte.
        end: the state after the last closing tag, where only an end token may follow.
        stage_S: the stage whose body a state is in, from 1; 0 outside of bodies.
        done_S: stages that are closed.
        tail_S: bytes at the end of a body, so far, that become its closing tag if that goes on.
        tagged_S: whether the text so far is empty or ends with a tag.
        bodies: per stage, from 1, the state right after its opening tag.
        texts: per stage of free text, from 1, the state within it after ordinary text.
        remainders: per state, what completes the tag of which `tail_S` or the gap has the start.
    """

    table: NDArray[np.int16]
    start: int
    end: int
    stage_S: NDArray[np.int16]
    done_S: NDArray[np.int16]
    tail_S: NDArray[np.int16]
    tagged_S: NDArray[np.bool_]
    bodies: Mapping[int, int]
    texts: Mapping[int, int]
    remainders: tuple[bytes, ...]

    def accepts(self, text: bytes) -> bool:
        """Whether a whole text is in the language."""
        state = self.start
        for byte in text:
            state = int(self.table[state, byte])
        return state == self.end


def compile_language(language: Language) -> Automaton:
    """Spell a language out in bytes."""
    moves = _ByteMoves(language)
    index: dict[_ByteState, int] = {language.start: 1}
    rows = [np.zeros(256, np.int16)]
    waiting: list[_ByteState] = [language.start]
    for state in waiting:  # grows while it is gone through
        row = np.zeros(256, np.int16)
        for byte, after in moves.of(state):
            if after not in index:
                index[after] = len(index) + 1
                waiting.append(after)
            row[byte] = index[after]
        rows.append(row)
    states = list(index)
    return Automaton(
        table=np.stack(rows),
        start=1,
        end=index[End()],
        stage_S=np.array([0, *map(_stage, states)], np.int16),
        done_S=np.array([0, *(_done(state, language) for state in states)], np.int16),
        tail_S=np.array([0, *(_tail(state, language) for state in states)], np.int16),
        tagged_S=np.array([False, *map(_is_tagged, states)]),
        bodies={
            stage + 1: index.get(Body(stage)) or index[Value(stage)]
            for stage in range(len(language.fmt.stages))
        },
        texts={
            stage + 1: index[text]
            for stage in range(len(language.fmt.stages))
            if (text := Body(stage, Seen.TEXT)) in index
        },
        remainders=(b"", *(_remainder(state, language) for state in states)),
    )


class _ByteMoves:
    """Where each byte leads from a state."""

    def __init__(self, language: Language) -> None:
        self.chars = language.transitions()
        self.encodings = {char.encode(): char for char in language.alphabet}
        self.prefixes: dict[bytes, set[str]] = {}
        for encoding, char in self.encodings.items():
            for end in range(1, len(encoding)):
                self.prefixes.setdefault(encoding[:end], set()).add(char)

    def of(self, state: _ByteState) -> Iterator[tuple[int, _ByteState]]:
        match state:
            case _Rest(target, ranges):
                for byte in range(ranges[0][0], ranges[0][1] + 1):
                    yield byte, _rest(target, ranges[1:])
            case _Half(inner, prefix):
                yield from self._of_char(inner, prefix)
            case _:
                yield from self._of_char(state, b"")

    def _of_char(self, state: State, prefix: bytes) -> Iterator[tuple[int, _ByteState]]:
        chars, other = self.chars[state], self.chars[state].get(OTHER)
        ranges = _continuation(prefix[0]) if prefix else ((0, 0xF4),)
        assert ranges, "an encoded character starts with a byte that may start one"
        ranges = ranges[max(0, len(prefix) - 1) :]
        for byte in range(ranges[0][0], ranges[0][1] + 1):
            so_far = prefix + bytes([byte])
            if so_far in self.encodings:
                if (after := chars.get(self.encodings[so_far])) is not None:
                    yield byte, after
                continue
            outcomes = {chars.get(char) for char in self.prefixes.get(so_far, ())}
            if outcomes - {other}:
                yield byte, _Half(state, so_far)
            elif other is not None:
                rest = ranges[1:] if prefix else _continuation(byte)
                if rest is not None:
                    yield byte, _rest(other, rest)


def _rest(target: State, ranges: tuple[_Range, ...]) -> _ByteState:
    return _Rest(target, ranges) if ranges else target


def _continuation(lead: int) -> tuple[_Range, ...] | None:
    """What may follow the first byte of a character (Unicode 16, table 3-7); None: no such byte."""
    special = {0xE0: (0xA0, 0xBF), 0xED: (0x80, 0x9F), 0xF0: (0x90, 0xBF), 0xF4: (0x80, 0x8F)}
    second = special.get(lead, _ANY)
    if lead < 0x80:
        return ()
    if 0xC2 <= lead <= 0xDF:
        return (second,)
    if 0xE0 <= lead <= 0xEF:
        return (second, _ANY)
    return (second, _ANY, _ANY) if 0xF0 <= lead <= 0xF4 else None


def _char_state(state: _ByteState) -> State:
    match state:
        case _Rest(target):
            return target
        case _Half(inner):
            return inner
        case _:
            return state


def _stage(state: _ByteState) -> int:
    inner = _char_state(state)
    return inner.stage + 1 if isinstance(inner, Body | Value) else 0


def _done(state: _ByteState, language: Language) -> int:
    inner = _char_state(state)
    return len(language.fmt.stages) if isinstance(inner, End) else inner.stage


def _tail(state: _ByteState, language: Language) -> int:
    if isinstance(state, _Rest) or not _stage(state):
        return 0
    if not isinstance(state, _Half):
        return len(language.tail(state).encode())
    # The half character may go on the tag that seems to have begun, or begin it anew.
    end = language.tail(state.state).encode() + state.prefix
    close_tag = language.fmt.stages[_stage(state) - 1].close_tag.encode()
    return next(len(end) - at for at in range(len(end) + 1) if close_tag.startswith(end[at:]))


def _remainder(state: _ByteState, language: Language) -> bytes:
    inner, stages = _char_state(state), language.fmt.stages
    match inner:
        case End():
            return b""
        case Gap(stage, matched):
            done = stages[stage].open_tag[:matched].encode()
            half = state.prefix if isinstance(state, _Half) else b""
            return stages[stage].open_tag.encode().removeprefix(done + half)
        case _:
            return stages[inner.stage].close_tag.encode()[_tail(state, language) :]


def _is_tagged(state: _ByteState) -> bool:
    match state:
        case Gap(_, matched, spaced):
            return matched == 0 and not spaced
        case Body(_, seen, node):
            return seen is Seen.NOTHING and node == ""
        case Value(_, value, matched):
            return value == "" and matched == 0
        case End():
            return True
        case _:
            return False
