"""`triptych eval`: what is asked, what is gone on with, what is refused, what is printed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from faulty import MODEL, Answer, Seen, completion
from served_questions import QuestionServer, number, questions

from triptych.cli.main import main
from triptych.data.media import MediaBudget
from triptych.data.sample import read_samples, write_samples
from triptych.evaluation import evaluate
from triptych.evaluation.runner import GREEDY
from triptych.generation.engine import SamplingConfig
from triptych.generation.local import LocalEngine
from triptych.models import OmniModel

COUNT = 16


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().split(b"\n") if line]


def results(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "results.json").read_text())
    return found


def says(seen: Seen) -> Answer:
    """Answers yes to even questions; every fourth is refused, every fifth cut off."""
    index = int(number(seen))
    word = "no" if index % 2 else "yes"
    text = f"<context>A man.</context><think>It is {word}.</think><answer>{word}</answer>"
    if index % 4 == 3:
        text = "I'm sorry, but I can't help with that."
    reply = completion(text)
    if index % 5 == 4:
        reply["choices"][0]["finish_reason"] = "length"
    return Answer(200, reply)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "questions.jsonl"
    write_samples(path, questions(range(COUNT)))
    return path


@pytest.fixture
def ask(data: Path, tmp_path: Path) -> Callable[..., int]:
    """`triptych eval` of a server on the questions."""

    def run(url: str, *words: str) -> int:
        server = ["--server.base-url", url, "--server.model", MODEL, "--server.backoff", "0.01"]
        rest = ["--server.api-key-env", "NO_KEY_FOR_THESE_TESTS", "--decode.workers", "0"]
        out = tmp_path / "run"
        return main(["eval", str(out), "--data", str(data), *server, *rest, *words])

    return run


# --- a server ----------------------------------------------------------------------------------


def test_a_server_is_evaluated_and_holes_are_filled_by_the_same_command(
    ask: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"

    def some(seen: Seen) -> Answer:
        return Answer(500, "no") if int(number(seen)) in (2, 9) else says(seen)

    with QuestionServer(answer=some) as server:
        assert ask(server.url, "--server.max-retries", "1") == 0
    found = results(out)
    assert found["questions"] == {"asked": COUNT, "answered": COUNT - 2, "of": COUNT}
    assert found["unanswered"] == {"unavailable": 2}
    figures = found["evaluation"]["model"]["all"]
    assert figures["answer"]["n"] == COUNT - 2
    assert figures["refused"]["mean"] == pytest.approx(4 / 14)
    assert figures["truncated"]["mean"] == pytest.approx(2 / 14)
    assert figures["tokens"]["mean"] == 7.0
    assert found["timing"]["tokens_per_second"] > 0
    printed = capsys.readouterr().out
    assert "2 questions have no answer (2 unavailable) and are in no mean; q2: " in printed
    assert "Give the same command again" in printed
    assert f"model {MODEL}: " in printed
    assert [line["sample_id"] for line in lines(out / "predictions" / "model.jsonl")] == [
        f"q{index}" for index in range(COUNT)
    ]

    # On another port, and more patiently: how a server is reached decides nothing.
    with QuestionServer(answer=says) as server:
        assert ask(server.url, "--server.max-retries", "9") == 0
        assert {number(seen) for seen in server.requests} == {"2", "9"}
    assert results(out)["unanswered"] == {}
    printed = capsys.readouterr().out
    assert "14 answers were there already; 2 were asked for" in printed
    assert "no answer" not in printed

    # A finished command asks nothing and prints all again.
    with QuestionServer(answer=says) as server:
        assert ask(server.url) == 0
        assert server.requests == []
    assert "16 answers were there already; 0 were asked for" in capsys.readouterr().out


def test_a_server_is_not_held_to_a_format(
    ask: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = "http://127.0.0.1:9/v1"
    for words, cause in (
        (["--enforce", "stages"], "enforce is stages, which only a model in this process"),
        (["--max-stage-tokens.think", "9"], "max_stage_tokens holds only enforced completions"),
        (["--model", "folder"], "name one model"),
        (["--stage-tokens"], "stage_tokens is for a model in this process"),
        (["--rewards.context", "necessity"], "rewards.context asks the weights themselves"),
    ):
        assert ask(url, *words) == 2
        assert cause in capsys.readouterr().err
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_other_settings_are_refused_by_name(
    ask: Callable[..., int], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with QuestionServer(answer=says) as server:
        assert ask(server.url, "--limit", "5") == 0
        assert len(server.requests) == 5
    assert results(tmp_path / "run")["questions"]["of"] == COUNT
    assert f"5 of {COUNT} questions were asked" in capsys.readouterr().out
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*.json*")}
    url = "http://127.0.0.1:9/v1"
    for words, cause in (
        (["--limit", "6"], "limit was 5, is 6"),
        (
            ["--limit", "5", "--server.model", "another"],
            f'server.model was "{MODEL}", is "another"',
        ),
        (["--limit", "5", "--max-new-tokens", "9"], "max_new_tokens was 1024, is 9"),
    ):
        assert ask(url, *words) == 2
        error = capsys.readouterr().err
        assert f"{tmp_path / 'run'}: was evaluated by other settings ({cause}" in error
    data.write_bytes(data.read_bytes().replace(b"Question 1?", b"Question 11?", 1))
    assert ask(url, "--limit", "5") == 2
    assert "the data changed since the run began" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in before} == before


def test_the_folder_of_another_run_is_refused(
    ask: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("learning_rate: 0.1\n")
    assert ask("http://127.0.0.1:9/v1") == 2
    assert "holds another run; choose another folder" in capsys.readouterr().err
    (tmp_path / "run" / "config.yaml").rename(tmp_path / "run" / "notes.txt")
    assert ask("http://127.0.0.1:9/v1") == 2
    assert "is not empty" in capsys.readouterr().err


def test_nothing_to_ask_is_said(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    run = ["eval", str(tmp_path / "run"), "--model", "m"]
    for words, cause in (
        ([], "nothing to ask"),
        (["--benchmark", "worldsens"], "there is no 'worldsens'; did you mean 'worldsense'?"),
        (["--data", "d", "--limit", "0"], "limit is 0; use 1 or more"),
    ):
        assert main([*run, *words]) == 2
        assert cause in capsys.readouterr().err


# --- a model in this process -------------------------------------------------------------------


@pytest.fixture(scope="module")
def published(
    clips_folder: Path, tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A few clips, asked as published, but with few tokens."""
    out = tmp_path_factory.mktemp("published") / "run"
    words = ["--benchmark", "clips", "--data", str(clips_folder), "--protocol", "published"]
    more = ["--limit", "6", "--max-new-tokens", "8", "--decode.workers", "0"]
    assert main(["eval", str(out), "--model", str(tiny_folder), *words, *more]) == 0
    return out


