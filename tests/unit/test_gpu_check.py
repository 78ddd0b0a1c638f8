"""The check on a GPU, at toy sizes on the CPU: the same code, its account of time and memory."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from transformers import Qwen2_5OmniThinkerForConditionalGeneration

from benchmarks import gpu_cases
from benchmarks.gpu_arithmetic import layer_weights, peak_of, update_operations
from benchmarks.gpu_cases import Budget, Group, Record, measure_update
from benchmarks.gpu_check import TINY, Kind, Skipped, attempt, run
from benchmarks.gpu_models import SIZE_3B, SIZE_7B, TOY, Size, build, thinker_config
from benchmarks.gpu_report import failures, report
from benchmarks.harness import write_json
from benchmarks.table import table
from benchmarks.update import Shape
from triptych.models import OmniModel
from triptych.models.tiny import build_tokenizer

CPU = torch.device("cpu")
SHAPE = Shape(24, 4, 6)


@pytest.fixture(scope="module")
def model() -> OmniModel:
    return build(TOY, CPU, torch.bfloat16)


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Record:
    """What `--tiny` measures of one shape, as it is written after each case."""
    file = tmp_path_factory.mktemp("gpu") / "gpu.json"
    run(replace(TINY, shapes=(SHAPE,), seconds=600.0), CPU, lambda record: write_json(file, record))
    written: Record = json.loads(file.read_text(encoding="utf-8"))
    return written


def test_every_case_is_measured_or_says_why_not(record: Record) -> None:
    kinds = [case["kind"] for case in record["cases"]]
    assert kinds == ["parity", "update, full", "rollout", "update, LoRA"]
    parity, full, rollout, adapters = record["cases"]
    assert 0 < parity["result"]["shared"]["mean"] < parity["result"]["error"]["mean"] / 5
    for case in (full, rollout):
        assert case["result"]["times_faster"]["n"] == 1
        assert case["result"]["shared"]["seconds"]["median"] > 0
        assert case["result"]["shared"]["peak_gib"] is None
    assert full["result"]["micro_batches_s"].keys() == {"4", "2", "1"}
    took = {int(rows): seconds for rows, seconds in full["result"]["micro_batches_s"].items()}
    assert full["result"]["best_micro_batch"] == min(took, key=lambda rows: took[rows])
    assert full["result"]["optimizer_held"]
    assert rollout["result"]["new_tokens"] == 3
    assert "result" in adapters or adapters["failed"] == "skipped: peft is not installed"
    assert failures(record) == []


def test_the_report_says_what_is_not_known(record: Record) -> None:
    text = report(record)
    for title in ("## Log-probs", "## Update", "## Rollout"):
        assert title in text
    assert "| toy" in text
    assert "unknown" in text, "the peak of this device"
    assert "not measured" in text, "its memory"
    assert "AdamW's states" in text


def test_the_table_of_benchmarks_reads_it(record: Record, tmp_path: Path) -> None:
    write_json(tmp_path / "gpu.json", record)
    text = table(tmp_path)
    assert "rounding alone" in text
    assert text.count("| naive / shared, ") >= 2


def test_what_time_does_not_allow_is_listed() -> None:
    record = run(replace(TINY, seconds=0.0), CPU, lambda so_far: None)
    assert {case["failed"] for case in record["cases"]} == {"not run (time)"}
    assert report(record).count("not run (time)") == len(record["cases"]) == 8
    assert failures(record) == []


def test_time_that_runs_out_within_a_case_ends_it(
    model: OmniModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget = Budget(60.0)
    original, calls = Group.repeated, 0

    def late(self: Group, first: int, rows: int) -> Tensor:
        nonlocal calls
        calls += 1
        budget._end = 0.0
        return original(self, first, rows)

    monkeypatch.setattr(Group, "repeated", late)
    with pytest.raises(gpu_cases.OutOfTime):
        measure_update(model, TOY, SHAPE, 1, budget, frozen=False)
    assert calls == 1


def limited(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """Micro-batches of more rows than `most` do not fit."""
    original = Group.repeated

    def repeated(self: Group, first: int, rows: int) -> Tensor:
        if rows > most:
            raise torch.OutOfMemoryError
        return original(self, first, rows)

    monkeypatch.setattr(Group, "repeated", repeated)


def test_micro_batches_that_do_not_fit_are_passed_over(
    model: OmniModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    limited(monkeypatch, most=1)
    result = measure_update(model, TOY, SHAPE, 1, Budget(60.0), frozen=False)
    assert result["best_micro_batch"] == 1
    assert [result["micro_batches_s"][rows] for rows in "42"] == ["out of memory"] * 2
    assert result["times_faster"]["median"] > 0


def test_a_way_that_does_not_fit_leaves_the_other(
    model: OmniModel, monkeypatch: pytest.MonkeyPatch, record: Record
) -> None:
    limited(monkeypatch, most=0)
    result = measure_update(model, TOY, SHAPE, 1, Budget(60.0), frozen=False)
    assert result["naive"] == "out of memory"
    assert result["shared"]["seconds"]["n"] == 1
    assert "times_faster" not in result
    result |= {"optimizer_held": False, "optimizer_gib": 1.0}
    case = {"model": "toy", "kind": str(Kind.FULL), "shape": vars(SHAPE), "result": result}
    text = report({**record, "cases": [case]})
    assert "| naive" in text
    assert "gradients only" in text


def test_a_row_that_does_not_fit_leaves_the_naive_way(
    model: OmniModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Group) -> Tensor:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(Group, "shared", full)
    result = measure_update(model, TOY, SHAPE, 1, Budget(60.0), frozen=False)
    assert result["shared"] == "out of memory"
    assert result["naive"]["seconds"]["n"] == 1


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (gpu_cases.OutOfTime(), "not run (time)"),
        (torch.OutOfMemoryError(), "out of memory"),
        (Skipped("no peft"), "skipped: no peft"),
        (RuntimeError("no kernel"), "error: RuntimeError: no kernel"),
    ],
)
def test_a_case_that_breaks_does_not_stop_the_rest(
    record: Record, error: Exception, told: str
) -> None:
    def broken() -> Record:
        raise error

    outcome = attempt(broken, Budget(60.0))
    assert outcome == {"failed": told}
    cases = [{**record["cases"][1], "kind": "parity"} | outcome]
    del cases[0]["result"]
    assert bool(failures({**record, "cases": cases})) == told.startswith("error")


def test_log_probs_that_are_off_fail(model: OmniModel, record: Record) -> None:
    parity = record["cases"][0]
    wrong = {**parity, "result": {**parity["result"], "shared": parity["result"]["error"]}}
    assert "rounding" in failures({**record, "cases": [wrong]})[0]


@pytest.mark.parametrize(
    ("size", "parameters"),
    # Qwen2.5 7B, and 3B with a head of its own: the decoders were made of these.
    [(SIZE_7B, 7_615_616_512), (SIZE_3B, 3_085_938_688 + 151_936 * 2048)],
    ids=["7B", "3B"],
)
def test_the_true_sizes(size: Size, parameters: int) -> None:
    with torch.device("meta"):
        thinker = Qwen2_5OmniThinkerForConditionalGeneration(
            thinker_config(size, build_tokenizer())
        )
    decoder = thinker.model.language_model
    counted = sum(
        weight.numel() for weight in (*decoder.parameters(), *thinker.lm_head.parameters())
    )
    assert counted == parameters
    weights = sum(p.numel() for p in decoder.layers.parameters() if p.dim() == 2)
    assert layer_weights(size) == weights


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("frozen", [True, False])
def test_operations_are_those_that_torch_counts(
    model: OmniModel, shared: bool, frozen: bool
) -> None:
    """Without checkpointing; of causal attention torch counts all pairs, so that is left out."""
    group = Group(model, SHAPE)
    model.thinker.lm_head.requires_grad_(not frozen)
    model.decoder.layers.requires_grad_(not frozen)
    with FlopCounterMode(display=False) as counter:
        logps_N = group.shared() if shared else group.repeated(0, SHAPE.completions)
        logps_N.sum().backward()
    model.decoder.layers.requires_grad_(True)
    model.thinker.lm_head.requires_grad_(True)
    counts = {str(name): count for name, count in counter.get_flop_counts()["Global"].items()}
    products = sum(count for name, count in counts.items() if "attention" not in name)
    rows = 1 if shared else SHAPE.completions
    pairs = rows * SHAPE.prompt**2 / 2 + 24 * (SHAPE.prompt + SHAPE.tokens / 2)
    attention = 12 * pairs * TOY.hidden * TOY.layers
    assert update_operations(TOY, SHAPE, shared=shared, frozen=frozen) == products + attention


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA H200", 989e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA GeForce RTX 4090", 165e12),
        ("NVIDIA GeForce RTX 2080", None),
        ("cpu", None),
    ],
)
def test_peaks_by_name(name: str, peak: float | None) -> None:
    assert peak_of(name) == peak
