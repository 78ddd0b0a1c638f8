"""The valid completions of a format as an automaton over characters.

`parse` judges a whole text; this follows one as it is written: which characters may come next,
where in the format it stands. Everything that enforces the format is made from it: the masks over
a vocabulary (`grammar`), and the grammars that servers take (`export`).

The language is that of the texts that `parse` finds valid, save that nothing follows the last
closing tag: a model ends there. A body is any text without a tag of the format, and not blank
unless its stage may be; an answer can be held to a form.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import NamedTuple, TypeAlias

from triptych.stages.answers import AnswerForm
from triptych.stages.format import DEFAULT_FORMAT, StageFormat, StageSpec

OTHER = ""
"""Stands for every character that is not in a language's alphabet: they all behave alike."""

BLANKS = (
    "\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007"
    "\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
)
"""What `str.strip` takes for white space, and `parse` therefore for blank."""


class Gap(NamedTuple):
    """Before a stage: white space, then its opening tag, of which some characters are there."""

    stage: int
    matched: int = 0
    spaced: bool = False


class Seen(IntEnum):
    """What a body is known to hold; the end that may become its closing tag does not count."""

    NOTHING = 0
    BLANK = 1
    TEXT = 2


class Body(NamedTuple):
    """In a body of free text, whose longest end that starts a tag of the format is `node`."""

    stage: int
    seen: Seen = Seen.NOTHING
    node: str = ""


class Value(NamedTuple):
    """In an answer that is held to a form: the form's state, then how much of the closing tag."""

    stage: int
    state: str = ""
    matched: int = 0


class End(NamedTuple):
    """After the last closing tag."""


State: TypeAlias = Gap | Body | Value | End


@dataclass(frozen=True)
class Language:
    """The texts that a format allows.

    Attributes:
        fmt: the format.
        answer: the form that the body of the stage named "answer" is held to, if any.

    Raises:
        ValueError: the format has no such stage, or its closing tag could be read as part of the
            answer.
    """

    fmt: StageFormat = DEFAULT_FORMAT
    answer: AnswerForm | None = None

    def __post_init__(self) -> None:
        if self.answer is None:
            return
        if "answer" not in self.fmt.names:
            raise ValueError(
                f"an answer form needs a stage named 'answer'; there are {self.fmt.names}"
            )
        tag = self.fmt.stages[self.fmt.names.index("answer")].close_tag
        if any(tag[0] in self.answer.moves.get(state, {}) for state in self.answer.complete):
            raise ValueError(f"the closing tag {tag!r} begins like more of the answer")

    start = Gap(0)

    @cached_property
    def alphabet(self) -> frozenset[str]:
        """The characters that differ from `OTHER`."""
        answer = self.answer.alphabet if self.answer else frozenset()
        return answer.union(BLANKS, *self.fmt.tags)

    def step(self, state: State, char: str) -> State | None:
        """The state after one more character (or `OTHER`); None where no valid text goes on so."""
        match state:
            case Gap():
                return self._step_gap(state, char)
            case Body():
                return self._step_body(state, char)
            case Value():
                return self._step_value(state, char)
            case End():
                return None

    def tail(self, state: State) -> str:
        """The end of a body, so far, that becomes its closing tag if that goes on."""
        match state:
            case Body():
                return _longest_end(state.node, (self.fmt.stages[state.stage].close_tag,))
            case Value():
                return self.fmt.stages[state.stage].close_tag[: state.matched]
            case _:
                return ""

    def transitions(self) -> Mapping[State, Mapping[str, State]]:
        """All states that can be reached, and where each character of the alphabet leads."""
        found: dict[State, dict[str, State]] = {}
        waiting: list[State] = [self.start]
        alphabet = sorted(self.alphabet | {OTHER})
        while waiting:
            state = waiting.pop()
            if state in found:
                continue
            steps = ((char, self.step(state, char)) for char in alphabet)
            found[state] = {char: after for char, after in steps if after is not None}
            waiting.extend(found[state].values())
        return found

    def _step_gap(self, state: Gap, char: str) -> State | None:
        tag = self.fmt.stages[state.stage].open_tag
        if state.matched == 0 and self.fmt.space_between and char and char in BLANKS:
            return Gap(state.stage, spaced=True)
        if char != tag[state.matched]:
            return None
        if state.matched + 1 < len(tag):
            return state._replace(matched=state.matched + 1)
        held = self.answer and self.fmt.names[state.stage] == "answer"
        return Value(state.stage) if held else Body(state.stage)

    def _step_body(self, state: Body, char: str) -> State | None:
        stage = self.fmt.stages[state.stage]
        node = _longest_end(state.node + char, self.fmt.tags) if char else ""
        if node in self.fmt.tags:
            return self._closed(state.stage) if _may_close(stage, state, node) else None
        after = Body(state.stage, state.seen, node)
        before_tail = self.tail(state) + (char or "x")
        kept = before_tail[: len(before_tail) - len(self.tail(after))]
        if kept.strip():
            return after._replace(seen=Seen.TEXT)
        return after._replace(seen=max(state.seen, Seen.BLANK)) if kept else after

    def _step_value(self, state: Value, char: str) -> State | None:
        assert self.answer
        tag = self.fmt.stages[state.stage].close_tag
        more = self.answer.moves.get(state.state, {}) if state.matched == 0 else {}
        if char in more:
            return Value(state.stage, more[char])
        if state.state not in self.answer.complete or char != tag[state.matched]:
            return None
        if state.matched + 1 < len(tag):
            return state._replace(matched=state.matched + 1)
        return self._closed(state.stage)

    def _closed(self, stage: int) -> State:
        return Gap(stage + 1) if stage + 1 < len(self.fmt.stages) else End()


def _may_close(stage: StageSpec, state: Body, tag: str) -> bool:
    return tag == stage.close_tag and (stage.may_be_empty or state.seen is Seen.TEXT)


def _longest_end(text: str, tags: tuple[str, ...]) -> str:
    """The longest end of `text` that is the start of a tag, or all of one."""
    ends: Iterator[str] = (text[start:] for start in range(len(text)))
    return next((end for end in ends if any(tag.startswith(end) for tag in tags)), "")
