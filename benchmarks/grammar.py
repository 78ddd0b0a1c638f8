"""What it costs to hold a model to the format: masks beside those of peers, and the decode loop.

    make bench-grammar

*Masks.* Eight completions that Triptych's grammar allows are replayed by it and by its peers, step
by step, in alternating order. A *checked* step checks a token of each completion and goes on; the
engine does no more, unless a draw is refused. A *masked* step also sets what is not allowed to -inf
in logits (8, V). *Cold* steps are masked ones right after the grammar was compiled.

*Loop.* The whole decode loop of the engine, eight sequences on the tiny model, enforced and not;
the two take turns step by step. The *fluent* model keeps the format by itself: its head is made to
prefer valid completions, so both write the same tokens. The *untrained* one writes noise, of which
much is refused. Steps count as far as both went.

Times are wall times on one core, one thread at a time, after a warm-up.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch

from benchmarks.completions import ROWS, SEED, Length
from benchmarks.grammar_loop import measure_loops
from benchmarks.grammar_masks import measure_masks
from benchmarks.harness import (
    MedianInterval,
    Spread,
    environment,
    figure,
    markdown,
    stay_on_one_core,
    write_json,
)
from benchmarks.vocabulary import LARGE, large_tokenizer
from triptych.models.tiny import build_tokenizer

MOST_RATIO = 1.03
"""Target of the loop with the tiny vocabulary: a step enforced to one that is not."""
MOST_ADDED_MS = 2.0
"""Target of the loop with the large vocabulary: what enforcing adds to a step."""

Record: TypeAlias = dict[str, Any]

_PACKAGES = ("triptych", "torch", "transformers", "tokenizers", "numpy")


@dataclass(frozen=True)
class Sizes:
    """How much is measured. A step takes ten to thirty times as long with the large vocabulary."""

    large_vocabulary: int = LARGE
    length: Length = Length(stage_tokens=60)
    large_length: Length = Length(stage_tokens=24)
    """In the loop with the large vocabulary."""
    compilations: int = 5
    replays: int = 10
    pairs: int = 30
    large_pairs: int = 15


def run(sizes: Sizes) -> Record:
    """Measure everything; the record is plain JSON."""
    torch.set_num_threads(1)
    tiny, large = build_tokenizer(), large_tokenizer(sizes.large_vocabulary)
    masks = [
        measure_masks(tokenizer, sizes.length, sizes.compilations, sizes.replays)
        for tokenizer in (tiny, large)
    ]
    tiny_loops = measure_loops(tiny, sizes.length, sizes.pairs)
    large_loops = measure_loops(large, sizes.large_length, sizes.large_pairs)
    loops = [
        *(_judged(loop, "ratio", MOST_RATIO) for loop in tiny_loops),
        *(_judged(loop, "added_ms", MOST_ADDED_MS) for loop in large_loops),
    ]
    return {
        "benchmark": "grammar",
        "environment": environment(_PACKAGES),
        "seed": SEED,
        "sizes": asdict(sizes),
        "masks": masks,
        "loops": loops,
    }


def _judged(loop: Record, figure: str, most: float) -> Record:
    return loop | {"target": {figure: most}, "verdict": verdict(loop[figure], most)}


def verdict(interval: Mapping[str, float], most: float) -> str:
    """Whether a target is met, as far as the interval tells."""
    if interval["high"] <= most:
        return "met"
    return "missed" if interval["low"] > most else "not certain"


def report(record: Record) -> str:
    """The figures as Markdown."""
    parts = []
    for masks in record["masks"]:
        parts += [
            f"Masks, {masks['vocabulary']:,} tokens, batch {masks['rows']}, "
            f"{masks['steps']} steps: medians (quartiles)",
            _mask_table(masks["competitors"]),
        ]
    parts += [
        "\n".join(
            f"* {one['name']}: gets {one['given']}, enforces {one['enforces']}."
            for one in record["masks"][0]["competitors"]
        ),
        f"Decode loop, batch {ROWS}, ms per step: medians (quartiles; 95% intervals)",
        _loop_table(record["loops"]),
    ]
    return "\n\n".join(parts)


def _mask_table(competitors: Sequence[Record]) -> str:
    header = ["", "checked, us", "masked, us", "masked, p99", "slowest cold, ms", "all cold, ms"]
    header += ["tokenizer, ms", "grammar, ms", "memory, MiB"]
    rows = []
    for one in competitors:
        if "missing" in one:
            rows.append([one["name"], one["missing"], *[""] * (len(header) - 2)])
            continue
        spreads = {name: Spread(**value) for name, value in one.items() if isinstance(value, dict)}
        rows.append(
            [
                f"{one['name']} {one['version']}",
                str(spreads["checked_us"]),
                str(spreads["masked_us"]),
                figure(spreads["masked_us"].p99),
                figure(spreads["cold_worst_ms"].median),
                figure(spreads["cold_all_ms"].median),
                figure(spreads["tokenizer_ms"].median),
                figure(spreads["grammar_ms"].median),
                f"{one['memory_mib']:.0f}",
            ]
        )
    return markdown(header, rows)


def _loop_table(loops: Sequence[Record]) -> str:
    header = ["model", "tokens", "temperature", "refused", "off", "stages", "ratio"]
    header += ["added", "target", ""]
    rows = [
        [
            loop["model"],
            f"{loop['vocabulary']:,}",
            f"{loop['temperature']:g}",
            f"{loop['refused']:.0%}",
            str(Spread(**loop["off_ms"])),
            str(Spread(**loop["stages_ms"])),
            str(MedianInterval(**loop["ratio"])),
            str(MedianInterval(**loop["added_ms"])),
            ", ".join(f"{name} <= {most:g}" for name, most in loop["target"].items()),
            loop["verdict"],
        ]
        for loop in loops
    ]
    return markdown(header, rows)


def main() -> None:
    """Run all of it, print the tables, write the JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.grammar",
        description="What it costs to hold a model to the format",
    )
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/grammar.json"))
    out: Path = parser.parse_args().out
    stay_on_one_core()
    record = run(Sizes())
    write_json(out, record)
    print(report(record))
    print(f"\nWritten to {out}")


if __name__ == "__main__":
    main()
