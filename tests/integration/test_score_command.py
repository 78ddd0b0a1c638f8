"""`triptych score`: a run from predictions alone, the same as `triptych eval` makes of them."""

import gc
import json
import sys
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest

from triptych.cli.main import main
from triptych.data.clips.cues import all_cues
from triptych.data.clips.questions import emotion_question, intention_questions
from triptych.data.sample import Sample, write_samples
from triptych.errors import DataError
from triptych.evaluation.metrics import score_items
from triptych.evaluation.precomputed import Precomputed, Written
from triptych.evaluation.predictions import read_predictions
from triptych.evaluation.rescoring import Rescorer, rare_collections, turns_of
from triptych.generation.engine import Completion, StopReason
from triptych.rewards import rule_rewards
from triptych.runs import RunFolder
from triptych.stages.format import DEFAULT_FORMAT


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    rng = Random(3)
    made = []
    for number, cues in enumerate(rng.sample(list(all_cues()), 20)):
        made += intention_questions(f"clip-{number}", cues, 1, rng)
        made.append(emotion_question(f"clip-{number}", cues, rng))
    return made


@pytest.fixture(scope="module")
def data(samples: list[Sample], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("score") / "questions.jsonl"
    write_samples(path, samples)
    return path


def staged(sample: Sample, answer: str) -> str:
    reference = sample.reference
    return DEFAULT_FORMAT.render(
        {"context": reference.context or "", "think": reference.reasoning or "", "answer": answer}
    )


def write(path: Path, records: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(one) + "\n" for one in records), encoding="utf-8")
    return path


def score(out: Path, predictions: Path, data: Path, *words: str) -> dict[str, Any]:
    assert main(["score", str(predictions), "--data", str(data), "--out", str(out), *words]) == 0
    return RunFolder.open(out).results()


def half_right(samples: list[Sample]) -> list[str]:
    return [staged(one, one.answer if n % 2 else "D") for n, one in enumerate(samples)]


