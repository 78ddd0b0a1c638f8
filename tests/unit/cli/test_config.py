import sys
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Literal

import pytest
import yaml

from triptych.cli.config import argument, field_docs, parse, several
from triptych.errors import ConfigError
from triptych.settings import to_yaml


class Scheme(StrEnum):
    STRICT = "strict"
    CAUSAL = "causal"


@dataclass(frozen=True)
class Budget:
    """How much is decoded.

    Attributes:
        fps: frames taken
            per second.
        max_frames: most frames.
    """

    fps: float = 2.0
    max_frames: int | None = 32

    def __post_init__(self) -> None:
        if self.fps <= 0:
            raise ValueError(f"fps must be above 0, not {self.fps}")


@dataclass(frozen=True)
class Judge:
    """A judge."""

    model: str
    """Name of the model."""


@dataclass(frozen=True)
class Settings:
    """All the kinds of settings there are."""

    out: Path = argument()
    """Where it goes."""
    inputs: tuple[Path, ...] = argument(default=())
    """What is read."""
    learning_rate: float = 1e-5
    """Rate, 100% of it."""
    name: str = "run"
    """Name of the run."""
    notes: str | None = "none yet"
    """Anything."""
    scheme: Scheme = Scheme.STRICT
    """How credit is given."""
    device: Literal["cpu", "cuda"] | int = "cpu"
    """Where it runs."""
    weights: dict[str, float] = field(default_factory=lambda: {"answer": 0.5, "think_twice": 0.5})
    """Weight of each reward."""
    rows: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Rows."""
    sizes: tuple[int, ...] = (1, 2)
    """Sizes."""
    resume: bool = False
    """Go on."""
    media: Budget = Budget(fps=1.0)
    """What the model sees."""
    judge: Judge | None = None
    """Who scores."""
    judges: tuple[Judge, ...] = ()
    """Who else scores."""


def read(*words: str) -> Settings:
    return parse(Settings, words, prog="triptych test", description="A test.").config


def complaint(*words: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read(*words)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "recipe.yaml"


def test_defaults_fill_what_is_not_said() -> None:
    assert read("out") == Settings(Path("out"))


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        (["--learning-rate", "2e-6"], "learning_rate", 2e-6),
        (["--learning_rate=2"], "learning_rate", 2.0),
        (["--name", "007"], "name", "007"),
        (["--name", "no"], "name", "no"),
        (["--notes", "null"], "notes", None),
        (["--notes", "1e3"], "notes", "1e3"),
        (["--scheme", "causal"], "scheme", Scheme.CAUSAL),
        (["--device", "cuda"], "device", "cuda"),
        (["--device", "1"], "device", 1),
        (["--weights", "{answer: 1, tone: 2}"], "weights", {"answer": 1.0, "tone": 2.0}),
        (["--weights.answer", "1"], "weights", {"answer": 1.0, "think_twice": 0.5}),
        (["--weights.think_twice", "1"], "weights", {"answer": 0.5, "think_twice": 1.0}),
        (["--weights.tone", "2"], "weights", {"answer": 0.5, "think_twice": 0.5, "tone": 2.0}),
        (["--weights", "{a: 1}", "--weights.a_b=2"], "weights", {"a": 1.0, "a_b": 2.0}),
        (["--rows.tone", "0,1"], "rows", {"tone": (0, 1)}),
        (["--sizes", "3,4"], "sizes", (3, 4)),
        (["--sizes", "[3, 4]"], "sizes", (3, 4)),
        (["--sizes", "3"], "sizes", (3,)),
        (["--resume"], "resume", True),
        (["--no-resume"], "resume", False),
        (["--media.max-frames", "8"], "media", Budget(1.0, 8)),
        (["--media.max-frames", "null"], "media", Budget(1.0, None)),
        (["--judge.model", "big"], "judge", Judge("big")),
        (["a", "b"], "inputs", (Path("a"), Path("b"))),
    ],
)
def test_an_option_sets_its_field(words: list[str], name: str, value: object) -> None:
    assert getattr(read("out", *words), name) == value


def test_the_command_line_wins_over_the_file_and_the_file_over_defaults(file: Path) -> None:
    file.write_text("learning_rate: 1e-3\nname: 'yes'\nmedia: {max_frames: 4}\nout: elsewhere\n")
    settings = read("--config", str(file), "--name", "mine", "--media.fps", "3")
    assert settings.learning_rate == 1e-3
    assert settings.name == "mine"
    assert settings.media == Budget(3.0, 4)
    assert settings.out == Path("elsewhere")


def test_off_is_a_word_and_no_truth_value(file: Path) -> None:
    """To YAML 1.1 it is false, and `enforce: off` would be refused."""
    file.write_text("out: elsewhere\nname: off\n")
    assert read("--config", str(file)).name == "off"


def test_a_section_of_the_file_keeps_the_rest_of_its_default(file: Path) -> None:
    file.write_text("media: {max_frames: 4}")
    assert read("out", "--config", str(file)).media == Budget(fps=1.0, max_frames=4)


def test_a_mapping_of_the_file_replaces_its_default_and_options_add_to_it(file: Path) -> None:
    file.write_text("weights: {tone: 1}")
    assert read("out", "--config", str(file)).weights == {"tone": 1.0}
    added = read("out", "--config", str(file), "--weights.brevity=4").weights
    assert added == {"tone": 1.0, "brevity": 4.0}


def test_a_list_of_sections_is_read_from_a_file(file: Path) -> None:
    file.write_text("judges:\n- model: a\n- model: b\n")
    assert read("out", "--config", str(file)).judges == (Judge("a"), Judge("b"))


def test_what_is_printed_reads_back_as_the_same_config(file: Path) -> None:
    settings = read("out", "in", "--judge.model", "big", "--notes", "null", "--sizes", "5,6")
    file.write_text(to_yaml(settings))
    assert read("--config", str(file)) == settings


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "'out' is required; give it on the command line or in the --config file"),
        (
            ["o", "--lerning-rate", "1"],
            "unknown option --lerning-rate; did you mean '--learning-rate'?",
        ),
        (["o", "--media.fsp=1"], "unknown option --media.fsp; did you mean '--media.fps'?"),
        (
            ["o", "--wights.answer=1"],
            "unknown option --wights.answer; did you mean '--weights.answer'?",
        ),
        (["o", "--weights.", "1"], "unknown option --weights.; did you mean '--weights'?"),
        (["o", "--weights.tone", "x"], '--weights.tone should be a valid number, not "x"'),
        (["o", "--zzz"], "unknown option --zzz; see triptych test --help"),
        (["o", "--name"], "--name: expected one argument"),
        (["o", "--learning-rate", "x"], '--learning-rate should be a valid number, not "x"'),
        (["o", "--sizes", "1,x"], "--sizes: 'sizes.1' should be a valid integer, not \"x\""),
        (["o", "--weights", "{a: b"], '--weights should be a mapping, not "{a: b"'),
        (
            ["o", "--scheme", "casual"],
            "--scheme should be 'strict' or 'causal', not \"casual\"; did you mean 'causal'?",
        ),
        (["o", "--media.fps", "0"], "'media': fps must be above 0, not 0.0"),
        (
            ["o", "--config", "nowhere.yaml"],
            "nowhere.yaml: cannot be read: No such file or directory",
        ),
    ],
)
def test_one_line_names_what_is_wrong_on_the_command_line(words: list[str], message: str) -> None:
    assert complaint(*words) == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nlerning_rate: 2", "1: 'a' is not a known setting"),
        (
            "lerning_rate: 2",
            "1: 'lerning_rate' is not a known setting; did you mean 'learning_rate'?",
        ),
        ("name: x\nmedia:\n  fsp: 2", "3: 'media.fsp' is not a known setting; did you mean 'fps'?"),
        (
            "judges:\n- model: a\n- modl: b",
            "3: 'judges.1.modl' is not a known setting; did you mean 'model'?",
        ),
        ("name: true", "1: 'name' should be a valid string, not true; put it in quotes"),
        ("\nresume: 1", "2: 'resume' should be a valid boolean, not 1"),
        ("learning_rate: true", "1: 'learning_rate' should be a valid number, not true"),
        ("sizes:\n- 1\n- '2'", "3: 'sizes.1' should be a valid integer, not \"2\""),
        ("media: 3", "1: 'media' should be a section of settings, not 3"),
        ("media:\n  fps: -1", "1: 'media': fps must be above 0, not -1.0"),
        ("weights:\n  answer: none", "2: 'weights.answer' should be a valid number, not \"none\""),
        ("name: a\nname: b", "2: 'name' is given twice; keep one"),
        ("name: [", "1: not valid YAML: expected the node content, but found '<stream end>'"),
    ],
)
def test_one_line_names_file_line_and_key(file: Path, text: str, message: str) -> None:
    file.write_text(text)
    assert complaint("out", "--config", str(file)) == f"{file}:{message}"


@pytest.mark.parametrize("text", ["- a", "just text"])
def test_a_file_that_is_no_mapping_is_refused(file: Path, text: str) -> None:
    file.write_text(text)
    assert complaint("o", "--config", str(file)) == (
        f"{file}: must hold settings as 'key: value' lines"
    )


def test_a_file_that_is_no_text_is_refused(file: Path) -> None:
    file.write_bytes(b"\xff\xfe\x00")
    assert complaint("o", "--config", str(file)) == f"{file}: not a text file in UTF-8"


def test_a_wrong_section_in_the_file_is_named_even_when_an_option_sets_part_of_it(
    file: Path,
) -> None:
    file.write_text("media: 3")
    assert "'media' should be a section" in complaint(
        "o", "--config", str(file), "--media.fps", "1"
    )


def test_an_empty_file_says_nothing(file: Path) -> None:
    file.write_text("# nothing yet\n")
    assert read("out", "--config", str(file)) == Settings(Path("out"))


def test_a_second_config_file_is_refused_rather_than_winning(file: Path) -> None:
    assert "given twice" in complaint("o", "--config", str(file), "--config", str(file))


def test_one_word_too_many_is_refused() -> None:
    @dataclass(frozen=True)
    class One:
        """One word."""

        out: Path = argument()
        """Where it goes."""

    with pytest.raises(ConfigError, match="unexpected argument 'b'; see triptych one --help"):
        parse(One, ["a", "b"], prog="triptych one", description="")


@dataclass(frozen=True, kw_only=True)
class Question:
    """A list of words between two single ones, and an option of several words."""

    model: str = argument()
    """Who is asked."""
    files: tuple[Path, ...] = argument(default=())
    """What about."""
    question: str = argument()
    """What."""
    options: tuple[str, ...] = several()
    """Answers to choose from."""
    loud: bool = False
    """How."""


def ask(*words: str) -> tuple[str, list[str], str, tuple[str, ...]]:
    config = parse(Question, words, prog="triptych ask", description="").config
    return config.model, [str(path) for path in config.files], config.question, config.options


@pytest.mark.parametrize(
    "words",
    [
        "M a b Q --options x y --loud",
        "M a b Q --loud --options x y",
        "M --loud a b Q --options x y",
        "--options x y --loud M a b Q",
        "M a --options x y --loud b Q",
        "M a b --options x --options y -- Q",
        "M a b Q --options x,y",
        "--options=x,y M a b Q",
        "M a b Q --options [x,y]",
    ],
)
def test_options_may_stand_anywhere_between_words(words: str) -> None:
    assert ask(*words.split()) == ("M", ["a", "b"], "Q", ("x", "y"))


def test_the_last_word_is_that_of_the_last_positional() -> None:
    assert ask("M", "Q") == ("M", [], "Q", ())
    assert ask("M", "a", "Q") == ("M", ["a"], "Q", ())
    with pytest.raises(ConfigError, match="'question' is required"):
        ask("M")


def test_a_list_in_the_file_stays_where_the_only_word_is_that_of_another(file: Path) -> None:
    file.write_text("files: [a, b]\nquestion: what?\n")
    assert ask("--config", str(file), "M", "Q") == ("M", ["a", "b"], "Q", ())
    assert ask("--config", str(file), "M") == ("M", ["a", "b"], "what?", ())


@pytest.mark.parametrize("text", ["Look: who smiles?", "[laughs] why?", "{a}", "no", "1", "- a"])
def test_texts_and_paths_are_taken_literally(text: str) -> None:
    assert ask("M", text, text, "--options", text, "a, b") == ("M", [text], text, (text, "a, b"))


def test_help_explains_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        parse(Settings, ["--help"], prog="triptych test", description="What it is for.")
    assert stop.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for part in (
        "What it is for.",
        "Where it goes (required)",
        "--learning-rate FLOAT Rate, 100% of it (default: 1e-05)",
        "--scheme {strict,causal} How credit is given (default: strict)",
        "--resume, --no-resume Go on (default: False)",
        "--media.fps FLOAT frames taken per second (default: 1.0)",
        "(default: answer: 0.5, think_twice: 0.5; or one alone: --weights.answer)",
        "--rows {NAME: VALUE} Rows (or one alone: --rows.NAME)",
        "section 'judge': Who scores",
        "--judge.model TEXT Name of the model (required)",
    ):
        assert part in text
    assert "section 'weights'" not in text


def test_field_docs_are_read_from_below_the_field_and_from_the_attributes_section() -> None:
    assert field_docs(Judge) == {"model": "Name of the model."}
    assert field_docs(Budget) == {"fps": "frames taken per second.", "max_frames": "most frames."}


def test_a_config_inherits_the_docs_of_its_base() -> None:
    @dataclass(frozen=True)
    class Child(Judge):
        """A stricter judge."""

        strict: bool = True
        """How strict."""

    assert field_docs(Child) == {"model": "Name of the model.", "strict": "How strict."}


def test_one_command_line_does_not_change_the_defaults_of_the_next() -> None:
    @dataclass(frozen=True)
    class Arm:
        """An arm."""

        weights: dict[str, float] = field(default_factory=lambda: {"answer": 0.5})
        """Weights."""

    @dataclass(frozen=True)
    class Demo:
        """Arms."""

        arm: Arm = Arm()
        """An arm."""

    def arm(*words: str) -> Arm:
        return parse(Demo, words, prog="triptych demo", description="").config.arm

    assert arm("--arm.weights.answer", "1").weights == {"answer": 1.0}
    assert arm("--arm.weights", "{tone: 1}").weights == {"tone": 1.0}
    assert arm().weights == {"answer": 0.5}


def test_numbers_without_a_dot_keep_their_value_through_yaml() -> None:
    assert yaml.safe_load(to_yaml({"rate": 1e-5})) == {"rate": 1e-5}
    assert (
        sys.float_info.min == read("o", "--learning-rate", repr(sys.float_info.min)).learning_rate
    )
