"""What the shared prefix saves in an update: one prompt, its completions, forward and backward.

    make bench-update

The decoder of a tiny Qwen2.5-Omni with random weights reads P prompt tokens and G completions of C
tokens. Three ways to the same gradients:

* naive: the prompt before every completion, causal attention without a mask, in micro-batches of 1,
  2, 4 or 8 rows. Micro-batches of a size are alike, so one is timed and counted G/size times.
* mask: one row, attention under a mask.
* prefix: one row, only the attention that is needed.

The head runs on the states that predict completion tokens in all of them. Times are the CPU time of
one thread, compared with the fastest naive micro-batch, round by round. Two ideals stand beside the
ratio: of the tokens that pass the layers, G(P+C) / (P+GC), and of all multiply-adds. The second is
lower where attention counts for much, since a completion has to look at the whole prompt, shared or
not: it can be below what is wanted, 90% of the first.

Memory is the most that a process held during one forward and backward, beyond what it held before;
each way in a process of its own, naive with all rows at once (Linux).
"""

import argparse
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from time import process_time
from typing import Any, TypeAlias

import torch
from torch import Tensor

from benchmarks.harness import (
    MedianInterval,
    Spread,
    alternate,
    environment,
    markdown,
    resident_mib,
    stay_on_one_core,
    write_json,
)
from triptych.models import OmniModel, Prompt
from triptych.models.families import family_for
from triptych.models.packing import PackedBatch, pack
from triptych.models.prefix_attention import Attention, set_attention
from triptych.models.tiny import TinyConfig, build_processor, build_thinker, build_tokenizer

HIDDEN_SIZES = (256, 512)
HEAD_SIZE = 64
MICRO_BATCHES = (1, 2, 4, 8)
WANTED_OF_TOKENS = 0.9
"""Of the token ideal."""
MOST_MEMORY = 0.5
"""Of the peak of naive with all rows at once."""

Record: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Shape:
    """Prompt tokens, completions, tokens of each."""

    prompt: int
    completions: int
    tokens: int

    def __str__(self) -> str:
        return f"({self.prompt}, {self.completions}, {self.tokens})"

    @property
    def token_ideal(self) -> float:
        """How many times more tokens pass the layers without sharing."""
        apart = self.completions * (self.prompt + self.tokens)
        return apart / (self.prompt + self.completions * self.tokens)

    def arithmetic_ideal(self, model: OmniModel) -> float:
        """How many times more multiply-adds there are without sharing."""
        config = model.config.get_text_config()
        layers = model.decoder.layers
        weights = sum(p.numel() for p in layers.parameters() if p.dim() == 2)
        per_pair = 2 * config.hidden_size * config.num_hidden_layers  # a score, and its use
        head = self.completions * self.tokens * config.hidden_size * config.vocab_size
        own = self.completions * self.tokens**2 / 2
        row = self.prompt + self.tokens
        apart = self.completions * (row * weights + row**2 / 2 * per_pair) + head
        pairs = self.prompt**2 / 2 + self.completions * self.tokens * self.prompt + own
        shared = (self.prompt + self.completions * self.tokens) * weights + pairs * per_pair + head
        return float(apart / shared)


SHAPES = (Shape(512, 8, 64), Shape(1024, 8, 128), Shape(2048, 8, 256))


class Update:
    """One group and a model, and the ways to its gradients."""

    def __init__(self, hidden_size: int, shape: Shape) -> None:
        heads = hidden_size // HEAD_SIZE
        config = TinyConfig(hidden_size=hidden_size, num_heads=heads, num_key_value_heads=heads)
        tokenizer = build_tokenizer()
        self.model = OmniModel(
            build_thinker(tokenizer, config, seed=0),
            build_processor(tokenizer, config),
            family_for("qwen2_5_omni_thinker"),
        )
        self.shape = shape
        generator = torch.Generator().manual_seed(0)
        words = torch.tensor(sorted({*range(len(tokenizer))} - {*self.model.banned_ids.tolist()}))
        drawn = torch.randint(
            len(words), (shape.completions, shape.prompt + shape.tokens), generator=generator
        )
        drawn[:, : shape.prompt] = drawn[0, : shape.prompt]
        self.rows_GS = words[drawn]
        self.packed = self._pack()

    def share(self, attention: Attention) -> float:
        """Forward and backward of one row; the mean log-prob."""
        set_attention(self.model.thinker, attention)
        logps_N = self.model(**self.packed.model_inputs()).logps_N
        return self._backward(logps_N)

    def repeat(self, rows: int) -> float:
        """Forward and backward of one naive micro-batch; the mean log-prob of its completions."""
        size = self.shape.prompt
        ids_BS = self.rows_GS[:rows]
        output = self.model.decoder(
            input_ids=ids_BS,
            position_ids=torch.arange(ids_BS.shape[1]).expand(3, rows, -1),
            use_cache=False,
        )
        states_NH = output.last_hidden_state[:, size - 1 : -1].flatten(0, 1)
        return self._backward(self.model.score(states_NH, ids_BS[:, size:].flatten()).logps_N)

    def _pack(self) -> PackedBatch:
        size = self.shape.prompt
        prompt = Prompt(
            self.rows_GS[0, :size], torch.arange(size).expand(3, -1), torch.tensor(size), {}
        )
        completions = self.rows_GS[:, size:].tolist()
        return pack([prompt], [completions], self.model.pad_token_id, self.model.family)

    def _backward(self, logps_N: Tensor) -> float:
        mean = logps_N.mean()
        (-mean).backward()
        return mean.item()

    def ways(self) -> dict[str, tuple[Callable[[], float], float]]:
        """Each way by name, and how often it has to be gone for the whole group."""
        naive = {
            f"naive {rows}": (partial(self.repeat, rows), self.shape.completions / rows)
            for rows in MICRO_BATCHES
        }
        shared = {way.value: (partial(self.share, way), 1.0) for way in reversed(Attention)}
        return {**naive, **shared}

    def time(self, rounds: int) -> dict[str, list[float]]:
        """CPU seconds of the whole group, each way, round by round; one more round warms up."""
        ways = self.ways()
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(rounds + 1):
            for name, (go, times) in alternate(list(ways.items()), number):
                self.model.zero_grad(set_to_none=True)
                begun = process_time()
                go()
                seconds[name].append((process_time() - begun) * times)
        return {name: values[1:] for name, values in seconds.items()}


