"""Whole commands on real input: what a user types, what they get, what they are told."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from triptych.cli.main import main

SMALL = [
    *("--sizes.cold-start", "6", "--sizes.rl-biased", "10", "--sizes.rl-balanced", "2"),
    *("--sizes.validation", "4", "--sizes.test-balanced", "6"),
    *("--text-drills", "40", "--base.max-steps", "2", "--base.log-every", "1"),
    *("--cold-start.max-steps", "2", "--cold-start.log-every", "1"),
    *("--uniform.max-steps", "2", "--uniform.eval-steps", "2"),
    *("--stage-credit.max-steps", "2", "--stage-credit.eval-steps", "2"),
    *("--continued-sft.max-steps", "2", "--continued-sft.eval-steps", "2"),
    *("--uniform.rollouts-every", "1", "--stage-credit.rollouts-every", "1"),
]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole demo, a few steps of everything."""
    folder = tmp_path_factory.mktemp("demo") / "run"
    assert main(["demo", "--out", str(folder), *SMALL]) == 0
    return folder


def test_the_demo_leaves_a_whole_run(demo: Path) -> None:
    results = json.loads((demo / "results.json").read_text())
    assert set(results["evaluation"]) == {"cold_start", "uniform", "stage_credit", "continued_sft"}
    for splits in results["evaluation"].values():
        assert set(splits) == {"balanced", "aligned", "conflict"}
        for metrics in splits.values():
            assert {"answer", "context", "reasoning", "format"} <= metrics.keys()
            for figure in metrics.values():
                assert set(figure) == {"mean", "low", "high", "n"}
        assert {"answer_emotion", "answer_sincerity", "context_relevant", "context_irrelevant",
                "context.pitch"} <= splits["balanced"].keys()  # fmt: skip
    assert set(results["baselines"]) == {"face_only", "voice_only", "prior"}
    assert {"clips", "cold_start", "uniform", "stage_credit", "evaluation"} <= set(
        results["seconds"]
    )
    for name in ("config.yaml", "environment.json", "metrics.jsonl", "rollouts.jsonl",
                 "report.html"):  # fmt: skip
        assert (demo / name).stat().st_size > 0
    phases = {record["phase"] for record in lines(demo / "metrics.jsonl")}
    assert phases == {"base", "cold_start", "uniform", "stage_credit", "continued_sft"}
    assert (demo / "predictions" / "stage_credit.jsonl").exists()


def test_both_rl_arms_see_the_same_prompts(demo: Path) -> None:
    rollouts = lines(demo / "rollouts.jsonl")
    by_arm = {
        arm: [r["sample_id"] for r in rollouts if r["phase"] == arm and r["step"] == 1]
        for arm in ("uniform", "stage_credit")
    }
    assert by_arm["uniform"]
    assert by_arm["uniform"] == by_arm["stage_credit"]


def test_a_second_demo_in_the_same_folder_touches_nothing(
    demo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in demo.rglob("*.json*")}
    assert main(["demo", "--out", str(demo), *SMALL]) == 2
    assert "is not empty" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in demo.rglob("*.json*")} == before


def test_resume_keeps_what_is_done(demo: Path, tmp_path: Path) -> None:
    run = shutil.copytree(demo, tmp_path / "run")
    shutil.rmtree(run / "models" / "continued_sft")
    weights = (run / "models" / "cold_start" / "model.safetensors").stat().st_mtime_ns
    assert main(["demo", "--out", str(run), *SMALL, "--resume"]) == 0
    first, second = (json.loads((f / "results.json").read_text()) for f in (demo, run))
    assert second["evaluation"] == first["evaluation"]
    assert second["seconds"]["cold_start"] == first["seconds"]["cold_start"]
    after = (run / "models" / "cold_start" / "model.safetensors").stat().st_mtime_ns
    assert after == weights


