"""The output format: its stages, how the model is asked for them, which token stands in which."""

from triptych.stages.format import (
    DEFAULT_FORMAT,
    Region,
    StagedOutput,
    StageFormat,
    StageSpec,
    Violation,
    ViolationKind,
    parse,
)
from triptych.stages.prompt import (
    OPTION_LETTERS,
    ProblemType,
    build_messages,
    system_prompt,
    user_text,
)
from triptych.stages.spans import completion_text, stage_ids, token_pieces

__all__ = [
    "DEFAULT_FORMAT",
    "OPTION_LETTERS",
    "ProblemType",
    "Region",
    "StageFormat",
    "StageSpec",
    "StagedOutput",
    "Violation",
    "ViolationKind",
    "build_messages",
    "completion_text",
    "parse",
    "stage_ids",
    "system_prompt",
    "token_pieces",
    "user_text",
]
