"""How the language is written for servers. That it is the same language: see test_language."""

import json
import re
from collections.abc import Callable
from itertools import pairwise
from string import hexdigits
from typing import Any

import llguidance
import pytest
from pydantic import BaseModel, ConfigDict, model_validator

from triptych.stages import DEFAULT_FORMAT, StageFormat, StageSpec
from triptych.stages.answers import answer_form
from triptych.stages.export import Server, request_fields, to_ebnf, to_regex
from triptych.stages.language import BLANKS, Language
from triptych.stages.prompt import ProblemType

LETTER = answer_form(ProblemType.MULTIPLE_CHOICE, 4)
NUMBER = answer_form(ProblemType.NUMERICAL)


def tagged(*tags: str, space_between: bool = False) -> StageFormat:
    """Stages named a, b and so on, by their tags."""
    pairs = zip("abcdefgh", tags[::2], tags[1::2], strict=False)
    return StageFormat(tuple(StageSpec(*stage) for stage in pairs), space_between)


def named(*names: str) -> StageFormat:
    stages = (StageSpec(name, f"<{i}>", f"</{i}>") for i, name in enumerate(names))
    return StageFormat(tuple(stages))


LITERAL = re.compile(r'"(?:\\.|[^"\\])*"')
CLASS = re.compile(r"\[((?:\\.|[^]\\])+)\]")
MEMBER = re.compile(r"\\x[0-9a-f]{2}|\\u[0-9a-f]{4}|\\.|.")


def classes_of(written: str) -> list[str]:
    return CLASS.findall(LITERAL.sub("", written))


def llguidance_takes(kind: str, grammar: str, text: str) -> bool:
    tokens = llguidance.LLTokenizer("byte")
    matcher = llguidance.LLMatcher(tokens, llguidance.grammar_from(kind, grammar), log_level=0)
    ids = tokens.tokenize_bytes(text.encode())
    return bool(matcher.try_consume_tokens(ids) == len(ids) and matcher.is_accepting())


# --- the regular expression ----------------------------------------------------------------------


def test_an_expression_reads_like_the_format() -> None:
    language = Language(tagged("<a>", "</a>", "<b>", "</b>"))
    pattern = to_regex(language)
    blanks, no_blank = (f"[{inner}]" for inner in classes_of(pattern)[:2])
    # What may follow "<", as deep as the tags are long.
    end = "(?:[^<>][^<]*)?"
    begun = f"<(?:/(?:a{end}|b{end}|[^<ab][^<]*)?|a{end}|b{end}|[^/<ab][^<]*)?"
    body = f"{blanks}*(?:{no_blank}[^<]*|{begun})(?:{begun})*"
    assert pattern == f"<a>{body}</a><b>{body}</b>"
    every = "".join(map(chr, range(0x110000)))
    assert "".join(re.findall(blanks, every)) == BLANKS
    assert {*every} - {*re.findall(no_blank, every)} == {*BLANKS, "<"}


def test_an_expression_has_only_what_all_dialects_have() -> None:
    for answer in (None, LETTER, NUMBER, answer_form(ProblemType.MULTI_SELECT, 26)):
        pattern = re.sub(CLASS, "[]", to_regex(Language(answer=answer)))
        assert not re.search(r"\(\?(?!:)", pattern), "a look-around, a flag or a name"
        assert not re.search(r"\\(?![.])", pattern), "an escape of more than a character"


@pytest.mark.parametrize(
    ("fmt", "char"),
    [
        (tagged("[[a]]", "[[/a]]"), "["),
        (tagged("<a>", "</a>", "ax", "bx"), "a"),
        (tagged("abac", "abad"), "a"),
    ],
)
def test_no_expression_is_written_that_would_not_be_exact(fmt: StageFormat, char: str) -> None:
    with pytest.raises(ValueError, match=r"use the grammar \(EBNF\)") as raised:
        to_regex(Language(fmt))
    assert f"{char!r} begins a tag and occurs again" in str(raised.value)
    assert to_ebnf(Language(fmt))


# --- the grammar ---------------------------------------------------------------------------------


