"""What an update costs as groups, prompts and completions grow: P + G C tokens, or G (P + C)?

    make bench-slopes

One of P (prompt tokens), G (completions) and C (tokens of each) varies at a time around
(1024, 8, 128); hidden size 256, one prompt, forward and backward, CPU time of one thread. Shared is
the packed row; naive is the prompt before every completion, in micro-batches of one row, which is
the fastest on a CPU (`benchmarks/update.py` tries others). Its rows are alike, so one is timed and
counted G times.

Times of both are fitted by straight lines over two counts of tokens: those that pass the layers
where the prompt is shared, P + G C, and where it is not, G (P + C). If sharing does what it says,
the first explains the shared times and the second the naive ones, and not the other way round.
Attention grows faster than tokens, with P (P / 2 + G C) pairs: what no line of tokens explains.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from time import process_time
from typing import Any, TypeAlias

import numpy as np
import torch

from benchmarks.harness import (
    MedianInterval,
    Spread,
    alternate,
    environment,
    figure,
    markdown,
    stay_on_one_core,
    write_json,
)
from benchmarks.slopes_chart import chart
from benchmarks.update import Shape, Update
from triptych.models.prefix_attention import Attention

Record: TypeAlias = dict[str, Any]

WAYS = ("naive", "shared")


@dataclass(frozen=True)
class Sweep:
    """What is varied around the middle."""

    middle: Shape = Shape(1024, 8, 128)
    prompts: tuple[int, ...] = (256, 512, 1024, 2048, 4096)
    completions: tuple[int, ...] = (2, 4, 8, 16)
    tokens: tuple[int, ...] = (32, 64, 128, 256, 512)
    hidden: int = 256
    rounds: int = 5

    def shapes(self) -> Iterator[tuple[str, Shape]]:
        """Each shape with the letter of what it varies; the middle comes for each letter."""
        for letter, name in (("P", "prompt"), ("G", "completions"), ("C", "tokens")):
            values = {"P": self.prompts, "G": self.completions, "C": self.tokens}[letter]
            for value in values:
                yield letter, replace(self.middle, **{name: value})


def shared_tokens(shape: Shape) -> int:
    """Tokens that pass the layers where the prompt is shared."""
    return shape.prompt + shape.completions * shape.tokens


def naive_tokens(shape: Shape) -> int:
    """Tokens that pass them where it is not."""
    return shape.completions * (shape.prompt + shape.tokens)


COUNTS = {"P + G C": shared_tokens, "G (P + C)": naive_tokens}


def run(sweep: Sweep) -> Record:
    """Time every shape once, however often it is named; fit the lines."""
    torch.set_num_threads(1)
    named = list(sweep.shapes())
    seconds = {
        shape: _time(Update(sweep.hidden, shape), sweep.rounds)
        for shape in dict.fromkeys(shape for _, shape in named)
    }
    medians = {way: [float(np.median(of[way])) for of in seconds.values()] for way in WAYS}
    return {
        "environment": environment(["triptych", "torch", "transformers"]),
        "hidden_size": sweep.hidden,
        "rounds": sweep.rounds,
        "points": [_point(letter, shape, seconds[shape]) for letter, shape in named],
        "fits": [
            {"way": way, "tokens": name} | asdict(Line.of(list(map(count, seconds)), medians[way]))
            for way in WAYS
            for name, count in COUNTS.items()
        ],
    }


def _time(update: Update, rounds: int) -> dict[str, list[float]]:
    """CPU seconds of the whole group, each way, round by round; one more round warms up."""
    ways: dict[str, tuple[Callable[[], float], int]] = {
        "naive": (partial(update.repeat, 1), update.shape.completions),
        "shared": (partial(update.share, Attention.PREFIX), 1),
    }
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for number in range(rounds + 1):
        for way in alternate(WAYS, number):
            go, times = ways[way]
            update.model.zero_grad(set_to_none=True)
            begun = process_time()
            go()
            seconds[way].append((process_time() - begun) * times)
    return {way: values[1:] for way, values in seconds.items()}


def _point(letter: str, shape: Shape, seconds: dict[str, list[float]]) -> Record:
    pairs = zip(seconds["naive"], seconds["shared"], strict=True)
    return {
        "varied": letter,
        "shape": asdict(shape),
        "seconds": {way: asdict(Spread.of(values)) for way, values in seconds.items()},
        "ratio": asdict(MedianInterval.of([naive / shared for naive, shared in pairs])),
        "token_ideal": shape.token_ideal,
    }


@dataclass(frozen=True)
class Line:
    """A straight line through times: of least squares, and the share of variance it explains."""

    ms_per_1000_tokens: float
    ms_at_0: float
    r_squared: float

    @classmethod
    def of(cls, tokens: Sequence[int], seconds: Sequence[float]) -> "Line":
        slope, start = np.polyfit(tokens, seconds, 1).tolist()
        left = np.subtract(seconds, np.polyval((slope, start), tokens))
        explained = 1 - float(left @ left) / float(len(seconds) * np.var(seconds))
        return cls(1e6 * slope, 1e3 * start, explained)


def report(record: Record) -> str:
    """Tables of what `run` found."""
    points = [
        [
            point["varied"],
            str(Shape(**point["shape"])),
            *(f"{count(Shape(**point['shape'])):,}" for count in COUNTS.values()),
            *(str(Spread(**point["seconds"][way])) for way in reversed(WAYS)),
            str(MedianInterval(**point["ratio"])),
            f"{point['token_ideal']:.2f}",
        ]
        for point in record["points"]
    ]
    fits = [
        [
            fit["way"],
            fit["tokens"],
            figure(fit["ms_per_1000_tokens"]),
            figure(fit["ms_at_0"]),
            f"{fit['r_squared']:.3f}",
        ]
        for fit in record["fits"]
    ]
    header = ["varied", "(P, G, C)", *COUNTS, "shared s", "naive s", "naive / shared", "of tokens"]
    lines = ["times of", "over tokens", "ms per 1,000 tokens", "ms at 0", "R squared"]
    return f"{markdown(header, points)}\n\n{markdown(lines, fits)}"


def main() -> None:
    """Run it, print the tables, write the JSON and the chart."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.slopes", description="What an update costs as its parts grow"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/slopes.json"))
    parser.add_argument("--rounds", type=int, default=Sweep().rounds)
    options = parser.parse_args()
    stay_on_one_core()
    record = run(Sweep(rounds=options.rounds))
    write_json(options.out, record)
    drawing = options.out.with_suffix(".svg")
    drawing.write_text(chart(record["points"]), encoding="utf-8")
    print(report(record))
    print(f"\nWritten to {options.out} and {drawing}")


if __name__ == "__main__":
    main()
