"""The true sizes on one CUDA device: memory, speed and parity, naive against the shared prompt.

    make gpu-check PYTHON=python3

Thinkers of Qwen2.5-Omni 7B and 3B with random weights in bf16, gradient checkpointing on, towers
loaded and frozen. Prompts are text alone: what sharing saves in trained towers, which the naive way
runs for each completion, comes on top. For each shape (P, G, C):

* parity: log-probs of a group in one row, against each completion behind its own prompt; beside it
  the noise of bf16 (the same rows in one batch, against one by one), and the error that completions
  would make which see their neighbours.
* update: forward and backward of the group. The naive way goes in micro-batches of the size that is
  fastest of those that fit. "Full" trains all weights of the decoder; AdamW's states lie in memory
  where they fit beside the gradients, and the report says whether they do. "LoRA" (rank 16 on all
  linear layers of the decoder) needs peft.
* rollout: 64 tokens of each completion by the engine that decodes in this process; naive is the
  same engine, given the prompt G times.

Utilisation is that of the operations that the model asks for, by `gpu_arithmetic`, at the peak of
the card in bf16. Peak memory holds the weights, too. What does not fit into it is said to; what
does not fit into the time is listed, and the most important cases come first. The JSON is written
after each case.

It needs no installation: PYTHONPATH=src, torch with CUDA, transformers from 5.21 with what that
needs, and of our other dependencies those that the model's code imports: av, pydantic, pillow,
psutil. Nothing is downloaded. `--tiny --device cpu` runs the same code at toy sizes.
"""

import argparse
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from functools import partial
from importlib import import_module
from pathlib import Path

import psutil
import torch

from benchmarks.gpu_cases import (
    OUT_OF_MEMORY,
    Budget,
    Meter,
    OutOfTime,
    Record,
    measure_parity,
    measure_rollout,
    measure_update,
)
from benchmarks.gpu_models import SIZE_3B, SIZE_7B, TOY, Size, build
from benchmarks.gpu_report import failures, report
from benchmarks.harness import environment, write_json
from benchmarks.update import Shape
from triptych.models import OmniModel

NOT_RUN = "not run (time)"
ROOM_GIB = 32
"""Left for activations where AdamW's states are held."""
RANK = 16
"""Of the adapters."""


class Kind(StrEnum):
    """What a case measures."""

    PARITY = "parity"
    FULL = "update, full"
    ADAPTERS = "update, LoRA"
    ROLLOUT = "rollout"


class Skipped(Exception):
    """A case that cannot be measured here, and why."""


@dataclass(frozen=True)
class Plan:
    """What is measured."""

    sizes: tuple[Size, ...] = (SIZE_7B, SIZE_3B)
    shapes: tuple[Shape, ...] = (Shape(2048, 8, 512), Shape(4096, 8, 512), Shape(8192, 8, 1024))
    new_tokens: int = 64
    rounds: int = 2
    seconds: float = 540.0


TINY = Plan((TOY,), (Shape(24, 4, 6), Shape(32, 2, 4)), new_tokens=3, rounds=1, seconds=60.0)


def run(plan: Plan, device: torch.device, wrote: Callable[[Record], None]) -> Record:
    """Measure what fits into the time; `wrote` gets the record after each case."""
    meter, budget, begun = Meter(device), Budget(plan.seconds), time.monotonic()
    record: Record = {
        "environment": environment(["triptych", "torch", "transformers", "peft"]),
        "device": {"name": meter.name, "cuda": torch.version.cuda, "free_gib": meter.free_gib()},
        "dtype": "bfloat16",
        "rounds": plan.rounds,
        "budget_s": plan.seconds,
        "cases": [],
    }
    for size in plan.sizes:
        for case in _cases(plan, size, device, budget):
            record["cases"].append(case)
            record["seconds"] = time.monotonic() - begun
            wrote(record)
        meter.forget()
    return record


def _cases(plan: Plan, size: Size, device: torch.device, budget: Budget) -> Iterator[Record]:
    bench = _Bench(plan, size, device, budget)
    for together in ((Kind.PARITY, Kind.FULL), (Kind.ROLLOUT,), (Kind.ADAPTERS,)):
        for shape in plan.shapes:
            for kind in together:
                about: Record = {"model": size.name, "kind": kind, "shape": asdict(shape)}
                outcome = attempt(partial(bench.measure, kind, shape), budget)
                yield about | outcome
                print(f"{size.name}, {kind}, {shape}: {outcome.get('failed', 'done')}", flush=True)