def rules_of(grammar: str) -> dict[str, str]:
    rules = [line.split(" ::= ", 1) for line in grammar.splitlines()]
    assert len({name for name, _ in rules}) == len(rules), "a rule is defined twice"
    return {name: body for name, body in rules}


def called_in(body: str) -> set[str]:
    return set(re.findall(r"[a-z][a-z0-9-]*", CLASS.sub("", LITERAL.sub("", body))))


def test_a_grammar_reads_like_the_format() -> None:
    rules = rules_of(to_ebnf(Language(answer=LETTER)))
    assert rules["root"] == "context think answer"
    assert rules["context"].endswith(']* "<context>" context-1')
    assert rules["think-2"] == '[^<]* "<" think-4'
    assert rules["answer-1"] == "[A-D] answer-2"
    assert rules["answer-2"] == '"</answer>"'


@pytest.mark.parametrize(
    "language",
    [
        Language(),
        Language(answer=NUMBER),
        Language(tagged("((a", "((b", "((c", "((d")),
        Language(tagged("«", "»")),
    ],
)
def test_every_rule_is_used_and_none_is_there_twice(language: Language) -> None:
    rules = rules_of(to_ebnf(language))
    used = {"root"}.union(*map(called_in, rules.values()))
    assert used == rules.keys()
    assert len(set(rules.values())) == len(rules)


def test_rules_have_names_that_all_dialects_take() -> None:
    fmt = named("root", "start", "Stage", "思", "a b", "s", "s-1", "s1", "context")
    rules = rules_of(to_ebnf(Language(fmt)))
    assert rules["root"] == "s1 s2 s3 s4 s5 s s7 s8 context"
    text = "".join(f"{stage.open_tag}x{stage.close_tag}" for stage in fmt.stages)
    assert llguidance_takes("ebnf", to_ebnf(Language(fmt)), text)
    assert not llguidance_takes("ebnf", to_ebnf(Language(fmt)), text[:-1])


def test_quotes_and_backslashes_in_tags_are_escaped() -> None:
    language = Language(tagged('"a\\b', r"'\n"))
    assert rules_of(to_ebnf(language))["a"] == r'"\"a\\b" a-1'
    text = r""" "a\bx'\n """.strip()
    assert llguidance_takes("ebnf", to_ebnf(language), text)
    assert re.fullmatch(to_regex(language), text)
    assert re.fullmatch(to_regex(Language(tagged("^a.", "$b."))), "^a.x$b.")


# --- what backends read differently --------------------------------------------------------------


def members_of(inner: str) -> tuple[list[str], list[tuple[str, str]]]:
    """The characters of a class as they are written, and the ends of its ranges."""
    written = MEMBER.findall(inner)
    places = [i for i, mark in enumerate(written) if mark == "-" and 0 < i < len(written) - 1]
    return written, [(written[i - 1], written[i + 1]) for i in places]


def code_of(member: str) -> int:
    return int(member[2:], 16) if member[:2] in ("\\x", "\\u") else ord(member[-1])


@pytest.mark.parametrize(
    "fmt",
    [
        DEFAULT_FORMAT,
        tagged("【思】", "【/思】", "«x", "»x", space_between=True),
        tagged("🙂a", "🙃", "\u1f00b", "\u07ffc"),
        tagged("^a~b", "]c", "[d", "\\e&", "-f~", "|0"),
        tagged(*(f"{chr(code)}x" for code in range(0x21, 0x31))),
    ],
)
def test_classes_are_written_so_that_all_read_the_same(fmt: StageFormat) -> None:
    for inner in classes_of(to_ebnf(Language(fmt))):
        is_negated = inner.startswith("^")
        written, ranges = members_of(inner.removeprefix("^"))
        for member, behind in pairwise(written):
            is_number = member[:2] in ("\\x", "\\u")
            assert not (is_number and behind in hexdigits), "xgrammar takes it for more of it"
            assert not member.startswith("\\u0"), "llguidance loses the zero"
        for ends in ranges:
            first, last = map(code_of, ends)
            assert first < last
            assert not {*ends} & {"-", "^"}
            # Else xgrammar lets nothing of the block pass, up to 0.2.7...
            assert first >> 12 == last >> 12 or last & 0xFFF == 0xFFF
        # ...and lets characters beyond ASCII pass that are not meant to.
        assert not is_negated or all(code_of(member) < 0x80 for member in written)
        assert written[0] != "^", "a caret must not negate"


