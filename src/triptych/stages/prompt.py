"""What the model is asked: the system prompt that states the format, and the question.

Both are short. Every rollout pays for each of their tokens, and a small model follows a short
instruction better than a long one.
"""

from collections.abc import Sequence
from enum import StrEnum
from string import ascii_uppercase
from typing import Any

from triptych.stages.format import DEFAULT_FORMAT, StageFormat

OPTION_LETTERS = ascii_uppercase

_MEDIA_KINDS = ("image", "video", "audio")


class ProblemType(StrEnum):
    """What kind of answer a question asks for."""

    MULTIPLE_CHOICE = "multiple_choice"
    """One option letter: "B"."""

    MULTI_SELECT = "multi_select"
    """All correct option letters: "A,C"."""

    YES_NO = "yes_no"
    """ "yes" or "no"."""

    NUMERICAL = "numerical"
    """One exact number."""

    OCR = "ocr"
    """Text that is read off."""

    FREE_FORM = "free_form"
    """A short text."""

    REGRESSION = "regression"
    """One number, the closer the better."""


_NEEDS_OPTIONS = (ProblemType.MULTIPLE_CHOICE, ProblemType.MULTI_SELECT)

_INSTRUCTIONS = {
    ProblemType.MULTIPLE_CHOICE: "Answer with one letter.",
    ProblemType.MULTI_SELECT: "Answer with the letters of all correct options, such as A,C.",
    ProblemType.YES_NO: "Answer yes or no.",
    ProblemType.NUMERICAL: "Answer with one number.",
    ProblemType.OCR: "Answer with the exact text, nothing added.",
    ProblemType.FREE_FORM: "Answer in one short sentence.",
    ProblemType.REGRESSION: "Answer with one number, your best estimate.",
}


def system_prompt(fmt: StageFormat = DEFAULT_FORMAT) -> str:
    """The instruction for every question: which stages, in which order, what belongs in each.

    A stage without a stated purpose is described by its name.
    """
    # Without white space between the stages, as `StageFormat.render` writes them.
    template = "".join(
        f"{stage.open_tag}{stage.purpose or stage.name}{stage.close_tag}" for stage in fmt.stages
    )
    return (
        "Look and listen before you reason. "
        f"Reply with these stages, in this order, and nothing else:\n{template}"
    )


def user_text(question: str, problem_type: ProblemType, options: Sequence[str] = ()) -> str:
    """The question, its options as "A. text" one a line, and how to answer.

    Options are plain texts without letters. They are shown whenever there are any, whatever the
    problem type: an option that the model does not see makes a question unanswerable.

    Raises:
        ValueError: the problem type needs options and there are none, or there are more options
            than letters.
    """
    if problem_type in _NEEDS_OPTIONS and not options:
        raise ValueError(f"a {problem_type} question needs options; {question!r} has none")
    if len(options) > len(OPTION_LETTERS):
        raise ValueError(f"{question!r} has {len(options)} options, more than there are letters")
    lettered = [f"{OPTION_LETTERS[i]}. {option}" for i, option in enumerate(options)]
    return "\n".join([question, *lettered, _INSTRUCTIONS[problem_type]])


def build_messages(
    question: str,
    problem_type: ProblemType,
    options: Sequence[str] = (),
    media: Sequence[str] = (),
    fmt: StageFormat = DEFAULT_FORMAT,
) -> list[dict[str, Any]]:
    """The prompt as Hugging Face chat messages, media placeholders before the question.

    Args:
        question: The question without options.
        problem_type: What kind of answer it asks for.
        options: Plain texts without letters.
        media: The kind of each media item in order: "image", "video" or "audio".
        fmt: The format that the system prompt asks for.

    Raises:
        ValueError: an unknown kind of media, or options that `user_text` refuses.
    """
    for kind in media:
        if kind not in _MEDIA_KINDS:
            raise ValueError(
                f"unknown kind of media {kind!r}; use one of {', '.join(_MEDIA_KINDS)}"
            )
    question_part = {"type": "text", "text": user_text(question, problem_type, options)}
    system_part = {"type": "text", "text": system_prompt(fmt)}
    return [
        {"role": "system", "content": [system_part]},
        # str() turns a StrEnum member into the plain string that chat templates compare with.
        {"role": "user", "content": [*({"type": str(kind)} for kind in media), question_part]},
    ]
