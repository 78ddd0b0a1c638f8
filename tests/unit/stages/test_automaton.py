"""The table over bytes: nothing but UTF-8, every state of use, and what it says of a text."""

import random
import re
from collections.abc import Mapping
from typing import AnyStr

import numpy as np
import pytest

from triptych.stages import StageFormat, StageSpec, parse
from triptych.stages.answers import answer_form
from triptych.stages.automaton import DEAD, Automaton, compile_language
from triptych.stages.language import OTHER, Language, State
from triptych.stages.prompt import ProblemType

LANGUAGES = {
    "default": Language(),
    "letters": Language(answer=answer_form(ProblemType.MULTI_SELECT, 3)),
    "beyond_ascii": Language(
        StageFormat(
            (
                StageSpec("look", "【思】", "【/思】", may_be_empty=True),
                StageSpec("answer", "🙂é", "🙃"),
            )
        ),
        answer_form(ProblemType.NUMERICAL),
    ),
    "doubled": Language(StageFormat((StageSpec("c", "((c", "((d"),), space_between=False)),
}
AUTOMATA = {name: compile_language(language) for name, language in LANGUAGES.items()}

every_language = pytest.mark.parametrize("name", LANGUAGES)

SCALARS = 0x110000 - 0x800  # characters that are no surrogates
FIRST_BYTES = [(0x00, 0x80, 1), (0x80, 0xC0, 0), (0xC0, 0xE0, 2), (0xE0, 0xF0, 3), (0xF0, 0x100, 4)]


def run(automaton: Automaton, text: bytes, state: int | None = None) -> int:
    state = automaton.start if state is None else state
    for byte in text:
        state = int(automaton.table[state, byte])
    return state


def texts_by_state(language: Language) -> Mapping[State, str]:
    """A shortest text that leads to each state between characters."""
    moves = language.transitions()
    texts: dict[State, str] = {language.start: ""}
    waiting: list[State] = [language.start]
    for state in waiting:  # grows while it is gone through
        for char, after in moves[state].items():
            if after not in texts:
                texts[after] = texts[state] + (char or "x")
                waiting.append(after)
    return texts


def beginnings(name: str) -> list[bytes]:
    """Beginnings of texts, cut anywhere, also within a character."""
    language, draw = LANGUAGES[name], random.Random(5)
    tags, form = language.fmt.tags, language.answer
    parts = [tag[:end] for tag in tags for end in range(1, len(tag))]
    parts += ["x", "é", "微", "🙂", "\n", "\xa0", "<b>", "{", "/"]
    texts: list[bytes] = []
    while len(texts) < 150:
        text = ""
        for stage in language.fmt.stages:
            gap = draw.choice(["", " ", "\u3000\n"]) if language.fmt.space_between else ""
            body = "".join(draw.choices(parts, k=draw.randint(1, 6)))
            if form and stage.name == "answer":
                body = draw.choice([*form.moves[""]])
            text += gap + stage.open_tag + body + stage.close_tag
        cut = text.encode()[: draw.randrange(len(text.encode()) + 1)]
        if run(AUTOMATA[name], cut) != DEAD:
            texts.append(cut)
    return texts


def overlap(text: AnyStr, tag: AnyStr) -> int:
    """How much of a tag, short of all, a text ends with."""
    return next(size for size in range(len(tag) - 1, -1, -1) if text.endswith(tag[:size]))


@every_language
def test_characters_are_all_there_and_nothing_else_is(name: str) -> None:
    language, automaton = LANGUAGES[name], AUTOMATA[name]
    for state, text in texts_by_state(language).items():
        allowed = [char for char in language.alphabet if language.step(state, char) is not None]
        count = len(allowed)
        if language.step(state, OTHER) is not None:
            count += SCALARS - len(language.alphabet)
        start = run(automaton, text.encode())
        assert count == sum(characters(automaton, start)), repr(text)
        assert all(run(automaton, char.encode(), start) != DEAD for char in allowed)


def characters(automaton: Automaton, start: int) -> list[int]:
    """How many strings of bytes with the length that their first byte announces may follow."""
    counts = []
    for first, end, length in FIRST_BYTES:
        ways_S = np.zeros(len(automaton.table), np.int64)
        for byte in range(first, end):
            ways_S[automaton.table[start, byte]] += 1
        ways_S[DEAD] = 0
        if length == 0:
            assert not ways_S.any(), "no character begins with such a byte"
        for _ in range(1, length):
            after_S = np.zeros_like(ways_S)
            for byte in range(256):
                np.add.at(after_S, automaton.table[:, byte], ways_S)
            after_S[DEAD] = 0
            ways_S = after_S
        counts.append(int(ways_S.sum()))
    return counts


def test_every_character_is_read_in_a_body() -> None:
    automaton = AUTOMATA["default"]
    codes = np.concatenate([np.arange(0xD800), np.arange(0xE000, 0x110000)])
    for first, last, size in [(0, 0x7F, 1), (0x80, 0x7FF, 2), (0x800, 0xFFFF, 3), (1 << 16, -1, 4)]:
        chars = codes[(codes >= first) & ((codes <= last) | (last < 0))].astype("<u4").tobytes()
        encoded = np.frombuffer(chars.decode("utf-32-le").encode(), np.uint8).reshape(-1, size)
        states = np.full(len(encoded), automaton.texts[1])
        for column in encoded.T:
            states = automaton.table[states, column]
        assert (states != DEAD).all()
        inside = {run(automaton, b"<context>x"), run(automaton, b"<context>x<")}
        assert {*states.tolist()} <= inside


