"""`triptych data rollout-filter`, killed in the middle and started again."""

import json
from pathlib import Path
from typing import Any

import pytest
from killing import kill_in_the_middle

from triptych.cli import generate
from triptych.cli.main import main
from triptych.data.sample import Sample, read_samples, write_samples
from triptych.rewards import rule_rewards, score_group

SETTINGS = ["--num-generations", "4", "--max-new-tokens", "100", "--enforce", "stages+answer",
            "--max-stage-tokens.think", "8", "--seed", "3", "--decode.workers", "0"]  # fmt: skip


@pytest.fixture(scope="module")
def data(clips_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten questions about clips."""
    path = tmp_path_factory.mktemp("questions") / "questions.jsonl"
    write_samples(path, read_samples(clips_folder / "rl-biased.jsonl")[:10])
    return path


@pytest.fixture(scope="module")
def command(tiny_folder: Path, data: Path) -> list[str]:
    return ["--model", str(tiny_folder), "--data", str(data), *SETTINGS]


@pytest.fixture(scope="module")
def whole(command: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the command writes when nothing interrupts it."""
    out = tmp_path_factory.mktemp("whole") / "new" / "out.jsonl"
    assert rollout_filter(out, *command) == 0
    return out


def rollout_filter(out: Path, *words: str) -> int:
    return main(["data", "rollout-filter", str(out), *words])


def beside(out: Path, what: str) -> Path:
    return out.with_name(f"{out.name}.{what}.jsonl")


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().split(b"\n") if line]


def test_samples_whose_reward_varies_are_kept_and_only_they(whole: Path, data: Path) -> None:
    samples = {sample.id: sample for sample in read_samples(data)}
    scores, completions = lines(beside(whole, "scores")), lines(beside(whole, "completions"))
    assert [score["sample_id"] for score in scores] == list(samples)
    for score, completed in zip(scores, completions, strict=True):
        texts = [one["text"] for one in completed["completions"]]
        table = score_group(rule_rewards(), samples[score["sample_id"]], texts)
        rewards = [table.row(index) for index in range(4)]
        assert score["rewards"] == {name: [row[name] for row in rewards] for name in rule_rewards()}
        answers = [row["answer"] or 0.0 for row in rewards]
        assert score["mean"] == pytest.approx(sum(answers) / 4)
        assert score["spread"] == max(answers) - min(answers)
        assert score["kept"] == (len(set(answers)) > 1)
    kept = [score["sample_id"] for score in scores if score["kept"]]
    assert 0 < len(kept) < len(samples)
    assert read_samples(whole) == [samples[name] for name in kept]


