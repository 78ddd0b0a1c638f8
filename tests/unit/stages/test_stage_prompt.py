"""The system prompt and the questions."""

import re

import pytest

from triptych.stages import (
    DEFAULT_FORMAT,
    OPTION_LETTERS,
    ProblemType,
    StageFormat,
    StageSpec,
    build_messages,
    parse,
    system_prompt,
    user_text,
)

CHOICES = (ProblemType.MULTIPLE_CHOICE, ProblemType.MULTI_SELECT)
QUESTION = "Why does the woman lower her voice?"


def test_the_system_prompt_is_short_and_shows_a_valid_completion() -> None:
    prompt = system_prompt()
    assert 40 <= len(re.sub("<[^>]*>", " ", prompt).split()) <= 50
    assert "in this order, and nothing else" in prompt
    example = parse(prompt[prompt.index("<context>") :])
    assert example.valid
    assert example.answer == "only the final answer"


def test_the_system_prompt_follows_the_format() -> None:
    fmt = StageFormat(
        (StageSpec("notes", "[n]", "[/n]"), StageSpec("reply", "[r]", "[/r]", purpose="one word"))
    )
    assert system_prompt(fmt).endswith("\n[n]notes[/n][r]one word[/r]")


@pytest.mark.parametrize("problem_type", CHOICES)
def test_options_get_letters_one_a_line(problem_type: ProblemType) -> None:
    lines = user_text(QUESTION, problem_type, ["fear", "shame"]).split("\n")
    assert lines[:3] == [QUESTION, "A. fear", "B. shame"]
    assert "letter" in lines[3]
    assert len(lines) == 4


@pytest.mark.parametrize("problem_type", CHOICES)
def test_choices_without_options_are_refused(problem_type: ProblemType) -> None:
    with pytest.raises(ValueError, match=f"{problem_type} question needs options"):
        user_text(QUESTION, problem_type, [])


def test_more_options_than_letters_are_refused() -> None:
    with pytest.raises(ValueError, match="27 options"):
        user_text(QUESTION, ProblemType.MULTIPLE_CHOICE, ["x"] * (len(OPTION_LETTERS) + 1))


def test_options_are_never_dropped() -> None:
    assert "A. yes\nB. no" in user_text(QUESTION, ProblemType.YES_NO, ["yes", "no"])


def test_each_problem_type_has_its_own_instruction() -> None:
    instructions = {
        user_text(QUESTION, problem_type, ["fear"] if problem_type in CHOICES else []).split("\n")[
            -1
        ]
        for problem_type in ProblemType
    }
    assert len(instructions) == len(ProblemType)


def test_messages_hold_the_media_before_the_question() -> None:
    system, user = build_messages(QUESTION, ProblemType.YES_NO, [], ["video", "audio", "image"])
    assert system == {"role": "system", "content": [{"type": "text", "text": system_prompt()}]}
    assert user["role"] == "user"
    assert user["content"] == [
        {"type": "video"},
        {"type": "audio"},
        {"type": "image"},
        {"type": "text", "text": user_text(QUESTION, ProblemType.YES_NO)},
    ]
    assert all(tag in system["content"][0]["text"] for tag in DEFAULT_FORMAT.tags)


def test_unknown_media_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown kind of media 'smell'"):
        build_messages(QUESTION, ProblemType.OCR, [], ["smell"])
