"""The language of a format, in every way it is written down, against `parse`.

The automata over characters and bytes, the regular expression and the grammar must take the same
texts: those that `parse` finds valid, save that nothing follows the last tag.
"""

import random
import re
from collections.abc import Callable
from functools import partial

import llguidance
import pytest

from triptych.stages import DEFAULT_FORMAT, StageFormat, StageSpec, parse
from triptych.stages.answers import AnswerForm, answer_form
from triptych.stages.automaton import compile_language
from triptych.stages.export import to_ebnf, to_regex
from triptych.stages.language import BLANKS, OTHER, Body, End, Gap, Language, Seen, State, Value
from triptych.stages.prompt import ProblemType

Accepts = Callable[[str], bool]


def two_stages(tags: str, space_between: bool = True, may_be_empty: bool = False) -> StageFormat:
    first, first_end, second, second_end = tags.split()
    stages = (
        StageSpec("look", first, first_end, may_be_empty),
        StageSpec("answer", second, second_end),
    )
    return StageFormat(stages, space_between)


NUMBER = answer_form(ProblemType.NUMERICAL)
LETTERS = answer_form(ProblemType.MULTI_SELECT, 4)
LANGUAGES = {
    "default": Language(),
    "one_letter": Language(answer=answer_form(ProblemType.MULTIPLE_CHOICE, 3)),
    "letters": Language(answer=LETTERS),
    "yes_no": Language(answer=answer_form(ProblemType.YES_NO)),
    "number": Language(answer=NUMBER),
    "tight": Language(StageFormat(DEFAULT_FORMAT.stages, space_between=False), NUMBER),
    "may_be_empty": Language(two_stages("<look> </look> <answer> </answer>", may_be_empty=True)),
    "beyond_ascii": Language(two_stages("【思】 【/思】 〔答〕 〔/答〕"), LETTERS),
    "many_brackets": Language(two_stages("[look] [/look] «réponse» {/🙂}", may_be_empty=True)),
    "one_character": Language(two_stages("« » 【 】", space_between=False)),
    "special": Language(two_stages(r'^-a| ]&b\ "$c ~{d}', space_between=False), NUMBER),
    "only": Language(StageFormat((StageSpec("look", "<a b>", "</a b>"),))),
    # From here on the first character of a tag occurs within tags.
    "doubled": Language(two_stages("[[a]] [[/a]] [[b]] [[/b]]")),
    "doubled_number": Language(two_stages("((a ((b ((c ((d", may_be_empty=True), NUMBER),
    "repetitive": Language(two_stages("abac abad abaabe abaabf", space_between=False)),
}
EXACT_REGEX = [*LANGUAGES][: [*LANGUAGES].index("doubled")]


# --- texts ---------------------------------------------------------------------------------------

ODD_TEXTS = (
    *("<", "<<", ">", "</", "<table>", "</ think>", "<Answer>", "&lt;think&gt;", "<!-- -->"),
    *("if a<b and c>d:\n\treturn x[0]", "B", "微笑", "🙂", "é", "e\u0301", "\ufeff", "\ufffd"),
    *("\0", "\x7f", "\u200b", "\u07ff", "\u0800", "\uffff", "\U00010000", "\U0010ffff"),
)