def run(rounds: int) -> Record:
    """Measure every shape at every hidden size."""
    torch.set_num_threads(1)
    return {
        "environment": environment(["triptych", "torch", "transformers"]),
        "rounds": rounds,
        "runs": [_run(hidden, shape, rounds) for hidden in HIDDEN_SIZES for shape in SHAPES],
    }


def _run(hidden_size: int, shape: Shape, rounds: int) -> Record:
    update = Update(hidden_size, shape)
    everything, shared = update.repeat(shape.completions), update.share(Attention.PREFIX)
    if abs(everything - shared) > 1e-4:
        raise AssertionError(f"{shape}: mean log-probs {everything} and {shared} differ")
    seconds = update.time(rounds)
    spreads = {name: Spread.of(values) for name, values in seconds.items()}
    naive = [name for name in seconds if name.startswith("naive")]
    best = min(naive, key=lambda name: spreads[name].median)
    return {
        "hidden_size": hidden_size,
        "shape": asdict(shape),
        "token_ideal": shape.token_ideal,
        "arithmetic_ideal": shape.arithmetic_ideal(update.model),
        "seconds": {name: asdict(spread) for name, spread in spreads.items()},
        "best_naive": best,
        "ratio": {
            way.value: asdict(
                MedianInterval.of([a / b for a, b in zip(seconds[best], seconds[way], strict=True)])
            )
            for way in Attention
        },
        "peak_mib": {
            name: _in_a_process(hidden_size, shape, name)
            for name in (f"naive {shape.completions}", *(way.value for way in Attention))
        },
    }


def _in_a_process(hidden_size: int, shape: Shape, way: str) -> float:
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(peak_mib, (hidden_size, shape, way))


def peak_mib(hidden_size: int, shape: Shape, way: str) -> float:
    """The most memory that one forward and backward takes, in a process that does nothing else."""
    torch.set_num_threads(1)
    update = Update(hidden_size, shape)
    go, _ = update.ways()[way]
    Update(hidden_size, Shape(16, 8, 2)).ways()[way][0]()  # what the libraries keep for themselves
    before = resident_mib()
    Path("/proc/self/clear_refs").write_text("5")  # forget the highest mark
    go()
    lines = Path("/proc/self/status").read_text().splitlines()
    highest = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    return highest / 2**10 - before


def report(record: Record) -> str:
    """A table of what `run` found."""
    header = [
        "hidden", "(P, G, C)", "naive s", "rows", "mask s", "prefix s", "mask x", "prefix x",
        "of tokens", "of arithmetic", "MiB naive 8", "mask", "prefix",
    ]  # fmt: skip
    rows = []
    for one in record["runs"]:
        shape, ratio = Shape(**one["shape"]), one["ratio"]["prefix"]["median"]
        seconds = {name: Spread(**spread) for name, spread in one["seconds"].items()}
        rows.append(
            [
                str(one["hidden_size"]),
                str(shape),
                str(seconds[one["best_naive"]]),
                one["best_naive"].removeprefix("naive "),
                str(seconds["mask"]),
                str(seconds["prefix"]),
                str(MedianInterval(**one["ratio"]["mask"])),
                str(MedianInterval(**one["ratio"]["prefix"])),
                f"{ratio / one['token_ideal']:.0%} of {one['token_ideal']:.2f}",
                f"{ratio / one['arithmetic_ideal']:.0%} of {one['arithmetic_ideal']:.2f}",
                *(f"{one['peak_mib'][name]:.0f}" for name in ("naive 8", "mask", "prefix")),
            ]
        )
    return markdown(header, rows)


def main() -> None:
    """Run it, print the table, write the JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.update", description="What the shared prefix saves in an update"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/update.json"))
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    stay_on_one_core()
    record = run(options.rounds)
    write_json(options.out, record)
    print(report(record))
    print(f"\nWritten to {options.out}")


if __name__ == "__main__":
    main()
