"""`triptych plan` and `--dry-run`, as a user meets them."""

import json
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from triptych.cli.main import main
from triptych.cli.plan import bytes_in
from triptych.data.decode_worker import Decoded
from triptych.data.decoding import DecodeLimits, DecodePool
from triptych.data.media import MediaBudget
from triptych.data.sample import Media
from triptych.errors import ConfigError
from triptych.planning import plan

GRPO = "prompts_per_step: 2\nnum_generations: 4\nmax_new_tokens: 32\nfreeze: [vision, audio]\n"


@pytest.fixture
def config(tmp_path: Path, tiny_folder: Path, clips_folder: Path) -> Path:
    path = tmp_path / "run.yaml"
    lines = f"model: {tiny_folder}\ntrain: {clips_folder / 'cold-start.jsonl'}\n"
    path.write_text(GRPO + lines, encoding="utf-8")
    return path


def test_a_plan_as_json(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["plan", str(config), "--json", "--gpus", "2", "--price", "2", "--prompts", "3"]
    assert main(words) == 0, capsys.readouterr().err
    plan = json.loads(capsys.readouterr().out)
    assert plan["kind"] == "grpo"
    assert plan["lengths"]["exact"] is True
    assert plan["lengths"]["looked_at"] == 3
    assert plan["memory"]["fits"] is True
    resident, phases = plan["memory"]["resident"], plan["memory"]["phases"]
    sums = [sum(resident.values()) + sum(parts.values()) for parts in phases.values()]
    assert plan["memory"]["peak"] == max(sums)
    assert plan["cost"] == pytest.approx(plan["hours"] * 2 * 2)
    assert plan["largest"]["group"] > 4


def test_a_rollout_is_as_large_as_what_it_writes_at_once(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    held = []
    for at_once in (4, 8):
        again = config.read_text(encoding="utf-8") + f"rollout_sequences: {at_once}\n"
        path = config.with_name(f"{at_once}.yaml")
        path.write_text(again, encoding="utf-8")
        assert main(["plan", str(path), "--json", "--prompts", "1"]) == 0
        held.append(json.loads(capsys.readouterr().out)["memory"]["phases"]["rollout"])
    assert held[1]["key-value cache"] == 2 * held[0]["key-value cache"]


def test_the_start_of_a_decoder_is_no_part_of_a_step(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock that only decoding moves on: by a minute at first, then by a second an item."""
    clock = [0.0]

    class SlowToStart(DecodePool):
        def __init__(self, limits: DecodeLimits) -> None:
            super().__init__(replace(limits, workers=0))

        def submit(self, media: Media, budget: MediaBudget) -> "Future[Decoded]":
            clock[0] += 1.0 if clock[0] else 60.0
            return super().submit(media, budget)

    monkeypatch.setattr(plan, "DecodePool", SlowToStart)
    monkeypatch.setattr(plan, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    for prompts in ("1", "3"):
        clock[0] = 0.0
        assert main(["plan", str(config), "--json", "--prompts", prompts]) == 0
        assert json.loads(capsys.readouterr().out)["lengths"]["seconds"] == 2.0  # film and sound


def test_a_plan_that_does_not_fit_says_what_to_change(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", str(config), "--memory", "24MB", "--prompts", "2"]) == 1
    said = capsys.readouterr().out
    assert "does not fit" in said
    assert "change: gradient_checkpointing: true" in said
    assert "largest that fits, all else as it is: num_generations" in said


def test_a_cold_start_is_told_by_its_settings(
    tmp_path: Path, tiny_folder: Path, clips_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "sft.yaml"
    path.write_text("batch_size: 4\nmicro_batch_size: 2\n", encoding="utf-8")
    data = str(clips_folder / "cold-start.jsonl")
    words = ["plan", str(path), "--model", str(tiny_folder), "--train", data, "--json"]
    assert main(words) == 0, capsys.readouterr().err
    plan = json.loads(capsys.readouterr().out)
    assert plan["kind"] == "sft"
    mean, longest = plan["lengths"]["target"]
    assert 20 < mean <= longest < 120
    assert "rollout" not in plan["memory"]["phases"]
    assert "validation" not in plan["memory"]["phases"]
    path.write_text(f"batch_size: 4\neval_steps: 2\nvalidation: {data}\n", encoding="utf-8")
    assert main(words) == 0, capsys.readouterr().err
    assert "validation" in json.loads(capsys.readouterr().out)["memory"]["phases"]


def test_settings_of_neither_command_are_asked_about(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "both.yaml"
    path.write_text("seed: 1\n", encoding="utf-8")
    assert main(["plan", str(path)]) == 2
    assert "may be for either of grpo and sft; say which by --command" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "size"), [("80GB", 80 * 10**9), ("80", 80 * 10**9), ("1.5GiB", 3 * 2**29)]
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert bytes_in(text) == size


def test_a_size_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match="write it as 80GB"):
        bytes_in("lots")


def test_a_dry_run_names_missing_media(
    config: Path, tmp_path: Path, clips_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = (clips_folder / "cold-start.jsonl").read_text(encoding="utf-8").splitlines()
    record = json.loads(lines[0])
    for item in record["media"]:
        item["path"] = "gone.mp4"
    (tmp_path / "data.jsonl").write_text(json.dumps(record), encoding="utf-8")
    words = ["grpo", str(tmp_path / "run"), "--config", str(config), "--dry-run"]
    assert main([*words, "--train", str(tmp_path / "data.jsonl")]) == 1
    assert "1 of 1 media files cannot be used" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_dry_run_refuses_weights_that_do_not_fit(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["grpo", str(tmp_path / "run"), "--config", str(config), "--dry-run"]
    assert main([*words, "--rewards", "{answer: rule}"]) == 2
    assert "weights" in capsys.readouterr().err


def test_a_dry_run_wants_references(
    tmp_path: Path, tiny_folder: Path, clips_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = json.loads((clips_folder / "cold-start.jsonl").read_text("utf-8").splitlines()[0])
    del record["reference"]
    for item in record["media"]:
        item["path"] = str(clips_folder / item["path"])
    data = tmp_path / "bare.jsonl"
    data.write_text(json.dumps(record), encoding="utf-8")
    words = ["sft", str(tmp_path / "run"), "--model", str(tiny_folder), "--train", str(data)]
    assert main([*words, "--dry-run"]) == 1
    assert "reference.context: missing" in capsys.readouterr().err
    words = ["grpo", str(tmp_path / "run"), "--model", str(tiny_folder), "--train", str(data)]
    assert main([*words, "--dry-run"]) == 1
    assert "1 of 1 samples have no reference that the reward 'context'" in capsys.readouterr().err
    assert main([*words, "--dry-run", "--max-unscored-share", "1"]) == 0
    weights = "{context: 0, reasoning: 0, answer: 1, format: 1}"
    assert main([*words, "--dry-run", "--weights", weights]) == 0
