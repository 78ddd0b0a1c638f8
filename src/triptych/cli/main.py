"""`triptych COMMAND ...`: finds the command, reads its config, runs it, reports errors.

Exit codes: 0 done, 1 a TriptychError, 2 wrong usage or config, 130 interrupted by Ctrl-C, 141 there
is no one who reads the output, 143 a run that was asked to stop and left a checkpoint.
"""

import importlib
import inspect
import os
import shlex
import sys
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from triptych import __doc__ as about
from triptych import __version__
from triptych.cli.config import parse
from triptych.errors import ConfigError, Preempted, TriptychError
from triptych.settings import did_you_mean, to_yaml


@dataclass(frozen=True)
class Command:
    """A command by name; its module is imported only when it is asked for."""

    name: str
    """One word or two ("clips make")."""
    target: str
    """"module:function"; the function takes the command's config dataclass, and its docstring
    opens `--help`. It returns nothing, or an exit code."""
    summary: str
    """One line for `triptych --help`."""

    def load(self) -> tuple[Callable[[Any], int | None], type[Any]]:
        """The function, and the type of the config that it takes."""
        module, _, name = self.target.partition(":")
        function = getattr(importlib.import_module(module), name)
        (parameter,) = inspect.signature(function).parameters
        return function, typing.get_type_hints(function)[parameter]


COMMANDS = (
    Command("demo", "triptych.cli.demo:run", "the whole line on a laptop, in a few minutes"),
    Command(
        "clips make",
        "triptych.cli.clips:make",
        "write the synthetic human-intention clips and their questions",
    ),
    Command("tiny", "triptych.cli.tiny:run", "build a toy model of any family, without a download"),
    Command(
        "data check",
        "triptych.cli.data_check:run",
        "find what is wrong with a data set, and repair it",
    ),
    Command(
        "data convert",
        "triptych.cli.data_convert:run",
        "write a data set of any known form as the JSONL that is read here",
    ),
    Command(
        "data show",
        "triptych.cli.data_show:run",
        "write the samples of a data set as one HTML page",
    ),
    Command(
        "data rollout-filter",
        "triptych.cli.data_filter:run",
        "keep the prompts on which a model is now right, now wrong",
    ),
    Command("sft", "triptych.cli.sft:run", "cold-start a model on reference completions"),
    Command("grpo", "triptych.cli.grpo:run", "reinforce a model with a reward per stage"),
    Command("plan", "triptych.cli.plan:run", "say what a run will need, and what would fit"),
    Command(
        "reward train",
        "triptych.cli.reward:train",
        "train a reward model of one stage from references",
    ),
    Command(
        "reward train-omni",
        "triptych.cli.reward_omni:train",
        "train a reward model of contexts that looks and listens",
    ),
    Command(
        "reward evaluate",
        "triptych.cli.reward:evaluate",
        "measure a reward model on other references",
    ),
    Command("reward score", "triptych.cli.reward:score", "score completions with a reward model"),
    Command(
        "reward weights",
        "triptych.cli.reward_weights:run",
        "learn the weights of rewards from labelled completions",
    ),
    Command("eval", "triptych.cli.evaluate:run", "measure a model on a benchmark or a split"),
    Command("audit", "triptych.cli.audit:run", "find out whether a model looks and listens at all"),
    Command("score", "triptych.cli.score:run", "score predictions that another program wrote"),
    Command(
        "compare",
        "triptych.cli.compare:run",
        "say which of several runs is better, or that it cannot be told",
    ),
    Command("ask", "triptych.cli.ask:run", "ask a model one question, and watch it answer"),
    Command(
        "generate",
        "triptych.cli.generate:run",
        "write completions of a data set as JSONL",
    ),
    Command("export", "triptych.cli.export:run", "merge an adapter into an ordinary model folder"),
    Command("grammar", "triptych.cli.grammar:run", "print the format as servers take it"),
    Command("report", "triptych.cli.report:run", "write a run as one HTML page"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words or os.environ.get("TRIPTYCH_DEBUG", "") not in ("", "0")
    try:
        code = _run(words)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # as in `triptych --help | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more
        return 141
    except Preempted as stop:
        if os.environ.get("RANK", "0") == "0":
            again = words if "--resume" in words else [*words, "--resume"]
            print(f"triptych: {stop}. Go on by: triptych {shlex.join(again)}", file=sys.stderr)
        return 143
    except (TriptychError, OSError) as error:
        if debug:
            raise
        print(f"triptych: error: {error}", file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 1
    except KeyboardInterrupt:
        if debug:
            raise
        print("triptych: interrupted", file=sys.stderr)
        return 130


def _run(words: list[str]) -> int:
    if words[:1] in (["--version"], ["-V"]):
        print(f"triptych {__version__}")
        return 0
    command = _find(words)
    if command is None:
        return _explain_commands(words)
    function, config_type = command.load()
    request = parse(
        config_type,
        words[len(command.name.split()) :],
        prog=f"triptych {command.name}",
        description=inspect.getdoc(function) or command.summary,
    )
    if request.print_config:
        print(to_yaml(request.config), end="")
        return 0
    return function(request.config) or 0


def _find(words: list[str]) -> Command | None:
    by_name = {tuple(command.name.split()): command for command in COMMANDS}
    return by_name.get(tuple(words[:2])) or by_name.get(tuple(words[:1]))


def _explain_commands(words: list[str]) -> int:
    """The help for `triptych` or for a group of commands; anything else is an unknown command."""
    names = [word for word in words if not word.startswith("-")]
    group = names[0] + " " if names else ""
    commands = [command for command in COMMANDS if command.name.startswith(group)]
    asked = "--help" in words or "-h" in words
    if len(names) > 1 or not commands or (len(names) < len(words) and not asked):
        wrong = " ".join(names[:2]) if commands and names else (names or words)[0]
        known = did_you_mean(wrong, [command.name for command in COMMANDS])
        raise ConfigError(f"unknown command '{wrong}'{known or '; see triptych --help'}")
    width = max(len(command.name) for command in commands) + 3
    print(f"usage: triptych {group}COMMAND [options]\n\n{about}\n\ncommands:")
    for command in commands:
        print(f"  {command.name:{width}}{command.summary}")
    print("\n`triptych COMMAND --help` explains every option of a command.")
    return 0 if asked else 2
