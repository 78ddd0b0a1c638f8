import json
import re

import pytest

from triptych.cli.main import main
from triptych.stages.answers import answer_form
from triptych.stages.export import Server, request_fields, to_ebnf, to_regex
from triptych.stages.language import Language
from triptych.stages.prompt import ProblemType


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["grammar", *words]) == 0
    return capsys.readouterr().out


def test_the_format_is_printed_as_a_grammar(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys) == printed(capsys, "--form", "ebnf") == to_ebnf(Language())


def test_the_answer_is_held_to_what_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--form", "regex", "--answer", "multiple_choice", "--options", "2")
    pattern = printed(capsys, *words).removesuffix("\n")
    assert pattern == to_regex(Language(answer=answer_form(ProblemType.MULTIPLE_CHOICE, 2)))
    start = "<context>a</context><think>b</think><answer>"
    assert re.fullmatch(pattern, f"{start}B</answer>")
    assert not re.fullmatch(pattern, f"{start}C</answer>")


@pytest.mark.parametrize("server", Server)
def test_requests_are_printed_as_json(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    fields = json.loads(printed(capsys, "--form", server.value, "--answer", "yes_no"))
    assert fields == request_fields(Language(answer=answer_form(ProblemType.YES_NO)), server)


@pytest.mark.parametrize("answer", ["free_form", "ocr"])
def test_answers_in_words_stay_free(answer: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, "--answer", answer) == to_ebnf(Language())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--answer", "multiple_choice"), "options is 0; a multiple_choice answer needs 1 to 26"),
        (("--answer", "multi_select", "--options", "27"), "options is 27; a multi_select answer"),
        (("--answer", "yes_no", "--options", "4"), "options is 4, but only multiple_choice and"),
        (("--options", "4"), "options is 4, but only multiple_choice and multi_select"),
        (("--form", "lark"), "form"),
    ],
)
def test_what_makes_no_sense_is_refused(
    words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["grammar", *words]) == 2
    assert message in capsys.readouterr().err
