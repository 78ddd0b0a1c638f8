"""`triptych generate`, killed in the middle and started again."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from killing import kill_in_the_middle

from triptych.cli.main import main
from triptych.data.sample import read_samples, write_samples
from triptych.generation import completions

SETTINGS = ["--num-generations", "3", "--max-new-tokens", "120", "--min-stage-tokens.think", "4",
            "--max-stage-tokens.think", "12", "--seed", "5", "--decode.workers", "0"]  # fmt: skip


@pytest.fixture(scope="module")
def data(clips_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve questions about clips."""
    path = tmp_path_factory.mktemp("questions") / "questions.jsonl"
    write_samples(path, read_samples(clips_folder / "rl-biased.jsonl")[:12])
    return path


@pytest.fixture(scope="module")
def command(tiny_folder: Path, data: Path) -> list[str]:
    return ["--model", str(tiny_folder), "--data", str(data), *SETTINGS]


@pytest.fixture(scope="module")
def whole(command: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the command writes when nothing interrupts it."""
    out = tmp_path_factory.mktemp("whole") / "new" / "out.jsonl"
    assert generate(out, *command) == 0
    return out


@pytest.fixture
def out(whole: Path, tmp_path: Path) -> Path:
    """A copy that a test may go on with."""
    return shutil.copytree(whole.parent, tmp_path / "copy") / whole.name


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().split(b"\n") if line]


def generate(out: Path, *words: str) -> int:
    return main(["generate", str(out), *words])


@pytest.mark.slow
def test_a_killed_command_goes_on_to_the_same_file(
    command: list[str], whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    killed = tmp_path / "out.jsonl"
    kill_in_the_middle(killed, ["generate", str(killed), *command])
    found = killed.read_bytes()
    count = found.count(b"\n")
    assert 2 <= count < 12
    assert whole.read_bytes().startswith(found)
    # A kill within a write is rare: this is what it leaves.
    killed.write_bytes(whole.read_bytes()[: len(found) + 50])
    assert generate(killed, *command) == 0
    assert f"completions of 12 samples, {count} of them there already" in capsys.readouterr().out
    assert killed.read_bytes() == whole.read_bytes()
    settings = [path.with_name("out.jsonl.settings.json") for path in (whole, killed)]
    assert settings[0].read_bytes() == settings[1].read_bytes()


def test_a_line_per_sample_holds_completions_that_are_valid_and_within_the_budgets(
    whole: Path, data: Path
) -> None:
    records = lines(whole)
    assert [record["sample_id"] for record in records] == [s.id for s in read_samples(data)]
    for record in records:
        assert len({one["text"] for one in record["completions"]}) == 3
        for one in record["completions"]:
            assert one["valid"]
            assert one["stop_reason"] == "end"
            assert one["tokens"] <= 120
            assert one["forced"] > 0


def test_nothing_is_enforced_when_it_is_off_and_greedy_is_batched(
    command: list[str], tmp_path: Path
) -> None:
    greedy = ["--enforce", "off", "--min-stage-tokens.think", "0", "--max-stage-tokens.think", "0",
              "--num-generations", "1", "--temperature", "0", "--batch-size", "5"]  # fmt: skip
    out = tmp_path / "out.jsonl"
    assert generate(out, *command, *greedy) == 0
    assert [record["completions"][0]["forced"] for record in lines(out)] == [0] * 12
    assert not any(record["completions"][0]["valid"] for record in lines(out))
    written = out.read_bytes()
    out.write_bytes(b"".join(written.splitlines(keepends=True)[:7]))
    assert generate(out, *command, *greedy) == 0
    assert out.read_bytes() == written


@pytest.mark.slow
def test_how_many_are_written_together_changes_nothing(
    command: list[str], whole: Path, tmp_path: Path
) -> None:
    for size in ("3", "64"):
        out = tmp_path / f"{size}.jsonl"
        assert generate(out, *command, "--batch-size", size) == 0
        assert out.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        (["--seed", "6"], "seed was 5, is 6"),
        (["--enforce", "stages+answer"], 'enforce was "stages", is "stages+answer"'),
        (["--media.fps", "4"], "media.fps was 2.0, is 4.0"),
    ],
)
def test_other_settings_are_refused_before_the_model_is_loaded(
    command: list[str],
    words: list[str],
    cause: str,
    out: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = out.read_bytes()
    monkeypatch.setattr("triptych.cli.generate.load_model", None)
    assert generate(out, *command, *words) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"triptych: error: {out}: was made by other settings or data ({cause})")
    assert error.count("\n") == 1
    assert out.read_bytes() == before


def test_other_data_and_other_weights_are_refused(
    command: list[str],
    out: Path,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    elsewhere = Path(shutil.copy(data, tmp_path / "moved.jsonl"))
    assert generate(out, *command, "--data", str(elsewhere)) == 0
    elsewhere.write_bytes(data.read_bytes().replace(b"?", b"??", 1))
    assert generate(out, *command, "--data", str(elsewhere)) == 2
    assert "data_sha256 was" in capsys.readouterr().err
    monkeypatch.setattr(completions, "weights_digest", lambda _: "of a retrained model")
    assert generate(out, *command) == 2
    assert 'is "of a retrained model"' in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        (["--num-generations", "0"], "num_generations is 0; use 1 or more"),
        (["--batch-size", "0"], "batch_size is 0; use 1 or more"),
        (
            ["--temperature", "0"],
            "num_generations is 3, but all completions are the same at temperature 0",
        ),
        (["--enforce", "off"], "min_stage_tokens holds only enforced completions"),
        (["--max-new-tokens", "9"], "max_new_tokens is 9"),
    ],
)
def test_settings_that_cannot_be_leave_nothing_behind(
    command: list[str],
    words: list[str],
    cause: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out.jsonl"
    assert generate(out, *command, *words) == 2
    assert cause in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
