"""`triptych ask MODEL FILES... QUESTION`: one question, answered while you watch."""

import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from triptych.cli.config import argument, several
from triptych.cli.model import ModelConfig, check_at_least, load_model
from triptych.errors import ConfigError, MediaError, ModelError
from triptych.generation.budgets import StageBudgets
from triptych.stages.prompt import OPTION_LETTERS, ProblemType

if TYPE_CHECKING:
    from triptych.data.sample import Sample
    from triptych.generation import Completion
    from triptych.models import OmniModel
    from triptych.stages import StagedOutput

_COLOURS = ("cyan", "yellow", "green")
_OUTSIDE = "dim"  # text that is in no stage
# A sample holds its right answer. Nobody knows it here and nobody reads it, but it must fit.
_SOME_ANSWER = {
    ProblemType.YES_NO: "yes",
    ProblemType.NUMERICAL: "0",
    ProblemType.REGRESSION: "0",
}


@dataclass(frozen=True, kw_only=True)
class AskConfig(StageBudgets, ModelConfig):
    """What is asked, about which files, and of which model."""

    model: str = argument()
    """Hub id (Qwen/Qwen2.5-Omni-7B) or folder of the model."""
    files: tuple[Path, ...] = argument(default=())
    """Images, videos and sounds, in any mix. What a file is, its content tells, not its name; of a
    video with sound, both are taken."""
    question: str = argument()
    """The question: the last word, so put it in quotes."""
    options: tuple[str, ...] = several()
    """Options to choose from, without letters, behind the question: "to comfort" "to tease".
    Options that are given one by one may hold commas; a single word is split at its commas."""
    type: ProblemType | None = None
    """Kind of the question; by default multiple_choice with options, free_form without."""
    enforce: bool = True
    """Hold the model to the stages and to an answer of the form that the question asks for.
    Otherwise it writes what it likes."""
    json: bool = False
    """Print one JSON object in place of the text, when all is done."""
    max_new_tokens: int = 512
    """Longest completion, in tokens."""
    temperature: float = 0.0
    """Softmax temperature; 0 always takes the most likely token."""
    seed: int = 0
    """Seed of the sampling; without effect at temperature 0."""

    def __post_init__(self) -> None:
        self.check_budgets(enforced=self.enforce)
        check_at_least(1, self, "max_new_tokens")
        check_at_least(0, self, "temperature")


def run(config: AskConfig) -> None:
    """Ask a model one question, and watch it look, think and answer.

    Standard output shows what the model writes, as it writes it, each stage on a line of its own;
    what there is to say about it goes to standard error.
    """
    sample = _sample(config)
    model = _load(config)
    screen = None if config.json else _Screen(model)
    begun = time.perf_counter()
    completion = _complete(config, model, sample, screen)
    seconds = time.perf_counter() - begun
    if config.json:
        print(json.dumps(_record(completion, sample, seconds), ensure_ascii=False))
    else:
        _comment(completion, sample)


def _sample(config: AskConfig) -> "Sample":
    from pydantic import ValidationError

    from triptych.data.detect import detect
    from triptych.data.sample import Media, Sample

    if not config.question.strip():
        raise ConfigError("the question is empty; put it last, in quotes")
    if os.path.isfile(config.question):
        raise ConfigError(
            f"{config.question}: is a file where the question should be; put the question behind "
            "the files, and --options behind the question"
        )
    usual = ProblemType.MULTIPLE_CHOICE if config.options else ProblemType.FREE_FORM
    problem_type = config.type or usual
    try:
        media = [Media(kind=kind, path=path) for path in config.files for kind in detect(path)]
        return Sample(
            id="ask",
            question=config.question,
            problem_type=problem_type,
            options=config.options,
            answer=_SOME_ANSWER.get(problem_type, OPTION_LETTERS[0]),
            media=tuple(media),
        )
    except MediaError as error:  # the file is part of the command line
        raise ConfigError(str(error)) from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        cause = str(first["msg"]).removeprefix("Value error, ")
        raise ConfigError(f"--{first['loc'][0]}: {cause}") from error