def test_it_scores_as_evaluation_does_however_many_work(
    samples: list[Sample], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("triptych.evaluation.rescoring._CHUNK", 7)
    monkeypatch.setattr("triptych.evaluation.rescoring._BATCH", 3)
    texts = half_right(samples)
    records = [
        {"sample_id": one.id, "text": text} for one, text in zip(samples, texts, strict=True)
    ]
    file = write(tmp_path / "p.jsonl", records[::-1])
    results = score(tmp_path / "two", file, data, "--workers", "2")
    assert results == score(tmp_path / "one", file, data, "--workers", "1")
    written = [(tmp_path / run / "predictions/model.jsonl").read_bytes() for run in ("one", "two")]
    assert written[0] == written[1]

    completions = [Completion((), text, StopReason.END, ()) for text in texts]
    expected = score_items(rule_rewards(), samples, completions)
    found = read_predictions(tmp_path / "two").by_id
    assert list(found) == [one.id for one in samples]
    for item in expected:
        scores = {name: value for name, value in item.scores.items() if name != "truncated"}
        assert found[item.sample_id].item.scores == scores
        assert found[item.sample_id].item.cluster == item.cluster
    assert results["questions"] == {"answered": 40, "of": 40, "missing": 0}
    base = results["baselines"]["splits"]["all"]
    assert base["n"] == results["evaluation"]["model"]["all"]["answer"]["n"]
    assert 0 < base["chance"] <= base["most_frequent"] < 1
    assert results["groups"]["kind"].keys() == {"intention", "emotion"}
    assert str(file) in results["predictions"]
    assert "has no answer stage" not in capsys.readouterr().out


def test_garbage_is_collected_rarely_and_only_meanwhile() -> None:
    usual = gc.get_threshold()
    with suppress(DataError), rare_collections():
        assert gc.get_threshold()[0] > usual[0]
        raise DataError("in the middle")
    assert gc.get_threshold() == usual


def test_runs_of_it_can_be_compared(
    samples: list[Sample], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for run, texts in (
        ("half", half_right(samples)),
        ("all", [staged(s, s.answer) for s in samples]),
    ):
        records = [{"id": one.id, "text": text} for one, text in zip(samples, texts, strict=True)]
        score(tmp_path / run, write(tmp_path / f"{run}.jsonl", records), data)
    capsys.readouterr()
    assert main(["compare", str(tmp_path / "half"), str(tmp_path / "all")]) == 0
    shown = capsys.readouterr().out
    assert "better" in shown
    assert "different content" not in shown


@pytest.mark.parametrize("of_clips", [True, False])
def test_several_completions_are_averaged_and_no_more_certain(
    samples: list[Sample], tmp_path: Path, of_clips: bool
) -> None:
    if not of_clips:  # then every question stands for itself
        samples = [one.model_copy(update={"media": (), "extra": {}}) for one in samples]
    data = tmp_path / "questions.jsonl"
    write_samples(data, samples)
    once, twice = [], []
    for number, one in enumerate(samples):
        text = staged(one, one.answer if number % 3 else "D")
        once.append({"sample_id": one.id, "completions": [{"text": text}]})
        twice.append({"sample_id": one.id, "completions": [{"text": text}] * 2})
    single = score(tmp_path / "a", write(tmp_path / "a.jsonl", once), data)
    double = score(tmp_path / "b", write(tmp_path / "b.jsonl", twice), data)
    assert double["questions"]["answered"] == 80
    one, two = (one["evaluation"]["model"]["all"]["answer"] for one in (single, double))
    assert two["n"] == 2 * one["n"]
    assert [two[end] for end in ("mean", "low", "high")] == pytest.approx(
        [one[end] for end in ("mean", "low", "high")]
    )
    assert f"{samples[0].id}#2" in read_predictions(tmp_path / "b").by_id


def test_stops_and_tokens_count_where_the_file_says_them_and_the_seed_decides_the_ends(
    samples: list[Sample], data: Path, tmp_path: Path
) -> None:
    records: list[dict[str, Any]] = [
        {"id": one.id, "text": text} for one, text in zip(samples, half_right(samples), strict=True)
    ]
    records[0]["stop_reason"], records[1]["stop_reason"] = "length", "end"
    for number, record in enumerate(records[2:], start=1):
        record["tokens"] = number**2
    file = write(tmp_path / "p.jsonl", records)
    runs = [score(tmp_path / seed, file, data, "--seed", seed) for seed in ("0", "1")]
    first, second = (one["evaluation"]["model"]["all"] for one in runs)
    assert (first["truncated"]["mean"], first["truncated"]["n"]) == (0.5, 2)
    assert (first["tokens"]["mean"], first["tokens"]["n"]) == (
        sum(n**2 for n in range(39)) / 38,
        38,
    )
    assert [one["mean"] for one in first.values()] == [one["mean"] for one in second.values()]
    assert first["tokens"]["low"] != second["tokens"]["low"]


def test_a_completion_does_not_take_the_id_of_another_sample(samples: list[Sample]) -> None:
    one = samples[0]
    taken = samples[1].model_copy(update={"id": f"{one.id}#2"})
    found = Precomputed({one.id: [Written("a"), Written("b")]}, {}, ())
    with pytest.raises(DataError, match="as another sample is; give that one another id"):
        turns_of([one, taken], found)


def test_plain_answers_are_scored_as_answers_and_nothing_else(
    samples: list[Sample], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = [
        {"id": one.id, "prediction": one.answer if number else f"<think>Hm.</think> {one.answer}"}
        for number, one in enumerate(samples)
    ]
    file = write(tmp_path / "p.jsonl", records)
    results = score(tmp_path / "run", file, data, "--published")
    metrics = results["evaluation"]["model"]["all"]
    for name in ("answer", "answer.alone", "answer.published", "answer_emotion"):
        assert metrics[name]["mean"] == 1.0, name
    assert metrics["format"]["mean"] == 0.0
    assert not {"context", "reasoning"} & metrics.keys()
    assert results["stages"] == {"read": "none", "without_answer_stage": 40}
    out = capsys.readouterr().out
    assert "40 of 40 predictions have no answer stage and are scored as answers" in out
    (line, *_) = (tmp_path / "run/predictions/model.jsonl").read_text().splitlines()
    assert json.loads(line)["text"] == f"<think>Hm.</think> {samples[0].answer}"

    strict = score(tmp_path / "strict", file, data, "--stages", "required")
    assert strict["evaluation"]["model"]["all"]["answer"]["mean"] == 0.0
    assert "they score 0" in capsys.readouterr().out


def test_a_bare_answer_among_stages_scores_nothing_and_that_is_said(
    samples: list[Sample], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = [{"id": one.id, "text": staged(one, one.answer)} for one in samples]
    records[0]["text"] = samples[0].answer
    file = write(tmp_path / "p.jsonl", records)
    results = score(tmp_path / "run", file, data)
    assert results["stages"] == {"read": "required", "without_answer_stage": 1}
    assert f"score 0 ({samples[0].id}). If they are plain answers" in capsys.readouterr().out
    mended = score(tmp_path / "none", file, data, "--stages", "none")
    assert mended["evaluation"]["model"]["all"]["answer"]["mean"] == 1.0


def test_samples_without_a_prediction_are_refused_or_counted(
    samples: list[Sample], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records: list[dict[str, Any]] = [
        {"id": one.id, "text": staged(one, one.answer)} for one in samples[3:]
    ]
    records[0] = {"id": samples[3].id, "error": {"reason": "timeout", "cause": "60 s"}}
    file = write(tmp_path / "p.jsonl", records)
    out = tmp_path / "run"
    assert main(["score", str(file), "--data", str(data), "--out", str(out)]) == 1
    error = capsys.readouterr().err
    assert f"nothing for 3 of 40 samples ({', '.join(one.id for one in samples[:3])})" in error
    assert not out.exists()
    results = score(out, file, data, "--allow-missing")
    assert results["questions"] == {"answered": 36, "of": 40, "missing": 3}
    assert results["unanswered"] == {"timeout": 1}
    shown = capsys.readouterr().out
    assert "3 samples have no prediction and are in no mean" in shown
    assert "1 samples have an error" in shown
    assert samples[3].id in read_predictions(out).by_id


def test_fields_may_be_named_and_some_process_must_work(
    samples: list[Sample], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = [{"key": one.id, "id": "?", "said": one.answer} for one in samples]
    file = write(tmp_path / "p.jsonl", records)
    words = ("--id-field", "key", "--text-field", "said")
    out = tmp_path / "run"
    none = ["score", str(file), "--data", str(data), "--out", str(out), *words, "--workers", "0"]
    assert main(none) != 0
    assert "workers" in capsys.readouterr().err
    assert score(out, file, data, *words)["questions"]["answered"] == 40


def test_the_wrong_data_set_is_one_clear_error(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path / "p.jsonl", [{"id": "elsewhere-1", "text": "B"}])
    assert main(["score", str(file), "--data", str(data), "--out", str(tmp_path / "run")]) == 1
    error = capsys.readouterr().err
    assert f"{file}:1: id 'elsewhere-1' fits none of the 40 samples" in error
    assert "Traceback" not in error


def test_a_benchmark_is_scored_by_its_published_metric_too(
    samples: list[Sample], data: Path, tmp_path: Path
) -> None:
    lines = [{"id": one.id, "text": staged(one, one.answer)} for one in samples]
    file = write(tmp_path / "p.jsonl", lines)
    plain = score(tmp_path / "plain", file, data)
    known = score(tmp_path / "known", file, data, "--benchmark", "clips")
    means = [run["evaluation"]["model"]["all"] for run in (plain, known)]
    assert "answer.published" not in means[0]
    assert means[1]["answer.published"]["mean"] == 1.0


def test_predictions_that_cannot_be_written_are_one_clear_error(
    samples: list[Sample], tmp_path: Path
) -> None:
    (tmp_path / "taken").write_text("a file, no folder")
    nothing = Precomputed({}, {}, ())
    rescorer = Rescorer(plain=False, groups={}, published=None)
    with pytest.raises(DataError, match=r"taken/model.jsonl.partial: .*; choose another folder"):
        rescorer.run([], samples, nothing, tmp_path / "taken" / "model.jsonl", lambda _: None)


def test_it_needs_no_torch_until_the_environment_is_written() -> None:
    import subprocess

    code = (
        "import sys, triptych.cli.score, triptych.evaluation.rescoring, triptych.cli.questions,"
        "triptych.evaluation.benchmarks, triptych.cli.evaluation_tables;"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
