r"""A format's language as text that servers take: a regular expression, or a grammar in EBNF.

Both describe exactly the texts of `Language`. The grammar (GBNF, the dialect of llama.cpp and
xgrammar) does so for every format, and is compiled in a fraction of the time. The expression is
for formats whose tags begin with characters of their own, and for backends that take nothing else.

What servers ask for (vLLM 0.12, SGLang 0.5, and later):

* `vllm serve` reads `structured_outputs` in the body of a request, with exactly one of `grammar`,
  `regex` and others in it. A regular expression has 5 seconds to be compiled
  (VLLM_REGEX_COMPILATION_TIMEOUT_S); with a large vocabulary ours can need more.
* SGLang reads `ebnf` or `regex` at the top of the body, one of them.
* By default both leave the check to xgrammar. SGLang's outlines backend takes only expressions.
* With a `--reasoning-parser` both let pass whatever comes before the end of the reasoning: they
  would begin to hold the format behind `</think>`. Serve without one.
* A budget of a stage cannot be said there: a repetition such as `{0,400}` counts characters, not
  tokens. Only `max_tokens` limits a reply, and one that it cuts off is not valid.

How the text is written follows from what the backends read differently:

* xgrammar lets a character beyond ASCII pass that a negated class leaves out, up to 0.2.7. Such a
  class is written as ranges, none of which ends in the midst of a block of 4096 characters that it
  does not begin in: of such a block it would let nothing pass. Before 0.1.30 it can read no class
  beyond ASCII, so that is the oldest that works.
* llguidance loses the zeros that a `\u` escape in a grammar begins with, and gives up where more
  than 2,000 rules are open: after some hundred beginnings of tags in one body. An expression may
  have any number.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Any, TypeAlias

from triptych.stages.language import BLANKS, OTHER, End, Gap, Language, State

_LAST = 0x10FFFF
_HYPHEN, _CARET = (ord("-"),) * 2, (ord("^"),) * 2

_Run: TypeAlias = tuple[int, int]
"""First and last of characters, by number, that follow each other."""
_Trie: TypeAlias = dict[str, "_Trie"]
_Moves: TypeAlias = Mapping[State, Mapping[str, State]]


class Server(StrEnum):
    """Whose requests are meant."""

    VLLM = "vllm"
    SGLANG = "sglang"


def request_fields(language: Language, server: Server, *, as_regex: bool = False) -> dict[str, Any]:
    """What an OpenAI-compatible request needs in its `extra_body` to get a reply in a language.

    Raises:
        ValueError: see `to_regex`.
    """
    text = to_regex(language) if as_regex else to_ebnf(language)
    if server is Server.VLLM:
        return {"structured_outputs": {"regex" if as_regex else "grammar": text}}
    return {"regex" if as_regex else "ebnf": text}


def to_regex(language: Language) -> str:
    """A language as one regular expression, to match as a whole.

    It needs neither look-around nor flags, and reads the same to Python, Rust and xgrammar.

    Raises:
        ValueError: the first character of a tag occurs again within a tag, so that bodies cannot be
            written down exactly; `to_ebnf` can.
    """
    fmt = language.fmt
    tags = _trie(fmt.tags)
    for tag in fmt.tags:
        if again := tags.keys() & set(tag[1:]):
            raise ValueError(
                f"no regular expression is exact: {min(again)!r} begins a tag and occurs again in "
                f"tag {tag!r}; use the grammar (EBNF)"
            )
    blanks = _class(BLANKS) + "*"
    any_text = _class_without(tags) + "*"
    some_text = _class_without([*tags, *BLANKS]) + any_text
    # Then, any number of times: a tag that is begun and never ends, and the text behind it.
    if begun := _branches(tags, tags):
        any_text += f"(?:{begun})*"
        some_text = f"(?:{some_text}|{begun})(?:{begun})*"
    parts = []
    for stage in fmt.stages:
        body = any_text if stage.may_be_empty else blanks + some_text
        if language.answer and stage.name == "answer":
            body = f"(?:{language.answer.pattern})"
        gap = blanks if fmt.space_between else ""
        parts += [gap, re.escape(stage.open_tag), body, re.escape(stage.close_tag)]
    return "".join(parts)


def to_ebnf(language: Language) -> str:
    """A language as a grammar in EBNF (GBNF) whose rule `root` is the whole text.

    Each stage is a rule, and so is each state within it, as far as states differ in what may
    follow: all that may come next, and the rule to go on with.
    """
    rules = _Rules(language)
    return "".join(f"{name} ::= {body}\n" for name, body in rules)


def _trie(tags: Iterable[str]) -> _Trie:
    """The tags by their characters; none is the beginning of another."""
    root: _Trie = {}
    for tag in tags:
        node = root
        for char in tag:
            node = node.setdefault(char, {})
    return root


def _branches(node: _Trie, tags: _Trie) -> str:
    """What may follow the beginning of a tag where it goes on, but not to its end.

    The text behind it is part of that, up to where another tag begins.
    """
    return "|".join(
        re.escape(char) + _after(more, tags) for char, more in sorted(node.items()) if more
    )


def _after(node: _Trie, tags: _Trie) -> str:
    """What may follow the beginning of a tag: more of it, other text, or nothing at all."""
    other = _class_without([*node, *tags]) + _class_without(tags) + "*"
    return f"(?:{'|'.join(filter(None, [_branches(node, tags), other]))})?"


class _Rules:
    """The rules of a language, as pairs of name and body.

    A rule ends where its stage does: after the closing tag.
    """

    def __init__(self, language: Language) -> None:
        self.language = language
        found = language.transitions()
        self.same = _merged(found)
        self.moves: _Moves = {
            state: {char: self.same[after] for char, after in moves.items()}
            for state, moves in found.items()
            if self.same[state] == state
        }

    def __iter__(self) -> Iterator[tuple[str, str]]:
        names = [_rule_name(name, i) for i, name in enumerate(self.language.fmt.names, start=1)]
        yield "root", " ".join(names)
        for stage, name in enumerate(names):
            yield from self._stage(stage, name)

    def _stage(self, stage: int, name: str) -> Iterator[tuple[str, str]]:
        is_last = stage + 1 == len(self.language.fmt.stages)
        end = self.same[End() if is_last else Gap(stage + 1)]
        names = {self.same[Gap(stage)]: name}
        waiting = list(names)

        def call(state: State) -> str:
            if state == end:
                return ""
            if state not in names:
                names[state] = f"{name}-{len(names)}"
                waiting.append(state)
            return f" {names[state]}"

        for state in waiting:  # grows while it is gone through
            yield names[state], self._rule(state, end, call)

    def _rule(self, state: State, end: State, call: Callable[[State], str]) -> str:
        by_target: dict[State, list[str]] = {}
        for char, after in self.moves[state].items():
            by_target.setdefault(after, []).append(char)
        again = by_target.pop(state, None)
        choices = " | ".join(
            self._choice(chars, after, end, call) for after, chars in by_target.items()
        )
        if again is None:
            return choices
        return f"{self._one_of(again)}* " + (f"({choices})" if len(by_target) > 1 else choices)

    def _choice(
        self, chars: list[str], after: State, end: State, call: Callable[[State], str]
    ) -> str:
        if len(chars) > 1 or OTHER in chars:
            return self._one_of(chars) + call(after)
        text = chars[0]
        while after != end and len(self.moves[after]) == 1:  # the rest of a tag
            ((char, after),) = self.moves[after].items()
            text += char
        return _literal(text) + call(after)

    def _one_of(self, chars: list[str]) -> str:
        if OTHER in chars:
            return _class_without(self.language.alphabet.difference(chars))
        return _literal(chars[0]) if len(chars) == 1 else _class(chars)


def _merged(moves: _Moves) -> Mapping[State, State]:
    """For each state the first one that allows the same to follow (Moore's algorithm)."""
    groups = dict.fromkeys(moves, 0)
    while True:
        numbers: dict[tuple[object, ...], int] = {}
        finer = {}
        for state, after in moves.items():
            follows = frozenset((char, groups[next_state]) for char, next_state in after.items())
            finer[state] = numbers.setdefault((groups[state], follows), len(numbers))
        if finer == groups:
            break
        groups = finer
    first: dict[int, State] = {}
    for state, group in groups.items():
        first.setdefault(group, state)
    return {state: first[group] for state, group in groups.items()}


def _rule_name(stage: str, number: int) -> str:
    """The stage's own name, unless it cannot be a rule's or is that of the first rule."""
    usable = re.fullmatch("[a-z]+", stage) and stage not in ("root", "start")
    return stage if usable else f"s{number}"


def _class(chars: Iterable[str]) -> str:
    """A character class: any of two or more `chars`."""
    return f"[{_members(_runs(map(ord, chars)))}]"


def _class_without(chars: Iterable[str]) -> str:
    """A character class: any character but `chars`."""
    runs = _runs(map(ord, chars))
    if runs[-1][1] < 0x80:
        return f"[^{_members(runs)}]"
    starts = [0, *(last + 1 for _, last in runs)]
    ends = [*(first - 1 for first, _ in runs), _LAST]
    gaps = zip(starts, ends, strict=True)
    return f"[{_members(part for gap in gaps for part in _cut(*gap))}]"


def _runs(codes: Iterable[int]) -> list[_Run]:
    """The runs of numbers that follow each other."""
    runs: list[_Run] = []
    for code in sorted(codes):
        if runs and runs[-1][1] == code - 1:
            runs[-1] = runs[-1][0], code
        else:
            runs.append((code, code))
    return runs


def _cut(first: int, last: int) -> Iterator[_Run]:
    """A run, in two where it ends in the midst of a block of 4096 in which it does not begin."""
    block = last & ~0xFFF
    if first < block and last & 0xFFF < 0xFFF:
        yield first, block - 1
        first = block
    if first <= last:
        yield first, last


def _members(runs: Iterable[_Run]) -> str:
    """What is in a class, as all dialects read it.

    A hyphen is first and a caret last, neither at the end of a range. What is written as a
    number is behind all letters and digits: xgrammar takes as many digits as there are.
    """
    parts = sorted(part for run in runs for part in _without_ends(*run))
    parts.sort(key=lambda run: (run != _HYPHEN, run == _CARET, not 0x20 <= run[0] < 0x7F))
    return "".join(
        f"{_member(first)}-{_member(last)}"
        if last - first > 1
        else "".join(map(_member, range(first, last + 1)))
        for first, last in parts
    )


def _without_ends(first: int, last: int) -> Iterator[_Run]:
    """A run, with a hyphen or caret at one of its ends by itself."""
    for mark in (_HYPHEN, _CARET):
        if first < last and first in mark:
            yield mark
            first += 1
        if first < last and last in mark:
            yield mark
            last -= 1
    yield first, last


def _member(code: int) -> str:
    char = chr(code)
    if char in r"\[]":
        return "\\" + char
    if 0x20 <= code < 0x7F or 0xFF < code < 0x1000 or code > 0xFFFF:
        return char
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def _literal(text: str) -> str:
    """A text as the grammar writes it."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
