"""Log-probs chunk by chunk, beside the logits of all tokens at once: time and memory.

    make bench-log-probs

Forward and backward from hidden states and head to log-probs and entropies. What stands beside ours
is how it is written down: the head on all states, a copy in fp32, the banned ids filled,
log-softmax, entropies.

The bound is in the products of hidden states and head, 2 x N x H x V operations each: one in the
forward, two in the backward, and in chunks one more to have the logits again. Where nothing else
took time, chunks would take 4/3 of it. All else is passes over logits in memory: ours makes fewer.

The peak is what the allocator had given out at most, beyond what was there before. `activations`
are those of a frozen head. A trained one has a gradient, and in chunks two more of its size for a
moment: the sum so far, and what is added to it.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from benchmarks.harness import (
    MedianInterval,
    Rest,
    Spread,
    alternate,
    environment,
    figure,
    markdown,
    stay_on_one_core,
    write_json,
)
from triptych.models.log_probs import CHUNK_BYTES, OmniOutput, score_states

Record: TypeAlias = dict[str, Any]
Score: TypeAlias = Callable[[], OmniOutput]


@dataclass(frozen=True)
class Setting:
    """What is scored, and how often it is timed."""

    vocabulary: int
    tokens: int
    hidden: int
    dtype: str = "float32"
    frozen: bool = False
    """The head; the hidden states always have a gradient."""
    rounds: int = 7


SETTINGS = (
    *(Setting(1_000, tokens, hidden) for tokens in (512, 2048) for hidden in (256, 512)),
    *(Setting(32_000, tokens, hidden) for tokens in (512, 2048) for hidden in (256, 512)),
    *(Setting(150_000, tokens, 256, rounds=5) for tokens in (512, 1024)),
    Setting(150_000, 512, 512, rounds=5),
    Setting(150_000, 512, 256, frozen=True, rounds=5),
    Setting(1_000, 512, 256, "bfloat16"),
    Setting(32_000, 512, 256, "bfloat16", rounds=3),
    # Without bf16 instructions the gradient of this head alone takes a minute.
    Setting(150_000, 512, 256, "bfloat16", frozen=True, rounds=3),
)
SWEPT = Setting(150_000, 512, 256, rounds=5)
BUDGETS_MIB = (8, 16, 32, 64, 128, 256)


class Task:
    """Random states, head and targets, and the ways to score them."""

    def __init__(self, setting: Setting) -> None:
        generator = torch.Generator().manual_seed(0)
        dtype = getattr(torch, setting.dtype)
        self.setting = setting
        self.head = nn.Linear(setting.hidden, setting.vocabulary, bias=False).to(dtype)
        self.head.requires_grad_(not setting.frozen)
        shape = (setting.tokens, setting.hidden)
        self.hidden_NH = torch.randn(shape, generator=generator).to(dtype).requires_grad_()
        # The last ids of a padded head are banned, as a model's media ids are.
        self.banned = torch.arange(setting.vocabulary - 32, setting.vocabulary)
        most = setting.vocabulary - 32
        self.targets_N = torch.randint(most, (setting.tokens,), generator=generator)

    def plain(self) -> OmniOutput:
        """All logits at once."""
        logits_NV = self.head(self.hidden_NH).float().index_fill(-1, self.banned, -torch.inf)
        log_probs_NV = torch.log_softmax(logits_NV, dim=-1)
        logps_N = log_probs_NV.gather(-1, self.targets_N[:, None])[:, 0]
        with torch.no_grad():
            probs_NV = log_probs_NV.exp()
            entropies_N = -torch.where(probs_NV > 0, probs_NV * log_probs_NV, 0).sum(-1)
        return OmniOutput(logps_N, entropies_N)

    def chunked(self, chunk_bytes: int = CHUNK_BYTES) -> OmniOutput:
        """Ours."""
        return score_states(
            self.hidden_NH, self._logits, self.setting.vocabulary, self.targets_N,
            chunk_bytes=chunk_bytes,
        )  # fmt: skip

    def _logits(self, hidden_nH: Tensor) -> Tensor:
        logits_nV: Tensor = self.head(hidden_nH).float()
        return logits_nV.index_fill_(-1, self.banned, -torch.inf)

    def step(self, score: Score) -> OmniOutput:
        """Forward and backward."""
        self._forget_gradients()
        output = score()
        output.logps_N.sum().backward()
        return output

    def _forget_gradients(self) -> None:
        self.hidden_NH.grad = self.head.weight.grad = None

    def peaks_mib(self, score: Score) -> dict[str, float]:
        """Of `step`, and of one with a frozen head."""
        self._forget_gradients()
        peaks = {"peak_mib": peak(allocations(lambda: self.step(score))) / 2**20}
        self._forget_gradients()
        self.head.requires_grad_(False)
        peaks["activations_mib"] = peak(allocations(lambda: self.step(score))) / 2**20
        self.head.requires_grad_(not self.setting.frozen)
        return peaks


def allocations(work: Callable[[], object]) -> list[int]:
    """What torch's allocator gave out while `work` ran, and took back (negative), in bytes."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        work()
    with tempfile.TemporaryDirectory(prefix="triptych-trace-") as folder:
        trace = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text(encoding="utf-8"))["traceEvents"]
    changes = [event for event in events if event["name"] == "[memory]"]
    return [event["args"]["Bytes"] for event in sorted(changes, key=lambda event: event["ts"])]