def test_a_published_protocol_asks_and_scores_as_it_was(published: Path) -> None:
    found = results(published)
    assert found["protocol"] == {
        "name": "HumanOmniV2",
        "deviations": ["max_new_tokens is 8, not 2048"],
    }
    figures = found["evaluation"]["model"]["all"]
    assert figures["answer.published"]["n"] == 6
    assert "format_unenforced" not in figures, "nothing is enforced"
    assert set(found["groups"]) == {"kind", "alignment"}
    records = lines(published / "predictions" / "model.jsonl")
    assert all("answer.published" in record["scores"] for record in records)
    assert all(record["groups"].keys() == {"kind", "alignment"} for record in records)
    config = (published / "config.yaml").read_text()
    assert "enforce: 'off'" in config
    assert "max_frames: 300" in config


def test_a_limit_takes_whole_clips_and_is_part_of_a_larger_one(clips_folder: Path) -> None:
    from triptych.cli.questions import some_clips
    from triptych.evaluation.metrics import cluster_of

    samples = read_samples(clips_folder / "rl-biased.jsonl")
    few, more = some_clips(samples, 7), some_clips(samples, 15)
    assert (len(few), len(more)) == (7, 15)
    assert {one.id for one in few} < {one.id for one in more}
    assert [one for one in samples if one in few] == few, "in the order of the data set"
    assert {one.id for one in some_clips(samples[::-1], 15)} == {one.id for one in more}
    whole = {cluster_of(one) for one in few}
    split = [clip for clip in whole if any(cluster_of(s) == clip for s in samples if s not in few)]
    assert len(split) <= 1
    assert some_clips(samples, 999) == samples


def test_a_limit_tells_files_of_one_name_in_folders_of_clips_apart() -> None:
    from triptych.cli.questions import some_clips
    from triptych.data.sample import Media, MediaKind, Sample

    def asked(root: str) -> list[Sample]:
        return [
            Sample(
                id=f"q{number:02}", question="?", problem_type="yes_no", answer="yes",  # type: ignore[arg-type]
                media=(Media(kind=MediaKind.VIDEO, path=Path(f"{root}/{number}/video.mp4")),),
            )
            for number in range(40)
        ]  # fmt: skip

    chosen = [one.id for one in some_clips(asked("/data"), 8)]
    assert chosen != [f"q{number:02}" for number in range(8)]
    assert [one.id for one in some_clips(asked("/elsewhere"), 8)] == chosen, "data sets move"


def test_batches_of_any_size_give_the_same_figures(clips_folder: Path, tiny_folder: Path) -> None:
    model = OmniModel.from_pretrained(tiny_folder, budget=MediaBudget(fps=4.0))
    samples = read_samples(clips_folder / "rl-biased.jsonl")[:33]
    sampling = SamplingConfig(max_new_tokens=12, temperature=GREEDY.temperature)
    first, *others = (
        evaluate(LocalEngine(model), samples, sampling, batch_size=size) for size in (1, 5, 32)
    )
    assert all(other == first for other in others)
