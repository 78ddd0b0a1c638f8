"""The output format: which stages a completion has, how it is written and how it is read.

A completion is valid when it is exactly the stages in their order, each opened and closed once,
with white space at most around them (and not even that where the format says so)::

    <context>what is seen and heard</context><think>from context to answer</think><answer>B</answer>

`parse` reads any text whatsoever. It scans for the tags of the format once, from left to right,
and everything else follows from where they stand:

* A body runs from an opening tag to the next tag of the format, whichever that is, or to the
  end of the text. So it never holds a tag, nor text of another stage.
* Of several openings of a stage, the body is that of the first one which its own closing tag
  follows directly; failing that, of the first one.
* What deviates from the format is listed as violations; see `ViolationKind`.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from functools import cached_property
from itertools import pairwise, product
from typing import NamedTuple


class Region(IntEnum):
    """Where a token of a completion stands; the i-th stage of a format is region i."""

    OUTSIDE = 0
    """A tag, or anything outside the bodies."""

    CONTEXT = 1
    THINK = 2
    ANSWER = 3


@dataclass(frozen=True)
class StageSpec:
    """One stage: its name, its two tags, and whether its body may be blank.

    `purpose` says in a few words what belongs in the body; the system prompt shows it.
    """

    name: str
    open_tag: str
    close_tag: str
    may_be_empty: bool = False
    purpose: str = ""


@dataclass(frozen=True)
class StageFormat:
    """The stages of a completion, in order. The default is context, think, answer.

    Raises:
        ValueError: no stages, a name blank or given twice, or tags that would give one text two
            readings: blank, equal, one inside another, or the end of one the start of another.
    """

    stages: tuple[StageSpec, ...] = (
        StageSpec(
            "context",
            "<context>",
            "</context>",
            purpose="what you see and hear: people, actions, expressions, speech, tone of voice",
        ),
        StageSpec(
            "think",
            "<think>",
            "</think>",
            purpose="step-by-step reasoning from the context to the answer",
        ),
        StageSpec("answer", "<answer>", "</answer>", purpose="only the final answer"),
    )
    space_between: bool = True
    """Whether white space may stand before, between and after the stages."""

    def __post_init__(self) -> None:
        if not self.stages:
            raise ValueError("a format needs at least one stage")
        if len(set(self.names)) < len(self.names) or "" in self.names:
            raise ValueError(f"stages need names that differ, not {', '.join(self.names)}")
        for tag in self.tags:
            # U+FFFD stands for bytes that are no UTF-8; a tag made of it could match garbage.
            if tag != tag.strip() or not tag.isprintable() or not tag or "\ufffd" in tag:
                raise ValueError(f"{tag!r} cannot be a tag; use printable text such as '<think>'")
        for (i, first), (j, second) in product(enumerate(self.tags), repeat=2):
            if i != j and first in second:
                raise ValueError(f"tag {first!r} lies within tag {second!r}; use distinct tags")
            if any(first.endswith(second[:size]) for size in range(1, len(second))):
                raise ValueError(f"the end of tag {first!r} can start tag {second!r}")

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of the stages, in order."""
        return tuple(stage.name for stage in self.stages)

    @cached_property
    def tags(self) -> tuple[str, ...]:
        """All tags in order: opening and closing tag of the first stage, then of the second..."""
        return tuple(tag for stage in self.stages for tag in (stage.open_tag, stage.close_tag))

    def render(self, bodies: Mapping[str, str]) -> str:
        """Write a completion: each body, as it is, between its tags.

        Raises:
            ValueError: a stage is left out or unknown, or a body is blank where it may not be, or
                holds a tag of the format.
        """
        if bodies.keys() != set(self.names):
            raise ValueError(f"stages {sorted(bodies)} given, the format has {sorted(self.names)}")
        for stage in self.stages:
            body = bodies[stage.name]
            if not body.strip() and not stage.may_be_empty:
                raise ValueError(f"the body of stage {stage.name!r} is empty; give it text")
            if found := self._tag_pattern.search(body):
                raise ValueError(
                    f"the body of stage {stage.name!r} holds the tag {found[0]!r}; remove it"
                )
        return "".join(s.open_tag + bodies[s.name] + s.close_tag for s in self.stages)

    @cached_property
    def _meaning(self) -> dict[str, tuple[str, bool]]:
        """Each tag in order, with its stage and whether it opens it."""
        names = [name for name in self.names for _ in range(2)]
        return {tag: (names[i], i % 2 == 0) for i, tag in enumerate(self.tags)}

    @cached_property
    def _tag_pattern(self) -> re.Pattern[str]:
        return re.compile("|".join(map(re.escape, self.tags)))


DEFAULT_FORMAT = StageFormat()


class ViolationKind(StrEnum):
    """How a text deviates from its format. A valid text has no violation, any other at least one.

    A closing tag that closes nothing is TEXT_OUTSIDE where no stage is open, else NESTED.
    """

    MISSING = "missing"
    """The stage is never opened. Position: the end of the text."""

    OUT_OF_ORDER = "out_of_order"
    """The stage is first opened after a later stage. Position: the opening tag."""

    DUPLICATE = "duplicate"
    """The stage is opened again. Position: the repeated opening tag; once for each."""

    NESTED = "nested"
    """A tag stands in another, unclosed stage: an opening tag, or a closing tag of a stage that
    is not open. Stage and position: those of the tag."""

    EMPTY = "empty"
    """The stage is closed but its body is blank, and may not be. Position: the body."""

    TEXT_OUTSIDE = "text_outside"
    """Something other than allowed white space follows no opening tag. Position: its first
    character. For text the stage is None; for a closing tag that closes nothing, its stage."""

    TRUNCATED = "truncated"
    """The stage is opened and never closed. Position: its last opening tag."""