def attempt(measure: Callable[[], Record], budget: Budget) -> Record:
    """The result, or why there is none: no case may take the others with it."""
    try:
        budget.check()
        return {"result": measure()}
    except OutOfTime:
        return {"failed": NOT_RUN}
    except torch.OutOfMemoryError:
        return {"failed": OUT_OF_MEMORY}
    except Skipped as why:
        return {"failed": f"skipped: {why}"}
    except Exception as error:
        traceback.print_exc()
        return {"failed": f"error: {type(error).__name__}: {error}"}


class _Bench:
    """One model, made when it is first needed, and what is trained of it."""

    def __init__(self, plan: Plan, size: Size, device: torch.device, budget: Budget) -> None:
        self.plan, self.size, self.device, self.budget = plan, size, device, budget
        self.meter = Meter(device)
        self._model: OmniModel | None = None
        self._trained: Trained | None = None

    def measure(self, kind: Kind, shape: Shape) -> Record:
        plan, budget = self.plan, self.budget
        self.meter.forget()
        if self._model is None:
            self._model = build(self.size, self.device, torch.bfloat16)
            self._model.checkpoint_activations()
        model = self._model
        if kind is Kind.PARITY:
            return measure_parity(model, shape, budget)
        if kind is Kind.ROLLOUT:
            return measure_rollout(model, shape, plan.new_tokens, plan.rounds, budget)
        record = self._train(model, kind)
        frozen = kind is Kind.ADAPTERS
        return record | measure_update(model, self.size, shape, plan.rounds, budget, frozen=frozen)

    def _train(self, model: OmniModel, kind: Kind) -> Record:
        if self._trained is None or self._trained.kind is not kind:
            self._trained = None
            self.meter.forget()  # the states of the other kind
            train = train_all if kind is Kind.FULL else train_adapters
            self._trained = Trained(kind, *train(model, self.meter))
        return self._trained.record


@dataclass(frozen=True)
class Trained:
    """Which weights are trained, and the optimizer whose states are held, if they are."""

    kind: Kind
    record: Record
    optimizer: torch.optim.Optimizer | None


def train_all(model: OmniModel, meter: Meter) -> tuple[Record, torch.optim.Optimizer | None]:
    """The whole decoder; AdamW's states are held where they fit.

    Its learning rate is 0, so that every case sees the same weights.
    """
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    gradients_gib = sum(weight.numel() * weight.element_size() for weight in weights) / 2**30
    free_gib = meter.free_gib()
    record: Record = {
        "trained": sum(weight.numel() for weight in weights),
        "optimizer_gib": 2 * gradients_gib,
        "optimizer_held": free_gib is None or 3 * gradients_gib + ROOM_GIB <= free_gib,
    }
    if not record["optimizer_held"]:
        return record, None
    optimizer = torch.optim.AdamW(weights, lr=0.0, weight_decay=0.0, fused=True)
    for weight in weights:
        weight.grad = torch.zeros_like(weight)
    optimizer.step()  # makes the states
    record["optimizer_step_s"], _ = meter.time(optimizer.step)
    optimizer.zero_grad(set_to_none=True)
    return record, optimizer


def train_adapters(model: OmniModel, _: Meter) -> tuple[Record, None]:
    """Low-rank adapters on the linear layers of the decoder; all else is frozen.

    Raises:
        Skipped: peft is not installed.
    """
    try:
        peft = import_module("peft")
    except ImportError as error:
        raise Skipped("peft is not installed") from error
    model.thinker.requires_grad_(False)
    config = peft.LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules=r".*language_model.*_proj")
    peft.inject_adapter_in_model(config, model.thinker)
    trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    return {"trained": trained}, None


def main() -> None:
    """Run it, print the tables, write JSON and Markdown."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu_check", description="The true sizes on one CUDA device"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/gpu.json"))
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1, cpu")
    parser.add_argument("--tiny", action="store_true", help="toy sizes, to try the script itself")
    parser.add_argument("--seconds", type=float, help="most time that it may take")
    options = parser.parse_args()
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        sys.exit("torch sees no CUDA device; try the script itself with --device cpu --tiny")
    plan = TINY if options.tiny else Plan()
    # Loading the libraries counts.
    gone = time.time() - psutil.Process().create_time()
    plan = replace(plan, seconds=(options.seconds or plan.seconds) - gone)
    record = run(plan, torch.device(options.device), lambda so_far: write_json(options.out, so_far))
    text = report(record)
    markdown_file = options.out.with_suffix(".md")
    markdown_file.write_text(text + "\n", encoding="utf-8")
    print(text)
    print(f"\nWritten to {options.out} and {markdown_file}")
    if wrong := failures(record):
        sys.exit("\n".join(["", "failed:", *wrong]))


if __name__ == "__main__":
    main()
