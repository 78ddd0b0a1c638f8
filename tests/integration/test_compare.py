"""`triptych compare`, from the files that `triptych eval` leaves to what it says of them."""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, TypeAlias

import pytest

from triptych.cli.main import main
from triptych.data.clips.cues import all_cues
from triptych.data.clips.questions import emotion_question, intention_questions
from triptych.data.sample import Sample, read_samples, write_samples
from triptych.evaluation.runner import evaluate
from triptych.generation.engine import Completion, SamplingConfig, StopReason
from triptych.runs import RunFolder
from triptych.stages.format import DEFAULT_FORMAT

NUM_CLIPS = 60
MakeRun: TypeAlias = Callable[..., Path]


@dataclass(frozen=True)
class Answerer:
    """Writes the reference; the answer is right with a probability."""

    right: float
    seed: int

    def generate(
        self, samples: Sequence[Sample], n: int, sampling: SamplingConfig
    ) -> list[list[Completion]]:
        rng = Random(self.seed)
        return [[self._complete(sample, rng.random() < self.right)] for sample in samples]

    def _complete(self, sample: Sample, right: bool) -> Completion:
        bodies = {
            "context": sample.reference.context or "",
            "think": "It follows.",
            "answer": sample.answer if right else "BA"["B" in sample.answer],
        }
        text = DEFAULT_FORMAT.render(bodies)
        return Completion((1, 2, 3), text, StopReason.END, (False,) * 3)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two questions on each clip; nobody looks at the clips."""
    rng = Random(7)
    questions = []
    for number, cues in enumerate(rng.sample(list(all_cues()), NUM_CLIPS)):
        questions += intention_questions(f"clip-{number}", cues, 1, rng)
        questions.append(emotion_question(f"clip-{number}", cues, rng))
    path = tmp_path_factory.mktemp("compare") / "questions.jsonl"
    write_samples(path, questions)
    return path


@pytest.fixture(scope="module")
def make_run(data: Path) -> MakeRun:
    """Makes what `triptych eval` leaves of a model that is right so often."""

    def make(name: str, right: float, *, seed: int = 0, leave_out: int = 0) -> Path:
        run = RunFolder.create(data.parent / name)
        run.write_environment(seed=0, data=[data])
        samples = read_samples(data)[leave_out:]
        evaluate(
            Answerer(right, seed),
            samples,
            batch_size=len(samples),
            out=run.path / "predictions" / "model.jsonl",
        )
        return run.path

    return make


@pytest.fixture(scope="module")
def poor(make_run: MakeRun) -> Path:
    return make_run("poor", 0.3, seed=1)


@pytest.fixture(scope="module")
def good(make_run: MakeRun) -> Path:
    return make_run("good", 0.8, seed=2)


@pytest.fixture(scope="module")
def short(make_run: MakeRun) -> Path:
    return make_run("short", 0.3, seed=3, leave_out=4)


def compared(capsys: pytest.CaptureFixture[str], *words: str | Path) -> dict[str, Any]:
    """What `--json` prints."""
    assert main(["compare", *map(str, words), "--json"]) == 0
    record: dict[str, Any] = json.loads(capsys.readouterr().out)
    return record


def test_the_better_run_is_called_better_in_words(
    poor: Path, good: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", str(poor), str(good)]) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert lines[:3] == [f"A: {poor} (baseline)", f"B: {good}", "120 questions on 60 clips"]
    rows = {words[0]: words for line in lines if (words := line.split())}
    assert rows["answer"][1] == str(NUM_CLIPS)  # intention questions alone, as in `triptych eval`
    assert rows["answer"][-1] == "better"
    assert " ".join(rows["format"][-5:]) == "the same on every question"
    assert "…" not in "".join(lines)
    gain = compared(capsys, poor, good)["rows"][0]["difference"]
    assert "{mean:+.3f} [{low:+.3f}, {high:+.3f}]".format_map(gain) in " ".join(lines)


def test_the_figures_are_those_of_the_predictions(
    poor: Path, good: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = compared(capsys, poor, good, "--metrics", "answer_emotion", "tokens")
    emotion, tokens = record["rows"]
    runs = []
    for path in (poor, good):
        lines = (path / "predictions" / "model.jsonl").read_text().splitlines()
        predictions = map(json.loads, lines)
        runs.append([one["scores"]["answer"] for one in predictions if one["kind"] == "emotion"])
    assert emotion["baseline_mean"] == pytest.approx(sum(runs[0]) / NUM_CLIPS)
    assert emotion["mean"] == pytest.approx(sum(runs[1]) / NUM_CLIPS)
    assert emotion["higher"] == sum(b > a for a, b in zip(*runs, strict=True))
    assert tokens["verdict"] == "the same on every question"
    assert (record["questions"], record["clusters"], record["notices"]) == (120, 60, [])


def test_swapping_the_runs_swaps_the_verdict(
    poor: Path, good: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there = compared(capsys, poor, good)["rows"][0]
    back = compared(capsys, good, poor)["rows"][0]
    assert (there["verdict"], back["verdict"]) == ("better", "worse")
    assert back["p"] == there["p"]
    assert back["difference"]["mean"] == pytest.approx(-there["difference"]["mean"])


def test_what_cannot_be_told_apart_says_what_could_have_been(
    poor: Path, make_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    like_poor = make_run("[bold]like poor", 0.3, seed=9)  # a name is no markup
    # A file of predictions is as good as the folder of its run.
    file = like_poor / "predictions" / "model.jsonl"
    words = ("--metrics", "answer", "answer_emotion")
    row, _ = compared(capsys, poor, file, *words)["rows"]
    assert row["verdict"] == "cannot be told apart"
    assert main(["compare", str(poor), str(file), *words]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"B: {file} 120 questions on 60 clips" in said
    assert row["p_holm"] > 1.1 * row["p"]
    assert f" {row['p_holm']:.3f} cannot be told apart" in said
    _, _, shown_and_more = said.partition(
        "cannot be told apart; n = 60 would show a difference of "
    )
    shown = float(shown_and_more.split()[0])
    assert row["detectable"] <= shown <= 1.1 * row["detectable"]


def test_other_samples_are_refused_and_common_ones_compared(
    poor: Path, short: Path, good: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", str(poor), str(short)]) == 1
    error = capsys.readouterr().err
    assert f"B ({short}) answered other samples than A ({poor})" in error
    assert "4 that A has are missing ('clip-0/intention-1', " in error
    assert "--common" in error
    record = compared(capsys, poor, short, good, "--common", "--all-pairs", "--metrics", "answer")
    assert record["questions"] == 116
    assert record["notices"] == [
        "4 of the 120 samples of A are left out: not all runs have them",
        "4 of the 120 samples of C are left out: not all runs have them",
    ]
    pairs = [row["baseline"] + row["run"] for row in record["rows"]]
    assert pairs == ["AB", "AC", "BC"]


def test_groups_of_questions(poor: Path, good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--by", "problem_type", "--metrics", "context", "answer", "answer_emotion")
    rows = compared(capsys, poor, good, *words)["rows"]
    assert [(row["group"], row["metric"], row["n"]) for row in rows] == [
        (None, "context", 120),
        (None, "answer", 60),
        (None, "answer_emotion", 60),
        ("multi_select", "context", 60),
        ("multi_select", "answer_emotion", 60),
        ("multiple_choice", "context", 60),
        ("multiple_choice", "answer", 60),
    ]
    assert main(["compare", str(poor), str(good), *words]) == 0
    assert "multiple_choice" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["POOR"], 2, "RUNS: 1 named; name 2 to 26 runs"),
        (["POOR", "GOOD", "GOOD/../good"], 2, "is named twice"),
        (["POOR", "nowhere"], 1, "nowhere: No such file"),
        (["POOR", "GOOD", "--by", "sort"], 2, "by is 'sort'"),
        (["POOR", "GOOD", "--metrics", "anser"], 2, "did you mean 'answer'"),
    ],
)
def test_mistakes_are_one_line(
    words: list[str],
    code: int,
    message: str,
    poor: Path,
    good: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = [word.replace("POOR", str(poor)).replace("GOOD", str(good)) for word in words]
    assert main(["compare", *words]) == code
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.err.count("\n") == 1
    assert printed.out == ""


def test_equal_commands_print_equal_bytes(
    poor: Path, good: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    printed = []
    for _ in range(2):
        assert main(["compare", str(poor), str(good)]) == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]


def test_neither_torch_nor_transformers_is_loaded(poor: Path, good: Path) -> None:
    program = (
        "import sys; from triptych.cli.main import main; assert main(sys.argv[1:]) == 0; "
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    words = [sys.executable, "-c", program, "compare", str(poor), str(good)]
    subprocess.run(words, stdout=subprocess.DEVNULL, check=True)


def test_two_evaluations_of_a_model(
    tiny_folder: Path, clips_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The files are those of the command itself: held to the format, and not."""
    test = clips_folder / "validation.jsonl"
    words = ["--model", str(tiny_folder), "--data", str(test), "--max-new-tokens", "24"]
    for name, enforce in (("held", "stages"), ("free", "off")):
        run = ["eval", str(tmp_path / name), *words, "--enforce", enforce, "--media.fps", "4",
               "--decode.workers", "0"]  # fmt: skip
        assert main(run) == 0
    capsys.readouterr()
    record = compared(capsys, tmp_path / "free", tmp_path / "held")
    by_metric = {row["metric"]: row for row in record["rows"]}
    assert by_metric["format"]["mean"] == 1.0
    assert by_metric["format"]["baseline_mean"] == 0.0
    assert record["clusters"] == 6
    assert any(
        one.startswith("format_unenforced: not in A, so not compared") for one in record["notices"]
    )