@pytest.mark.slow
def test_a_killed_command_goes_on_to_the_same_files(
    command: list[str], whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    killed = tmp_path / "out.jsonl"
    journal = beside(killed, "completions")
    kill_in_the_middle(journal, ["data", "rollout-filter", str(killed), *command])
    assert not killed.exists()
    count = journal.read_bytes().count(b"\n")
    assert rollout_filter(killed, *command) == 0
    assert f"{count} of them there already" in capsys.readouterr().out
    for path, as_whole in ((journal, beside(whole, "completions")),
                           (beside(killed, "scores"), beside(whole, "scores"))):  # fmt: skip
        assert path.read_bytes() == as_whole.read_bytes()
    assert [sample.id for sample in read_samples(killed)] == [s.id for s in read_samples(whole)]


def test_another_reward_is_tried_on_the_completions_that_are_there(
    command: list[str],
    whole: Path,
    data: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(whole.parent)  # a relative OUT is beside its completions, too
    assert rollout_filter(Path("out.jsonl"), *command, "--reward", "format") == 0
    printed = capsys.readouterr().out
    assert "10 of them there already" in printed
    assert "kept 0 of 10 samples: out.jsonl" in printed
    assert "0.9-1.0             10      0  " + "#" * 40 in printed
    assert rollout_filter(whole, *command, "--min-spread", "1") == 0
    strict = lines(beside(whole, "scores"))
    assert rollout_filter(whole, *command) == 0
    assert all(score["kept"] == (score["spread"] == 1.0) for score in strict)


UNSCORED = """
def reward(prompts, completions, *, sample_id, **columns):
    first = sample_id[0].endswith("intention-1")
    return [None if first else index / len(completions) for index in range(len(completions))]
"""


def test_samples_that_cannot_be_scored_are_not_kept(
    command: list[str],
    whole: Path,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "unscored_reward.py").write_text(UNSCORED)
    monkeypatch.syspath_prepend(tmp_path)
    name = "unscored_reward:reward"
    assert rollout_filter(whole, *command, "--reward", name) == 0
    scores = {score["sample_id"]: score for score in lines(beside(whole, "scores"))}
    unscored = [key for key in scores if key.endswith("intention-1")]
    assert unscored
    assert all(scores[key]["mean"] is None and not scores[key]["kept"] for key in unscored)
    assert f"kept {10 - len(unscored)} of 10" in capsys.readouterr().out
    assert scores[unscored[0]]["rewards"][name] == [None] * 4
    assert rollout_filter(whole, *command) == 0


@pytest.mark.slow
def test_samples_that_are_skipped_are_neither_scored_nor_kept(
    tiny_folder: Path, whole: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    samples = read_samples(data)[:3]
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    media = tuple(item.model_copy(update={"path": broken}) for item in samples[1].media)
    samples[1] = samples[1].model_copy(update={"media": media})
    write_samples(tmp_path / "data.jsonl", samples)
    words = ["--model", str(tiny_folder), "--data", str(tmp_path / "data.jsonl"), *SETTINGS]
    out = tmp_path / "out.jsonl"
    skip = ["--on-bad-sample", "skip", "--max-bad-share", "0.5"]
    assert rollout_filter(out, *words, *skip) == 0
    scored = [score["sample_id"] for score in lines(beside(out, "scores"))]
    assert scored == [samples[0].id, samples[2].id]
    assert lines(beside(out, "scores"))[1] == lines(beside(whole, "scores"))[2]
    assert " of 3 samples" in capsys.readouterr().out.splitlines()[-1]
    assert rollout_filter(tmp_path / "stopped.jsonl", *words) == 1
    assert "broken.mp4" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        (
            ["--num-generations", "1"],
            "num_generations is 1; use 2 or more: one completion cannot vary",
        ),
        (["--min-spread", "0"], "min_spread is 0.0; use a number above 0, up to 1"),
        (["--temperature", "0"], "all completions are the same at temperature 0"),
        (["--reward", "answr"], "reward 'answr' is unknown"),
    ],
)
def test_settings_that_cannot_be_leave_nothing_behind(
    command: list[str],
    words: list[str],
    cause: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert rollout_filter(tmp_path / "out.jsonl", *command, *words) == 2
    assert cause in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_file_of_other_origin_is_left_alone(
    command: list[str],
    whole: Path,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(generate, "load_model", None)
    mine = tmp_path / "mine.jsonl"
    mine.write_text("notes\n")
    assert rollout_filter(mine, *command) == 2
    assert "name another file" in capsys.readouterr().err
    assert rollout_filter(data, *command) == 2
    assert rollout_filter(whole, *command, "--seed", "4") == 2
    assert "seed was 3, is 4" in capsys.readouterr().err
    assert mine.read_text() == "notes\n"
    assert len(read_samples(data)) == 10


def test_every_sample_has_its_place_in_the_histogram(
    whole: Path, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert rollout_filter(whole, *command) == 0
    rows = capsys.readouterr().out.splitlines()[2:-1]
    assert sum(int(row.split()[1]) for row in rows) == 10
    kept: list[Sample] = read_samples(whole)
    assert sum(int(row.split()[2]) for row in rows) == len(kept)