def peak(changes: Sequence[int]) -> int:
    """Most bytes that were in use at a time."""
    live = most = 0
    for change in changes:
        live += change
        most = max(most, live)
    return most


def run(settings: Sequence[Setting], swept: Setting, budgets_mib: Sequence[float]) -> Record:
    """Measure every setting, and one of them with different budgets."""
    torch.set_num_threads(1)
    return {
        "environment": environment(["triptych", "torch"]),
        "chunk_mib": CHUNK_BYTES / 2**20,
        "settings": [asdict(setting) | _measure(setting) for setting in settings],
        "budgets": asdict(swept) | {"arms": _sweep(swept, budgets_mib)},
    }


def _measure(setting: Setting) -> Record:
    task = Task(setting)
    _check_equal(task)
    seconds = _time(task, {"plain": task.plain, "chunked": task.chunked})
    ratios = [b / a for a, b in zip(seconds["plain"], seconds["chunked"], strict=True)]
    return {
        "plain": _figures(task, task.plain, seconds["plain"]),
        "chunked": _figures(task, task.chunked, seconds["chunked"]),
        "ratio": asdict(MedianInterval.of(ratios)),
    }


def _sweep(setting: Setting, budgets_mib: Sequence[float]) -> list[Record]:
    task = Task(setting)
    arms: dict[float, Score] = {
        mib: lambda mib=mib: task.chunked(int(mib * 2**20))  # type: ignore[misc]
        for mib in budgets_mib
    }
    seconds = _time(task, arms)
    return [{"chunk_mib": mib, **_figures(task, arms[mib], seconds[mib])} for mib in budgets_mib]


def _time(task: Task, arms: Mapping[Any, Score]) -> dict[Any, list[float]]:
    seconds: dict[Any, list[float]] = {name: [] for name in arms}
    rest = Rest()
    for number in range(task.setting.rounds):
        for name in alternate(list(arms), number):
            begun = time.perf_counter()
            task.step(arms[name])
            seconds[name].append(time.perf_counter() - begun)
            rest()
    return seconds


def _figures(task: Task, score: Score, seconds: Sequence[float]) -> Record:
    return {"seconds": asdict(Spread.of(seconds))} | task.peaks_mib(score)


def _check_equal(task: Task) -> None:
    """Both compute the same; it also warms up."""
    outcomes = []
    for score in (task.plain, task.chunked):
        output = task.step(score)
        gradients = (task.hidden_NH.grad, task.head.weight.grad)
        outcomes.append((*output, *(one for one in gradients if one is not None)))
    for plain, chunked in zip(*outcomes, strict=True):
        error = float((chunked - plain).detach().norm() / plain.detach().norm())
        if error > (1e-5 if plain.dtype == torch.float32 else 2e-2):
            raise AssertionError(f"{task.setting}: chunks are off by {error:.2g}")


def report(record: Record) -> str:
    """Tables of what `run` found."""
    header = ["V", "N", "H", "dtype", "head"]
    header += ["plain s", "chunked s", "ratio", "plain MiB", "chunked MiB"]
    rows = [
        [
            *(f"{one[name]:,}" for name in ("vocabulary", "tokens", "hidden")),
            one["dtype"],
            "frozen" if one["frozen"] else "trained",
            *(str(Spread(**one[arm]["seconds"])) for arm in ("plain", "chunked")),
            str(MedianInterval(**one["ratio"])),
            *(figure(one[arm]["activations_mib"]) for arm in ("plain", "chunked")),
        ]
        for one in record["settings"]
    ]
    swept = record["budgets"]
    arms = [
        [
            figure(arm["chunk_mib"]),
            str(Spread(**arm["seconds"])),
            *(figure(arm[kind]) for kind in ("activations_mib", "peak_mib")),
        ]
        for arm in swept["arms"]
    ]
    title = "V {vocabulary:,}, N {tokens:,}, H {hidden:,}, {dtype}".format(**swept)
    budgets = markdown(["MiB of a chunk", "s", "MiB of activations", "MiB in all"], arms)
    return f"{markdown(header, rows)}\n\n{title}, by budget:\n\n{budgets}"


def main() -> None:
    """Run it, print the tables, write the JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.log_probs", description="Log-probs without all logits at once"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/log_probs.json"))
    options = parser.parse_args()
    stay_on_one_core()
    record = run(SETTINGS, SWEPT, BUDGETS_MIB)
    write_json(options.out, record)
    print(report(record))
    print(f"\nWritten to {options.out}")


if __name__ == "__main__":
    main()