class Texts:
    """Texts of a language and others that are close to it, drawn by chance."""

    def __init__(self, language: Language, seed: int) -> None:
        self.fmt, self.answer = language.fmt, language.answer
        self.draw = random.Random(seed)
        parts = (tag[:end] for tag in self.fmt.tags for end in range(1, len(tag)))
        self.fragments = [*ODD_TEXTS, *parts, *(tag[1:] for tag in self.fmt.tags if tag[1:])]

    def valid(self) -> str:
        return "".join(map("".join, self._pieces()))

    def invalid(self) -> str:
        """A text of the language with one thing wrong about it."""
        pieces = self._pieces()
        stage = self.draw.randrange(len(pieces))
        open_tag, body, close_tag = pieces[stage][1:]
        other = self.draw.choice(self.fmt.tags)
        whole = "".join(map("".join, pieces))
        middle = self.draw.randrange(len(body) + 1)
        wrong: list[list[str]] = [
            [open_tag, "", close_tag],
            [open_tag, self._blank(1), close_tag],
            [open_tag, body],
            [body, close_tag],
            [open_tag, body, close_tag, open_tag, body, close_tag],
            [open_tag, body, close_tag, close_tag],
            [open_tag, open_tag, body, close_tag],
            [open_tag, body[:middle], other, body[middle:], close_tag],
            [open_tag[:-1], body, close_tag],
            [open_tag, body, close_tag[:-1]],
            [open_tag, body, close_tag, "x"],
            ["x", open_tag, body, close_tag],
            [self._blank(1), open_tag, body, close_tag],
            [open_tag, body, other],
            [other, body, close_tag],
            [],
        ]
        choices = [
            *("".join(map("".join, [*pieces[:stage], w, *pieces[stage + 1 :]])) for w in wrong),
            whole[: self.draw.randrange(len(whole))],
            whole + self.draw.choice(["x", self._blank(1), *self.fmt.tags]),
            "".join(map("".join, reversed(pieces))),
            self.draw.choice(self.fragments) + whole,
        ]
        return self.draw.choice(choices)

    def _pieces(self) -> list[list[str]]:
        """Gap, opening tag, body and closing tag of each stage."""
        pieces = []
        for stage in self.fmt.stages:
            gap = self._blank(0) if self.fmt.space_between else ""
            held = self.answer if stage.name == "answer" else None
            body = self._value(held) if held else self._body(stage.may_be_empty)
            pieces.append([gap, stage.open_tag, body, stage.close_tag])
        return pieces

    def _blank(self, least: int) -> str:
        return "".join(self.draw.choices(BLANKS, k=self.draw.randint(least, 2)))

    def _body(self, may_be_empty: bool) -> str:
        while True:
            count = self.draw.randint(0, 7)
            body = "".join(self._fragment() for _ in range(count))
            if not any(tag in body for tag in self.fmt.tags) and (may_be_empty or body.strip()):
                return body

    def _fragment(self) -> str:
        match self.draw.randrange(4):
            case 0:
                return self._blank(1)
            case 1:
                code = self.draw.randrange(0x110000 - 0x800)
                return chr(code if code < 0xD800 else code + 0x800)  # no surrogates
            case _:
                return self.draw.choice(self.fragments)

    def _value(self, form: AnswerForm) -> str:
        text, state = "", ""
        while state not in form.complete or (state in form.moves and self.draw.random() < 0.5):
            char, state = self.draw.choice([*form.moves[state].items()])
            text += char
        return text


def belongs(text: str, language: Language) -> bool:
    """Whether a text is in a language, by `parse`."""
    output = parse(text, language.fmt)
    if not output.valid or not text.endswith(language.fmt.tags[-1]):
        return False
    span = output.spans.get("answer")
    if language.answer is None or span is None:
        return True
    return re.fullmatch(language.answer.pattern, text[slice(*span)]) is not None


# --- ways to write a language down ---------------------------------------------------------------


def by_characters(language: Language) -> Accepts:
    def accepts(text: str) -> bool:
        state: State | None = language.start
        for char in text:
            state = None if state is None else language.step(state, char)
        return state == End()

    return accepts


def by_transitions(language: Language) -> Accepts:
    moves, alphabet = language.transitions(), language.alphabet

    def accepts(text: str) -> bool:
        state: State | None = language.start
        for char in text:
            known = char if char in alphabet else OTHER
            state = None if state is None else moves[state].get(known)
        return state == End()

    return accepts


def by_bytes(language: Language) -> Accepts:
    automaton = compile_language(language)
    return lambda text: automaton.accepts(text.encode())


def by_regex(language: Language) -> Accepts:
    pattern = re.compile(to_regex(language))
    return lambda text: pattern.fullmatch(text) is not None


def by_llguidance(kind: str, write: Callable[[Language], str], language: Language) -> Accepts:
    tokens = llguidance.LLTokenizer("byte")
    grammar = llguidance.grammar_from(kind, write(language))
    matcher = llguidance.LLMatcher(tokens, grammar, log_level=0)
    assert not matcher.is_error(), matcher.get_error()

    def accepts(text: str) -> bool:
        matcher.reset()
        ids = tokens.tokenize_bytes(text.encode())
        return bool(matcher.try_consume_tokens(ids) == len(ids) and matcher.is_accepting())

    return accepts


def by_xgrammar(kind: str, write: Callable[[Language], str], language: Language) -> Accepts:
    xgrammar = pytest.importorskip("xgrammar")
    compiler = xgrammar.GrammarCompiler(xgrammar.TokenizerInfo([]), cache_enabled=False)
    compiled = getattr(compiler, f"compile_{kind}")(write(language))
    matcher = xgrammar.GrammarMatcher(compiled, terminate_without_stop_token=True)

    def accepts(text: str) -> bool:
        matcher.reset()
        return bool(matcher.accept_string(text) and matcher.is_terminated())

    return accepts


WAYS: dict[str, Callable[[Language], Accepts]] = {
    "characters": by_characters,
    "transitions": by_transitions,
    "bytes": by_bytes,
    "regex": by_regex,
    "regex_llguidance": partial(by_llguidance, "regex", to_regex),
    "regex_xgrammar": partial(by_xgrammar, "regex", to_regex),
    "ebnf_llguidance": partial(by_llguidance, "ebnf", to_ebnf),
    "ebnf_xgrammar": partial(by_xgrammar, "grammar", to_ebnf),
}


