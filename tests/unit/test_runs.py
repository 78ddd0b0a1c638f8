import json
import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

import triptych
from triptych.errors import ConfigError, DataError
from triptych.runs import RunFolder, data_fingerprint
from triptych.training.sft import SFTConfig


@dataclass(frozen=True)
class Settings:
    out: Path
    rate: float = 1e-5


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "run")


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_create_makes_the_folder_and_its_parents(tmp_path: Path) -> None:
    assert RunFolder.create(tmp_path / "a" / "b").path.is_dir()


def test_create_takes_an_empty_folder(tmp_path: Path) -> None:
    RunFolder.create(tmp_path)


def test_create_refuses_a_folder_in_use_and_leaves_it_intact(run: RunFolder) -> None:
    run.append_metrics(step=1, phase="sft", loss=1.0)
    run.write_results({"a": 1})
    with run.rollouts_path.open("w") as file:
        file.write('{"step": 1')  # torn
    before = contents(run.path)
    with pytest.raises(
        ConfigError, match=r"not empty: choose another folder, remove it, or .*--resume"
    ):
        RunFolder.create(run.path, resume=False)
    with pytest.raises(ConfigError, match=r"not empty: choose another folder or remove it$"):
        RunFolder.create(run.path)
    assert contents(run.path) == before


def test_what_ended_before_it_did_anything_is_no_run(run: RunFolder) -> None:
    run.config_path.write_text("someone's own: 1\n")
    with pytest.raises(ConfigError, match="not empty"):
        RunFolder.create(run.path)
    run.write_environment(seed=0)
    RunFolder.create(run.path)
    assert not list(run.path.iterdir())


def test_settings_of_a_run_that_goes_on(run: RunFolder, caplog: pytest.LogCaptureFixture) -> None:
    check = partial(run.check_settings, fixed=("batch_size",), free=("log_every",))
    check(SFTConfig())  # nothing was begun
    run.write_config(SFTConfig())
    check(SFTConfig(log_every=7))
    assert not caplog.records
    check(SFTConfig(max_grad_norm=0.5))
    assert "goes on with other settings: max_grad_norm was 1.0, is 0.5" in caplog.text
    with pytest.raises(ConfigError, match=r"batch_size was 32, is 8\); give those"):
        check(SFTConfig(batch_size=8))