def test_sft_grpo_eval_and_report_on_a_model_folder(
    tiny_folder: Path, clips_folder: Path, tmp_path: Path
) -> None:
    """The same commands that a GPU user runs on a hub id."""
    common = ["--model", str(tiny_folder), "--media.fps", "4", "--max-steps", "1"]
    sft = ["sft", str(tmp_path / "sft"), *common, "--train", str(clips_folder / "cold-start.jsonl")]
    assert main([*sft, "--batch-size", "4", "--micro-batch-size", "2"]) == 0
    common[1] = str(tmp_path / "sft" / "models" / "sft")
    prompts = str(clips_folder / "rl-biased.jsonl")
    grpo = ["grpo", str(tmp_path / "grpo"), *common, "--train", prompts, "--max-new-tokens", "6"]
    assert main([*grpo, "--prompts-per-step", "2", "--num-generations", "3"]) == 0
    trained, test = tmp_path / "grpo" / "models" / "grpo", clips_folder / "test-balanced.jsonl"
    evaluation = ["eval", str(tmp_path / "eval"), "--model", str(trained), "--data", str(test)]
    options = ["--media.fps", "4", "--max-new-tokens", "24", "--max-stage-tokens.think", "2"]
    assert main([*evaluation, *options]) == 0
    figures = json.loads((tmp_path / "eval" / "results.json").read_text())["evaluation"]["model"]
    assert figures["all"]["format"]["mean"] == 1.0, "held to the stages"
    assert figures["all"]["format_unenforced"]["mean"] < 1.0
    assert "format" in figures["all"]
    for run in ("grpo", "eval"):
        assert main(["report", str(tmp_path / run)]) == 0
        assert (tmp_path / run / "report.html").exists()


class TestBadInput:
    """One clear line, no traceback, a failing exit code, earlier outputs intact."""

    @pytest.fixture
    def data(self, clips_folder: Path, tmp_path: Path) -> Path:
        """A copy of the clips that a test may damage."""
        return shutil.copytree(clips_folder, tmp_path / "clips") / "cold-start.jsonl"

    @pytest.fixture
    def say(
        self, tmp_path: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> Callable[..., str]:
        """Train one step on a file; returns the one line that says why that cannot be."""

        def run(train: Path, *words: str, model: Path = tiny_folder, code: int = 1) -> str:
            command = ["sft", str(tmp_path / "run"), "--model", str(model), "--train", str(train)]
            # One step takes all samples, so that the damaged one is among them.
            steps = ["--max-steps", "1", "--batch-size", "64", "--micro-batch-size", "64"]
            assert main([*command, *steps, *words]) == code
            error = capsys.readouterr().err
            lines = [line for line in error.splitlines() if line.startswith("triptych: error:")]
            assert len(lines) == 1
            assert "Traceback" not in error
            return lines[0]

        return run

    def edit(self, data: Path, **changes: object) -> int:
        """Change the third record."""
        lines = data.read_text().splitlines()
        lines[2] = json.dumps({**json.loads(lines[2]), **changes})
        data.write_text("\n".join(lines) + "\n")
        return 3

    def test_missing_media_file(self, data: Path, say: Callable[..., str]) -> None:
        clip = next((data.parent / "cold-start").glob("*.mp4"))
        clip.unlink()
        assert clip.name in say(data)

    def test_broken_mp4(self, data: Path, say: Callable[..., str]) -> None:
        clip = next((data.parent / "cold-start").glob("*.mp4"))
        clip.write_bytes(clip.read_bytes()[:1000])
        assert clip.name in say(data)

    def test_unknown_problem_type(self, data: Path, say: Callable[..., str]) -> None:
        self.edit(data, problem_type="riddle")
        message = say(data)
        assert "cold-start.jsonl:3" in message
        assert "problem_type" in message

    def test_empty_options(self, data: Path, say: Callable[..., str]) -> None:
        self.edit(data, problem_type="multiple_choice", options=[])
        message = say(data)
        assert "cold-start.jsonl:3" in message
        assert "options" in message

    def test_model_folder_without_processor(
        self, data: Path, say: Callable[..., str], tiny_folder: Path, tmp_path: Path
    ) -> None:
        bare = tmp_path / "bare"
        bare.mkdir()
        for name in ("config.json", "model.safetensors"):
            shutil.copy(tiny_folder / name, bare)
        assert "processor" in say(data, model=bare)
        # Nothing was written, so the corrected command may use the same folder.
        assert not any((tmp_path / "run").iterdir())

    def test_config_with_an_unknown_key(
        self, data: Path, say: Callable[..., str], tmp_path: Path
    ) -> None:
        config = tmp_path / "config.yaml"
        config.write_text("learnin_rate: 1e-5\n")
        message = say(data, "--config", str(config), code=2)
        assert "config.yaml" in message
        assert "learning_rate" in message

    def test_a_missing_data_file(self, data: Path, say: Callable[..., str]) -> None:
        assert "gone.jsonl" in say(data.parent / "gone.jsonl")
