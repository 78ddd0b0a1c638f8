import argparse
import subprocess
import sys
import time
import typing
from pathlib import Path

import pytest

from triptych import __version__
from triptych.cli import main as frame
from triptych.cli.config import _options, field_docs
from triptych.cli.main import COMMANDS, Command, main
from triptych.errors import DataError
from triptych.settings import section_type


def run(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "triptych", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_help_lists_every_command_and_imports_nothing_heavy() -> None:
    check = (
        "import sys; from triptych.cli.main import main; code = main(['--help']);"
        "assert not {'torch', 'transformers', 'numpy', 'av'} & set(sys.modules), 'heavy import';"
        "sys.exit(code)"
    )
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", check], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert time.perf_counter() - start < 5  # under 0.2 s alone; the machine may be busy
    for command in COMMANDS:
        assert command.name in done.stdout
        assert command.summary in done.stdout


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_option_of_every_command_is_explained(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    function, config_type = command.load()
    assert function.__doc__
    configs = [config_type]
    for cls in configs:  # grows: sections may hold sections
        hints = typing.get_type_hints(cls)
        assert not set(hints) - set(field_docs(cls)), f"{cls.__name__} has fields without a doc"
        configs += [inner for hint in hints.values() if (inner := section_type(hint))]
    with pytest.raises(SystemExit) as stop:
        main([*command.name.split(), "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    for option in _options(config_type):
        assert option.flag in text or option.help == argparse.SUPPRESS


def test_output_that_no_one_reads_is_no_error() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "triptych", "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 141


def test_python_m_triptych_is_the_command_line() -> None:
    done = run("--version")
    assert (done.returncode, done.stdout) == (0, f"triptych {__version__}\n")


def test_without_a_command_the_commands_are_explained(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "clips make" in capsys.readouterr().out


def test_the_first_word_of_a_command_explains_its_group(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["clips", "--help"]) == 0
    assert "usage: triptych clips COMMAND" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["clips", "mkae"], "unknown command 'clips mkae'; did you mean 'clips make'?"),
        (["frobnicate"], "unknown command 'frobnicate'; see triptych --help"),
        (["--frobnicate"], "unknown command '--frobnicate'; see triptych --help"),
        (["frobnicate", "--help"], "unknown command 'frobnicate'; see triptych --help"),
        (["clips", "make", "out", "--sed", "1"], "unknown option --sed; did you mean '--seed'?"),
    ],
)
def test_wrong_usage_exits_2_with_one_line(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    captured = capsys.readouterr()
    assert captured.err == f"triptych: error: {message}\n"
    assert captured.out == ""


def test_print_config_writes_nothing_and_reads_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "clips"
    assert main(["clips", "make", str(out), "--seed", "3", "--print-config"]) == 0
    printed = capsys.readouterr().out
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(printed)
    assert main(["clips", "make", "--config", str(recipe), "--print-config"]) == 0
    assert capsys.readouterr().out == printed
    assert not out.exists()


FAILING = """
from dataclasses import dataclass
from triptych.errors import ConfigError, DataError, Preempted

@dataclass(frozen=True)
class FailConfig:
    "How to fail."
    how: str = "data"
    "The way to fail."

def run(config: FailConfig) -> int:
    "Fail."
    errors = {
        "data": DataError("a.jsonl:3: answer: missing"),
        "config": ConfigError("the rate is 0; give one above 0"),
        "disk": OSError(28, "No space left on device", "x.mp4"),
        "stop": KeyboardInterrupt(),
        "asked": Preempted("SIGTERM: stopped after step 3 of 9; checkpoint-3 is complete"),
        "bug": ZeroDivisionError("a bug"),
    }
    if config.how in errors:
        raise errors[config.how]
    return 7
"""


@pytest.fixture
def failing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command `fail` that ends in every way there is."""
    (tmp_path / "triptych_failing.py").write_text(FAILING)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(frame, "COMMANDS", (Command("fail", "triptych_failing:run", "fail"),))
    monkeypatch.delenv("TRIPTYCH_DEBUG", raising=False)


@pytest.mark.usefixtures("failing")
@pytest.mark.parametrize(
    ("how", "code", "message"),
    [
        ("data", 1, "triptych: error: a.jsonl:3: answer: missing\n"),
        ("config", 2, "triptych: error: the rate is 0; give one above 0\n"),
        ("disk", 1, "triptych: error: [Errno 28] No space left on device: 'x.mp4'\n"),
        ("stop", 130, "triptych: interrupted\n"),
        ("asked", 143, "triptych: SIGTERM: stopped after step 3 of 9; checkpoint-3 is complete. "
                       "Go on by: triptych fail --how asked --resume\n"),
        ("well", 7, ""),
    ],
)  # fmt: skip
def test_the_end_of_a_command_becomes_an_exit_code_and_at_most_one_line(
    how: str, code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fail", "--how", how]) == code
    assert capsys.readouterr().err == message


@pytest.mark.usefixtures("failing")
def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError):
        main(["fail", "--debug"])
    monkeypatch.setenv("TRIPTYCH_DEBUG", "1")
    with pytest.raises(DataError):
        main(["fail"])
    monkeypatch.setenv("TRIPTYCH_DEBUG", "0")
    assert main(["fail"]) == 1


@pytest.mark.usefixtures("failing")
def test_a_bug_is_not_dressed_up_as_a_user_error() -> None:
    with pytest.raises(ZeroDivisionError):
        main(["fail", "--how", "bug"])
