"""`triptych reward train | evaluate | score`, from a data set to the scores of completions."""

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
from safetensors.torch import load_file

from triptych.cli.main import main
from triptych.data.clips.cues import all_cues
from triptych.data.clips.questions import intention_questions
from triptych.data.sample import Reference, Sample, read_samples, write_samples
from triptych.rewards.scorer import load_scorer
from triptych.rewards.scorer.base import Candidate

QUICK = ["--encoder", "tiny", "--max-steps", "80", "--held-out-share", "0.4", "--device", "cpu"]


def questions(first: int, last: int) -> list[Sample]:
    rng = Random(7)
    cues = Random(7).sample(list(all_cues()), 100)
    samples = [intention_questions(f"clip-{n}", one, 1, rng)[0] for n, one in enumerate(cues)]
    return samples[first:last]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("reward") / "questions.jsonl"
    write_samples(path, questions(0, 40))
    return path


@pytest.fixture(scope="module")
def scorer(data: Path) -> Path:
    out = data.parent / "scorer"
    assert main(["reward", "train", str(out), "--data", str(data), *QUICK]) == 0
    return out


def completion(context: str) -> str:
    return f"<context>{context}</context><think>t</think><answer>A</answer>"


def scores(sample: Sample, values: list[Any], reasons: list[str | None]) -> dict[str, Any]:
    return {"sample_id": sample.id, "scores": values, "unscored": reasons}


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_the_folder_is_one_of_transformers_with_a_card(scorer: Path) -> None:
    assert load_file(scorer / "model.safetensors")
    settings = json.loads((scorer / "scorer.json").read_text(encoding="utf-8"))
    assert (settings["format"], settings["kind"], settings["stage"]) == (1, "text", "context")
    figures = json.loads((scorer / "evaluation.json").read_text(encoding="utf-8"))
    assert figures["settings"]["learning_rate"] == 5e-3
    assert figures["evaluation"]["kinds"]["vague"]["auc"]["mean"] > 0.9
    card = (scorer / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\nlibrary_name: transformers\n")
    assert card.count("\n| swapped |") == 1
    assert f"| encoder | {settings['encoder']} |" in card


@pytest.mark.slow
def test_training_again_gives_the_same_figures(scorer: Path, data: Path, tmp_path: Path) -> None:
    assert main(["reward", "train", str(tmp_path / "again"), "--data", str(data), *QUICK]) == 0
    for name in ("evaluation.json", "scorer.json", "model.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (scorer / name).read_bytes()


def test_evaluation_leaves_out_what_was_trained_on(
    scorer: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.jsonl"
    write_samples(other, questions(30, 60))
    figures = tmp_path / "figures.json"
    words = ["reward", "evaluate", str(scorer), "--data", str(other), "--out", str(figures)]
    assert main(words) == 0
    evaluation = json.loads(figures.read_text(encoding="utf-8"))
    printed = capsys.readouterr().out
    left_out = int(printed.split("left out: ")[1].split()[0])
    assert left_out > 0
    assert evaluation["references"] == 30 - left_out
    assert "other sample" in printed

    seen = tmp_path / "seen.jsonl"
    stored = json.loads((scorer / "seen_references.json").read_text(encoding="utf-8"))
    trained_on = len(stored["sha256_begins"])
    assert 32 <= trained_on < 40
    write_samples(seen, read_samples(data))
    assert main(["reward", "evaluate", str(scorer), "--data", str(seen)]) == 0
    assert f"left out: {trained_on} references" in capsys.readouterr().out


def test_completions_of_every_form_get_their_scores(
    scorer: Path, data: Path, tmp_path: Path
) -> None:
    first, second = read_samples(data)[:2]
    bare = first.model_copy(update={"id": "bare", "reference": Reference()})
    write_samples(tmp_path / "data.jsonl", [first, second, bare])
    records = [
        {"sample_id": first.id, "completions": [{"text": completion(c)} for c in ("A smile.", "")]},
        {"sample_id": second.id, "text": completion("The voice is flat."), "rewards": {}},
        {"sample_id": "bare", "completions": [{"text": completion("A smile.")}]},
    ]
    completions = tmp_path / "completions.jsonl"
    completions.write_text("".join(json.dumps(one) + "\n" for one in records), encoding="utf-8")
    out = tmp_path / "scores.jsonl"
    words = ["--data", str(tmp_path / "data.jsonl"), "--completions", str(completions)]
    assert main(["reward", "score", str(scorer), *words, "--out", str(out)]) == 0
    expected = load_scorer(scorer).score(
        [
            Candidate("A smile.", first.reference.context or ""),
            Candidate("The voice is flat.", second.reference.context or ""),
        ]
    )
    smile, voice = expected
    assert lines(out) == [
        scores(first, [pytest.approx(smile, abs=1e-6), 0.0], [None, None]),
        scores(second, [pytest.approx(voice, abs=1e-6)], [None]),
        scores(bare, [None], ["no_reference"]),
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"sample_id": "nobody", "text": "t"}, "completions.jsonl:1: sample_id: 'nobody' is not"),
        ({"sample_id": "clip-0/intention-1"}, 'completions.jsonl:1: holds neither "text"'),
    ],
)
def test_completions_that_do_not_fit_are_named(
    scorer: Path,
    data: Path,
    tmp_path: Path,
    line: dict[str, Any],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    completions, out = tmp_path / "completions.jsonl", tmp_path / "scores.jsonl"
    completions.write_text(json.dumps(line) + "\n", encoding="utf-8")
    words = ["--data", str(data), "--completions", str(completions), "--out", str(out)]
    assert main(["reward", "score", str(scorer), *words]) == 1
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_mistakes_are_told_before_the_work_begins(
    scorer: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = tmp_path / "bare.jsonl"
    write_samples(
        bare, [one.model_copy(update={"reference": Reference()}) for one in questions(0, 9)]
    )
    new = str(tmp_path / "new")
    for words, code, message in (
        (["train", str(scorer), "--data", str(data)], 2, "not an empty folder"),
        (["train", new], 2, "no data set is named"),
        (["train", new, "--data", str(bare)], 1, "none of 9 samples has a reference.context"),
        (["train", new, "--data", str(data), "--encoder", "no/such"], 2, "no/such: no sequence"),
        (["train", new, "--data", str(data), "--stage", "answer"], 2, "--stage"),
        (["evaluate", str(tmp_path), "--data", str(data)], 2, "not a scorer"),
    ):
        assert main(["reward", *words]) == code, words
        assert message in capsys.readouterr().err
        assert not Path(new).exists()
