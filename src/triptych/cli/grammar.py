"""`triptych grammar`: the format as text that inference servers take."""

import json
from dataclasses import dataclass
from enum import StrEnum

from triptych.errors import ConfigError
from triptych.stages.answers import answer_form
from triptych.stages.export import Server, request_fields, to_ebnf, to_regex
from triptych.stages.language import Language
from triptych.stages.prompt import OPTION_LETTERS, ProblemType

_LETTERED = (ProblemType.MULTIPLE_CHOICE, ProblemType.MULTI_SELECT)


class GrammarForm(StrEnum):
    """What is printed."""

    REGEX = "regex"
    EBNF = "ebnf"
    VLLM = "vllm"
    SGLANG = "sglang"


@dataclass(frozen=True)
class GrammarConfig:
    """In which form, and what the answer is held to."""

    form: GrammarForm = GrammarForm.EBNF
    """A regular expression (regex) or a grammar (ebnf) by itself, or the grammar as JSON fields to
    add to an OpenAI-compatible request (the extra_body of the openai client) to vllm or sglang."""
    answer: ProblemType | None = None
    """Hold the answer to the form that this kind of question asks for; by default, and for ocr and
    free_form, it is any text."""
    options: int = 0
    """How many options the question has; for multiple_choice and multi_select."""

    def __post_init__(self) -> None:
        if self.answer in _LETTERED:
            if not 1 <= self.options <= len(OPTION_LETTERS):
                raise ConfigError(
                    f"options is {self.options}; a {self.answer} answer needs 1 to "
                    f"{len(OPTION_LETTERS)}"
                )
        elif self.options:
            raise ConfigError(
                f"options is {self.options}, but only {' and '.join(_LETTERED)} answers have any"
            )


def run(config: GrammarConfig) -> None:
    """Print the format as text that an inference server can hold its replies to.

    A reply is then valid, unless the limit of its tokens cuts it off. A budget of a stage cannot be
    said to a server; the commands that enforce the format themselves keep it.
    """
    form = answer_form(config.answer, config.options) if config.answer else None
    language = Language(answer=form)
    match config.form:
        case GrammarForm.REGEX:
            print(to_regex(language))
        case GrammarForm.EBNF:
            print(to_ebnf(language), end="")
        case GrammarForm.VLLM | GrammarForm.SGLANG:
            print(json.dumps(request_fields(language, Server(config.form)), indent=2))