@dataclass(frozen=True)
class Violation:
    """One deviation: of which kind, of which stage (None: of none), at which character."""

    kind: ViolationKind
    stage: str | None
    position: int


@dataclass(frozen=True)
class StagedOutput:
    """A text read by a format.

    Attributes:
        text: The text as given.
        bodies: Text of each stage without surrounding white space; None where it is never opened.
        spans: Start and end in `text`, in characters, of each raw body (white space included).
        violations: Ordered by position.
    """

    text: str
    bodies: Mapping[str, str | None]
    spans: Mapping[str, tuple[int, int] | None]
    violations: tuple[Violation, ...]

    @property
    def valid(self) -> bool:
        """Whether the text is exactly what the format asks for."""
        return not self.violations

    @property
    def context(self) -> str:
        """Body of the stage named context; "" when absent."""
        return self.bodies.get("context") or ""

    @property
    def think(self) -> str:
        """Body of the stage named think; "" when absent."""
        return self.bodies.get("think") or ""

    @property
    def answer(self) -> str:
        """Body of the stage named answer; "" when absent."""
        return self.bodies.get("answer") or ""


def parse(text: str, fmt: StageFormat = DEFAULT_FORMAT) -> StagedOutput:
    """Read any text: the body of each stage, and every violation of the format. Never raises.

    >>> output = parse("<context>a smile</context><answer>B")
    >>> output.context, output.think, output.answer
    ('a smile', '', 'B')
    >>> [(violation.kind.value, violation.stage) for violation in output.violations]
    [('truncated', 'answer'), ('missing', 'think')]
    """
    tags = _scan(text, fmt)
    spans = {name: _body_span(name, tags, len(text)) for name in fmt.names}
    bodies = {name: text[slice(*span)].strip() if span else None for name, span in spans.items()}
    violations = [*_check_tags(tags, fmt, len(text)), *_check_outside(text, tags, fmt)]
    truncated = {v.stage for v in violations if v.kind is ViolationKind.TRUNCATED}
    for stage in fmt.stages:
        span = spans[stage.name]
        may_be_blank = stage.may_be_empty or stage.name in truncated
        if span and not bodies[stage.name] and not may_be_blank:
            violations.append(Violation(ViolationKind.EMPTY, stage.name, span[0]))
    violations.sort(key=lambda violation: violation.position)
    return StagedOutput(text, bodies, spans, tuple(violations))


class _Tag(NamedTuple):
    """One tag found in a text."""

    stage: str
    opens: bool
    start: int
    end: int


def _boundary(position: int) -> _Tag:
    """The start or end of the text, as a tag of no stage."""
    return _Tag("", opens=False, start=position, end=position)


def _scan(text: str, fmt: StageFormat) -> list[_Tag]:
    """All tags of the format in `text`, from left to right."""
    meaning = fmt._meaning
    return [_Tag(*meaning[match[0]], *match.span()) for match in fmt._tag_pattern.finditer(text)]


def _body_span(name: str, tags: list[_Tag], text_length: int) -> tuple[int, int] | None:
    """The span of a stage's body by the rule at the head of the module."""
    first = None
    for tag, following in pairwise([*tags, _boundary(text_length)]):
        if tag.opens and tag.stage == name:
            span = (tag.end, following.start)
            if following.stage == name and not following.opens:
                return span
            first = first or span
    return first


def _check_tags(tags: list[_Tag], fmt: StageFormat, text_length: int) -> Iterator[Violation]:
    """Every violation that the sequence of tags shows."""
    if [(tag.stage, tag.opens) for tag in tags] == [*fmt._meaning.values()]:
        return  # as it should be, and mostly is
    order = {name: index for index, name in enumerate(fmt.names)}
    last_opened = -1  # index of the latest stage of the format that was opened so far
    opened: set[str] = set()
    unclosed: dict[str, int] = {}  # stage -> position of its last opening tag
    for tag in tags:
        if tag.opens:
            if tag.stage in opened:
                yield Violation(ViolationKind.DUPLICATE, tag.stage, tag.start)
            elif order[tag.stage] < last_opened:
                yield Violation(ViolationKind.OUT_OF_ORDER, tag.stage, tag.start)
            if unclosed.keys() - {tag.stage}:
                yield Violation(ViolationKind.NESTED, tag.stage, tag.start)
            last_opened = max(last_opened, order[tag.stage])
            opened.add(tag.stage)
            unclosed[tag.stage] = tag.start
        elif tag.stage in unclosed:
            del unclosed[tag.stage]
        else:
            kind = ViolationKind.NESTED if unclosed else ViolationKind.TEXT_OUTSIDE
            yield Violation(kind, tag.stage, tag.start)
    for name, position in unclosed.items():
        yield Violation(ViolationKind.TRUNCATED, name, position)
    for name in fmt.names:
        if name not in opened:
            yield Violation(ViolationKind.MISSING, name, text_length)


def _check_outside(text: str, tags: list[_Tag], fmt: StageFormat) -> Iterator[Violation]:
    """One violation for each stretch of text that follows no opening tag and may not be there."""
    for before, after in pairwise([_boundary(0), *tags, _boundary(len(text))]):
        gap = text[before.end : after.start]
        if not before.opens and (stray := gap.lstrip() if fmt.space_between else gap):
            position = after.start - len(stray)
            yield Violation(ViolationKind.TEXT_OUTSIDE, None, position)