@pytest.mark.parametrize(("kind", "write"), [("regex", to_regex), ("ebnf", to_ebnf)])
def test_long_bodies_are_taken(kind: str, write: Callable[[Language], str]) -> None:
    grammar = write(Language())
    for unit, number in [("a long body ", 4000), ("微笑\n", 9000), ("a <b> c ", 300)]:
        text = f"<context>{unit * number}</context><think>x</think><answer>B</answer>"
        assert llguidance_takes(kind, grammar, text), unit
    many = f"<context>{'<c' * 20_000}</context><think>x</think><answer>B</answer>"
    assert llguidance_takes("regex", to_regex(Language()), many)


# --- requests ------------------------------------------------------------------------------------


class VllmStructuredOutputs(BaseModel):
    """What vLLM reads: `StructuredOutputsParams` in its vllm/sampling_params.py."""

    model_config = ConfigDict(extra="forbid", strict=True)

    json_: str | dict[str, Any] | None = None
    regex: str | None = None
    choice: list[str] | None = None
    grammar: str | None = None
    json_object: bool | None = None
    structural_tag: str | None = None

    @model_validator(mode="after")
    def one_constraint(self) -> "VllmStructuredOutputs":
        assert len(self.model_fields_set) == 1, "use exactly one kind of constraint"
        return self


class VllmRequest(BaseModel):
    """Of `ChatCompletionRequest`, vllm/entrypoints/openai/chat_completion/protocol.py."""

    model_config = ConfigDict(extra="forbid", strict=True)

    structured_outputs: VllmStructuredOutputs


class SglangRequest(BaseModel):
    """Of `ChatCompletionRequest`, sglang/srt/entrypoints/openai/protocol.py."""

    model_config = ConfigDict(extra="forbid", strict=True)

    regex: str | None = None
    ebnf: str | None = None

    @model_validator(mode="after")
    def one_constraint(self) -> "SglangRequest":
        assert len(self.model_fields_set) == 1, "only one of regex, json_schema or ebnf"
        return self


every_language = pytest.mark.parametrize("language", [Language(), Language(answer=LETTER)])
either_form = pytest.mark.parametrize("as_regex", [False, True])


@every_language
@either_form
def test_vllm_gets_one_structured_output(language: Language, as_regex: bool) -> None:
    sent = json.dumps(request_fields(language, Server.VLLM, as_regex=as_regex))
    outputs = VllmRequest.model_validate_json(sent).structured_outputs
    if as_regex:
        assert outputs.regex == to_regex(language)
        assert "\0" not in outputs.regex, "vLLM refuses it"
    else:
        assert outputs.grammar == to_ebnf(language)
        # vLLM takes a grammar for EBNF, not Lark, by this sign.
        first = re.sub(r"(#|//).*$", "", outputs.grammar.splitlines()[0])
        assert "::=" in first


@every_language
@either_form
def test_sglang_gets_one_constraint(language: Language, as_regex: bool) -> None:
    sent = json.dumps(request_fields(language, Server.SGLANG, as_regex=as_regex))
    request = SglangRequest.model_validate_json(sent)
    assert (request.regex, request.ebnf) == (
        (to_regex(language), None) if as_regex else (None, to_ebnf(language))
    )


@every_language
@either_form
def test_vllm_itself_takes_the_fields(language: Language, as_regex: bool) -> None:
    params = pytest.importorskip("vllm.sampling_params")
    fields = request_fields(language, Server.VLLM, as_regex=as_regex)["structured_outputs"]
    assert params.StructuredOutputsParams(**fields)


def test_a_format_without_an_exact_expression_is_sent_as_a_grammar() -> None:
    language = Language(tagged("[[a]]", "[[/a]]"))
    assert "grammar" in request_fields(language, Server.VLLM)["structured_outputs"]
    with pytest.raises(ValueError, match="use the grammar"):
        request_fields(language, Server.SGLANG, as_regex=True)