@pytest.mark.parametrize(
    "broken",
    [
        *(b"\x80", b"\xbf", b"\xff", b"\xc3x", b"\xe5\xbe<", b"\xf0\x9f\x99</context>"),
        *(b"\xc0\x80", b"\xc1\xbf", b"\xe0\x80\x80", b"\xf0\x80\x80\x80"),  # overlong
        *(b"\xed\xa0\x80", b"\xed\xbf\xbf"),  # surrogates
        *(b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80"),  # beyond Unicode
    ],
)
def test_what_is_no_utf8_is_refused(broken: bytes) -> None:
    with pytest.raises(UnicodeDecodeError):
        broken.decode()
    automaton = AUTOMATA["default"]
    assert run(automaton, b"<context>a" + broken) == DEAD
    assert run(automaton, broken) == DEAD


@every_language
def test_every_state_can_be_reached_and_leads_to_the_end(name: str) -> None:
    table, start, end = AUTOMATA[name].table, AUTOMATA[name].start, AUTOMATA[name].end
    every = {*range(len(table))} - {DEAD}
    reached, waiting = {start}, [start]
    for state in waiting:
        after = {*table[state].tolist()} - {DEAD} - reached
        reached |= after
        waiting.extend(after)
    assert reached == every
    leading = {end}
    while more := {*np.flatnonzero(np.isin(table, [*leading]).any(axis=1)).tolist()} - leading:
        leading |= more
    assert leading == every
    assert not table[DEAD].any()
    assert not table[end].any()


@every_language
def test_the_tables_say_what_parse_says(name: str) -> None:
    automaton, fmt = AUTOMATA[name], LANGUAGES[name].fmt
    seen = set()
    for text in beginnings(name):
        state = run(automaton, text)
        output = parse(text.decode(errors="replace"), fmt)
        opened = [stage for stage in fmt.stages if output.spans[stage.name] is not None]
        is_open = any(violation.kind == "truncated" for violation in output.violations)
        closed = len(opened) - is_open
        assert (automaton.stage_S[state] > 0, automaton.done_S[state]) == (is_open, closed)
        tags = [tag.encode() for tag in fmt.tags]
        if is_open:
            assert automaton.stage_S[state] == len(opened)
            body = text.rpartition(tags[2 * closed])[2]
            tail, closing = int(automaton.tail_S[state]), tags[2 * closed + 1]
            assert tail == overlap(body, closing)
            assert automaton.remainders[state] == closing[tail:]
        elif closed < len(fmt.stages):
            gap = text.rpartition(tags[2 * closed - 1])[2] if closed else text
            opening = tags[2 * closed]
            assert automaton.remainders[state] == opening[overlap(gap, opening) :]
        else:
            assert state == automaton.end
            assert automaton.remainders[state] == b""
        assert automaton.tail_S[state] == 0 or is_open
        assert automaton.tagged_S[state] == (text == b"" or text.endswith((*tags,)))
        seen.add((is_open, closed))
    assert len(seen) == 2 * len(fmt.stages) + 1, "all parts of the format are looked at"


@every_language
def test_what_remains_of_a_tag_completes_it(name: str) -> None:
    language, automaton = LANGUAGES[name], AUTOMATA[name]
    for state, text in texts_by_state(language).items():
        here = run(automaton, text.encode())
        after = run(automaton, automaton.remainders[here], here)
        done, number = int(automaton.done_S[here]), int(automaton.stage_S[here])
        if here == automaton.end:
            assert after == here
        elif number == 0:
            assert after == automaton.bodies[done + 1], state
        elif may_close(text, number - 1, language):
            assert automaton.done_S[after] == done + 1, state
        else:
            assert after == DEAD, state


def may_close(text: str, stage: int, language: Language) -> bool:
    """Whether the body that a text ends in may be all of it, but for its closing tag."""
    spec = language.fmt.stages[stage]
    body = text.rpartition(spec.open_tag)[2]
    body = body[: len(body) - overlap(body, spec.close_tag)]
    if language.answer and spec.name == "answer":
        return re.fullmatch(language.answer.pattern, body) is not None
    return spec.may_be_empty or body.strip() != ""


@every_language
def test_bodies_and_texts_are_where_they_say(name: str) -> None:
    language, automaton = LANGUAGES[name], AUTOMATA[name]
    before = ""
    for number, stage in enumerate(language.fmt.stages, start=1):
        before += stage.open_tag
        assert automaton.bodies[number] == run(automaton, before.encode())
        is_held = language.answer is not None and stage.name == "answer"
        assert (number in automaton.texts) is not is_held
        body = "x"
        if is_held:
            body = "A" if name == "letters" else "1"
        else:
            assert automaton.texts[number] == run(automaton, (before + "x").encode())
        before += body + stage.close_tag
    assert automaton.accepts(before.encode())
    assert not automaton.accepts(before.encode()[:-1])
    assert not automaton.accepts(before.encode() + b" ")