PAIRS = [
    (way, name) for way in WAYS for name in (EXACT_REGEX if way.startswith("regex") else LANGUAGES)
]


@pytest.mark.parametrize(("way", "name"), PAIRS, ids=map("-".join, PAIRS))
def test_every_way_takes_what_parse_finds_valid(way: str, name: str) -> None:
    language = LANGUAGES[name]
    accepts, texts = WAYS[way](language), Texts(language, seed=7)
    number = 500 if name == "default" else 150
    for _ in range(number):
        text = texts.valid()
        assert belongs(text, language), repr(text)
        assert accepts(text), repr(text)
    refused = 0
    while refused < number:
        text = texts.invalid()
        if not belongs(text, language):
            refused += 1
            assert not accepts(text), repr(text)


# --- the automaton over characters ---------------------------------------------------------------


def test_blanks_are_the_white_space_of_python() -> None:
    white = "".join(char for code in range(0x110000) if (char := chr(code)).isspace())
    assert white == BLANKS


@pytest.mark.parametrize("language", LANGUAGES.values(), ids=LANGUAGES)
def test_every_state_leads_to_the_end(language: Language) -> None:
    moves = language.transitions()
    leading: set[State] = {End()}
    while more := {s for s, after in moves.items() if leading & {*after.values()}} - leading:
        leading |= more
    assert leading == {*moves}
    assert moves[End()] == {}


@pytest.mark.parametrize("language", LANGUAGES.values(), ids=LANGUAGES)
def test_a_text_can_go_on_until_its_end_and_no_further(language: Language) -> None:
    texts = Texts(language, seed=11)
    for text in (texts.valid() for _ in range(40)):
        state: State | None = language.start
        for end, char in enumerate(text):
            assert state not in (None, End()), repr(text[:end])
            assert language.tail(state) == expected_tail(text[:end], language), repr(text[:end])
            state = language.step(state, char)
        assert state == End()
        assert language.tail(state) == ""
        assert all(language.step(state, char) is None for char in ["x", " ", "<", OTHER])


def expected_tail(text: str, language: Language) -> str:
    """The longest end of an unclosed body that begins its closing tag."""
    fmt = language.fmt
    opened = [span for span in parse(text, fmt).spans.values() if span is not None]
    closing = fmt.stages[len(opened) - 1].close_tag
    if not opened or text[: opened[-1][1] + len(closing)].endswith(closing):
        return ""
    body = text[opened[-1][0] :]
    sizes = range(len(closing) - 1, -1, -1)
    return next(closing[:size] for size in sizes if body.endswith(closing[:size]))


def test_states_say_where_a_text_stands() -> None:
    language = Language(answer=NUMBER)

    def state_of(text: str) -> State | None:
        state: State | None = language.start
        for char in text:
            state = None if state is None else language.step(state, char)
        return state

    looked, thought = "<context>a</context>", "<think>b</think>"
    assert state_of("") == language.start == Gap(0)
    assert state_of(" <c") == Gap(0, matched=2, spaced=True)
    assert state_of("<context>") == Body(0)
    assert state_of("<context> \n") == Body(0, Seen.BLANK)
    assert state_of("<context> </conte") == Body(0, Seen.BLANK, "</conte")
    assert state_of("<context> </conte<") == Body(0, Seen.TEXT, "<")
    assert state_of(looked + "<think>") == Body(1)
    assert state_of(looked + "<think>x</con") == Body(1, Seen.TEXT, "</con")
    assert state_of(looked + thought + "<answer>") == Value(2)
    assert state_of(looked + thought + "<answer>-1") == Value(2, "whole")
    assert state_of(looked + thought + "<answer>-1</a") == Value(2, "whole", matched=3)
    assert state_of(looked + thought + "<answer>-1</answer>") == End()
    for wrong in ("x", "<context> </context>", looked + "<context>", looked + "</think>"):
        assert state_of(wrong) is None


def test_an_answer_form_needs_a_stage_to_hold() -> None:
    fmt = StageFormat((StageSpec("look", "<look>", "</look>"),))
    with pytest.raises(ValueError, match="needs a stage named 'answer'"):
        Language(fmt, NUMBER)


def test_a_closing_tag_must_not_read_as_more_of_the_answer() -> None:
    with pytest.raises(ValueError, match=r"'\.end' begins like more of the answer"):
        Language(two_stages("<a> </a> <b> .end"), NUMBER)
    Language(two_stages("<a> </a> <b> -end"), NUMBER)  # a sign cannot follow a digit