def test_create_refuses_a_file(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("mine")
    with pytest.raises(ConfigError, match="is a file"):
        RunFolder.create(tmp_path / "run", resume=True)
    assert (tmp_path / "run").read_text() == "mine"


def test_only_the_first_of_several_processes_writes(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.write_config(Settings(Path("out")))
    run.write_environment(seed=0)
    run.append_metrics(step=1, phase="sft")
    before = contents(run.path)
    monkeypatch.setenv("RANK", "1")
    second = RunFolder.create(run.path)
    second.write_config(Settings(Path("out"), 2.0))
    second.write_environment(seed=0)
    second.append_metrics(step=2, phase="sft")
    second.append_rollouts([{"step": 2}])
    second.update_results({"a": 1})
    second.rewind(0)
    assert contents(run.path) == before


def test_resume_goes_on_where_the_lines_end(run: RunFolder) -> None:
    run.append_metrics(step=1, phase="sft", loss=1.0)
    again = RunFolder.create(run.path, resume=True)
    again.append_metrics(step=2, phase="sft", loss=0.5)
    assert [line["step"] for line in again.metrics()] == [1, 2]


@pytest.mark.parametrize("torn", ["", '{"st', '{"step": 2, "phase": "sft"}', "x" * (1 << 21)])
def test_resume_drops_a_line_that_was_cut_off(run: RunFolder, torn: str) -> None:
    run.append_metrics(step=1, phase="sft")
    with run.metrics_path.open("a") as file:
        file.write(torn)
    again = RunFolder.create(run.path, resume=True)
    again.append_metrics(step=2, phase="sft")
    assert [line["step"] for line in again.metrics()] == [1, 2]


def test_resume_drops_a_first_line_that_was_cut_off(run: RunFolder) -> None:
    run.metrics_path.write_text('{"st')
    assert RunFolder.create(run.path, resume=True).metrics() == []
    assert run.metrics_path.read_text() == ""


def test_open_refuses_what_is_no_run(tmp_path: Path, run: RunFolder) -> None:
    with pytest.raises(DataError, match="no such folder"):
        RunFolder.open(tmp_path / "nowhere")
    with pytest.raises(DataError, match="not the folder of a run"):
        RunFolder.open(run.path)
    run.write_results({})
    assert RunFolder.open(run.path).results() == {}


def test_the_config_reads_back(run: RunFolder) -> None:
    run.write_config(Settings(Path("out")))
    assert run.config_path.read_text() == "out: out\nrate: 1.0e-05\n"
    assert run.config(Settings) == Settings(Path("out"))


def test_a_changed_config_is_kept_beside_the_new_one(run: RunFolder) -> None:
    for rate in (1.0, 1.0, 2.0, 3.0):
        run.write_config(Settings(Path("out"), rate))
    assert sorted(contents(run.path)) == ["config.1.yaml", "config.2.yaml", "config.yaml"]
    assert "rate: 1.0" in (run.path / "config.1.yaml").read_text()
    assert run.config(Settings).rate == 3.0


def test_the_environment_says_what_the_run_ran_on(run: RunFolder, tmp_path: Path) -> None:
    data = tmp_path / "train.jsonl"
    data.write_text("{}\n")
    run.write_environment(seed=7, data=[data])
    environment = run.environment()
    assert environment["versions"]["triptych"] == triptych.__version__
    assert environment["versions"]["torch"] == torch.__version__
    assert environment["threads"] == torch.get_num_threads()
    assert environment["seed"] == 7
    assert environment["data"] == data_fingerprint([data])


def test_a_resumed_run_adds_its_environment_and_keeps_the_first(
    run: RunFolder, tmp_path: Path
) -> None:
    data, moved = tmp_path / "train.jsonl", tmp_path / "moved.jsonl"
    data.write_text("{}\n")
    run.write_environment(seed=7, data=[data])
    first = run.environment()
    data.rename(moved)
    run.write_environment(seed=8, data=[moved])
    run.write_environment(seed=9, data=[moved])
    now = run.environment()
    assert [entry["seed"] for entry in now.pop("resumed")] == [8, 9]
    assert now == first


def test_a_resumed_run_refuses_other_data(run: RunFolder, tmp_path: Path) -> None:
    data, other = tmp_path / "train.jsonl", tmp_path / "other.jsonl"
    data.write_text("{}\n")
    other.write_text("{}\n{}\n")
    run.write_environment(seed=7, data=[data])
    before = contents(run.path)
    for files in ([other], [data, other], []):
        with pytest.raises(ConfigError, match=r"the data changed .*\.jsonl.*new folder"):
            run.write_environment(seed=7, data=files)
    assert contents(run.path) == before


def test_the_fingerprint_is_sha256_of_the_content(tmp_path: Path) -> None:
    file = tmp_path / "empty.jsonl"
    file.touch()
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert data_fingerprint([file]) == {file.as_posix(): empty}
    file.write_text("{}")
    assert data_fingerprint([file]) != {file.as_posix(): empty}
    with pytest.raises(DataError, match=r"gone\.jsonl: cannot be read: No such file"):
        data_fingerprint([tmp_path / "gone.jsonl"])


def test_metrics_are_plain_json_whatever_they_came_from(run: RunFolder) -> None:
    run.append_metrics(
        step=3,
        phase="uniform",
        loss=torch.tensor(0.5),
        steps=np.int64(4),
        infinite=[math.inf, -math.inf, math.nan],
        **{"reward/answer": 0.25},
    )
    (line,) = run.metrics_path.read_text().splitlines()
    assert json.loads(line) == {
        "step": 3,
        "phase": "uniform",
        "loss": 0.5,
        "steps": 4,
        "infinite": [None, None, None],
        "reward/answer": 0.25,
    }


def test_a_value_that_json_cannot_hold_is_refused_and_nothing_is_written(run: RunFolder) -> None:
    with pytest.raises(TypeError, match="object cannot be written"):
        run.append_rollouts([{"step": 1}, {"step": 1, "text": object()}])
    assert not run.rollouts_path.exists()


def test_metrics_of_one_phase(run: RunFolder) -> None:
    run.append_metrics(step=1, phase="sft")
    run.append_metrics(step=1, phase="uniform")
    assert [line["phase"] for line in run.metrics("uniform")] == ["uniform"]


def test_rollouts_read_back_in_order(run: RunFolder) -> None:
    records: list[dict[str, object]] = [
        {"step": 1, "text": "ä\n☃", "rewards": {"context": None}},
        {"step": 2},
    ]
    run.append_rollouts(records[:1])
    run.append_rollouts(records[1:])
    assert list(run.rollouts()) == records


def test_a_line_that_is_being_written_is_not_read_yet(run: RunFolder) -> None:
    run.append_rollouts([{"step": 1}])
    with run.rollouts_path.open("a") as file:
        file.write('{"step": 2')
    assert list(run.rollouts()) == [{"step": 1}]


@pytest.mark.parametrize(
    ("line", "cause"), [("{", "not valid JSON"), ("3", "must be a JSON object")]
)
def test_a_broken_line_is_named(run: RunFolder, line: str, cause: str) -> None:
    run.append_metrics(step=1, phase="sft")
    with run.metrics_path.open("a") as file:
        file.write(line + "\n")
    with pytest.raises(DataError, match=rf"metrics\.jsonl:2: {cause}"):
        run.metrics()


def test_rewind_drops_what_came_after_the_checkpoint(run: RunFolder) -> None:
    for phase in ("sft", "uniform"):
        for step in (1, 2, 3):
            run.append_metrics(step=step, phase=phase)
            run.append_rollouts([{"step": step, "phase": phase}])
    kept = run.metrics_path.read_text().splitlines()
    run.rewind(1, phase="uniform")
    assert run.metrics_path.read_text().splitlines() == kept[:4]
    assert len(list(run.rollouts())) == 4
    run.rewind(2)
    assert [line["step"] for line in run.metrics()] == [1, 2, 1]


def test_results_are_merged_section_by_section(run: RunFolder) -> None:
    run.update_results({"evaluation": {"a": {"balanced": {"answer": 0.5}}}, "seconds": {"sft": 1}})
    run.update_results({"evaluation": {"a": {"conflict": 1}, "b": 2}, "seconds": {"sft": 3}})
    assert run.results() == {
        "evaluation": {"a": {"balanced": {"answer": 0.5}, "conflict": 1}, "b": 2},
        "seconds": {"sft": 3},
    }


def test_results_that_cannot_be_written_leave_the_old_ones(run: RunFolder) -> None:
    run.write_results({"a": 1})
    with pytest.raises(TypeError):
        run.write_results({"a": object()})
    assert run.results() == {"a": 1}
    assert list(contents(run.path)) == ["results.json"]


def test_a_reader_keeps_the_whole_old_file_while_a_new_one_takes_its_place(run: RunFolder) -> None:
    run.write_results({"a": 1})
    with run.results_path.open() as reader:
        run.write_results({"b": 2})
        assert json.load(reader) == {"a": 1}
    assert run.results() == {"b": 2}


@pytest.mark.parametrize(
    ("text", "cause"), [("{", "not valid JSON"), ("[]", "must hold a JSON object")]
)
def test_broken_results_are_named(run: RunFolder, text: str, cause: str) -> None:
    run.results_path.write_text(text)
    with pytest.raises(DataError, match=rf"results\.json: {cause}"):
        run.results()


def test_missing_results_are_named(run: RunFolder) -> None:
    with pytest.raises(DataError, match=r"results\.json: cannot be read: No such file"):
        run.results()