def _load(config: AskConfig) -> "OmniModel":
    from transformers.utils import logging

    if not sys.stderr.isatty():
        logging.disable_progress_bar()
    try:
        return load_model(config)
    except ModelError as error:
        raise ConfigError(str(error)) from error


def _complete(
    config: AskConfig, model: "OmniModel", sample: "Sample", screen: "_Screen | None"
) -> "Completion":
    from triptych.generation import Enforce, SamplingConfig
    from triptych.generation.local import LocalEngine

    sampling = SamplingConfig(
        max_new_tokens=config.max_new_tokens,
        temperature=config.temperature,
        seed=config.seed,
        enforce=Enforce.STAGES_AND_ANSWER if config.enforce else Enforce.OFF,
        min_stage_tokens=config.min_stage_tokens,
        max_stage_tokens=config.max_stage_tokens,
    )
    try:
        on_step = screen.on_step if screen else None
        ((completion,),) = LocalEngine(model).generate([sample], 1, sampling, on_step)
    except MediaError as error:
        raise ConfigError(str(error.__cause__ or error)) from error  # without the sample
    finally:
        if screen:
            screen.close()
    return completion


def _harmless(control: str) -> str:
    """What is shown in place of a character that would steer the terminal."""
    if control in "\n\t":
        return control
    if control.isspace():
        return " "
    return chr(0x2400 + ord(control)) if control < " " else "\ufffd"  # such as "␛"


_HARMLESS = {code: _harmless(chr(code)) for code in (*range(0x20), *range(0x7F, 0xA0))}


class _Screen:
    """Writes a completion to standard output while it grows."""

    def __init__(self, model: "OmniModel") -> None:
        from rich.console import Console

        from triptych.generation.streaming import StageStream

        stages = model.format.stages
        self._end_token_ids = model.end_token_ids
        self._stream = StageStream(model.tokenizer, model.format)
        # Also without bold, which rich keeps where NO_COLOR is set.
        self._console = Console(color_system=None if os.environ.get("NO_COLOR") else "auto")
        self._opening = {stage.open_tag for stage in stages}
        self._styles = dict(enumerate((_OUTSIDE, *_COLOURS)))
        self._tag_styles = {
            tag: f"bold {colour}"
            for stage, colour in zip(stages, _COLOURS, strict=True)
            for tag in (stage.open_tag, stage.close_tag)
        }
        self._line_begun = False

    def on_step(self, tokens: Sequence[int]) -> None:
        """Show what has become certain by one more token."""
        if tokens[0] not in self._end_token_ids:
            for region, text in self._stream.feed(tokens[0]):
                self._write(region, text)

    def close(self) -> None:
        """Show what was held back, and end the line."""
        for region, text in self._stream.finish():
            self._write(region, text)
        if self._line_begun:
            self._write(0, "\n")

    def _write(self, region: int, text: str) -> None:
        if text in self._opening and self._line_begun:
            self._write(0, "\n")
        style = self._tag_styles.get(text, self._styles[region])
        self._console.out(text.translate(_HARMLESS), style=style, end="", highlight=False)
        self._line_begun = not text.endswith("\n")


def _comment(completion: "Completion", sample: "Sample") -> None:
    """Say what is wrong with a completion, or which options it chose."""
    from triptych.stages import parse

    output = parse(completion.text)
    for found in output.violations:
        stage = f" {found.stage}" if found.stage else ""
        print(f"violation: {found.kind}{stage}, at character {found.position}", file=sys.stderr)
    for letter, option in _chosen(output, sample):
        print(f"{letter}. {option}", file=sys.stderr)


def _chosen(output: "StagedOutput", sample: "Sample") -> list[tuple[str, str]]:
    letters = [letter.strip() for letter in output.answer.split(",")]
    lettered = zip(OPTION_LETTERS, sample.options, strict=False)
    return [(letter, option) for letter, option in lettered if letter in letters]


def _record(completion: "Completion", sample: "Sample", seconds: float) -> dict[str, Any]:
    from triptych.generation.completions import completion_record

    record = completion_record(completion)
    return {
        **record.pop("bodies"),
        **record,
        "seconds": round(seconds, 3),
        "media": [{"kind": str(item.kind), "path": str(item.path)} for item in sample.media],
    }
