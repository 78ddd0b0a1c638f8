"""An update beside prefix-grouper, which shares prompts in GRPO as well (PyPI 0.0.1.post1).

    make bench-update-peer

The model, the group and the head are those of `benchmarks.update`, at one shape. Before each
attention prefix-grouper cuts a row into its prompt and its completions, and repeats the keys and
values of the prompt for every completion; after it, it puts the row together again. The attention
itself is the caller's: here torch's sdpa, causal for the prompt, and for the completions under one
mask, since all are equally long and nothing is padded.

All ways give the same mean log-prob and the same gradients, or nothing is timed. Times are the CPU
time of one thread; the ratios are taken round by round.
"""

import argparse
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from time import process_time
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.bias import causal_lower_right
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface

from benchmarks.harness import (
    MedianInterval,
    Spread,
    alternate,
    environment,
    markdown,
    stay_on_one_core,
    write_json,
)
from benchmarks.update import Record, Shape, Update
from triptych.models.prefix_attention import Attention

SHAPE = Shape(1024, 8, 128)
HIDDEN_SIZE = 256
PEER = "prefix-grouper"


class PeerUpdate(Update):
    """The same group, also in the way of prefix-grouper."""

    def __init__(self, hidden_size: int, shape: Shape) -> None:
        super().__init__(hidden_size, shape)
        from prefix_grouper import PrefixGrouper

        lengths = [shape.prompt, *[shape.tokens] * shape.completions]
        self.grouper = PrefixGrouper([lengths], padding_mode="right")
        AttentionInterface.register(PEER, self._attention)
        AttentionMaskInterface.register(PEER, _no_mask)

    def peer(self) -> float:
        """Forward and backward of one row; the mean log-prob."""
        self.model.thinker.set_attn_implementation({"text_config": PEER})
        inputs = self.packed.model_inputs()
        output = self.model.decoder(
            input_ids=inputs["input_ids_L"][None],
            position_ids=inputs["position_ids_3L"][:, None],
            use_cache=False,
        )
        states_NH = output.last_hidden_state[0][inputs["source_N"]]
        return self._backward(self.model.score(states_NH, inputs["targets_N"]).logps_N)

    def gradients(self, go: Callable[[], float]) -> tuple[float, list[Tensor]]:
        """What a way comes to."""
        self.model.zero_grad(set_to_none=True)
        mean = go()
        parameters = self.model.decoder.parameters()
        return mean, [one.grad.clone() for one in parameters if one.grad is not None]

    def _attention(
        self, module: Any, query: Tensor, key: Tensor, value: Tensor, mask: None, **_: Any
    ) -> tuple[Tensor, None]:
        return self.grouper.forward(_sdpa, query, key, value), None


def _sdpa(query: Tensor, key: Tensor, value: Tensor, padding: Tensor) -> Tensor:
    """Attention to what stands before, in one row or behind the prompt: (B, L, H, D)."""
    bias = causal_lower_right(query.shape[2], key.shape[2])
    return scaled_dot_product_attention(query, key, value, attn_mask=bias).transpose(1, 2)


def _no_mask(*_: Any, **__: Any) -> None:
    """prefix-grouper looks at no mask but its own."""


def run(rounds: int, hidden_size: int = HIDDEN_SIZE, shape: Shape = SHAPE) -> Record:
    """Measure it."""
    torch.set_num_threads(1)
    update = PeerUpdate(hidden_size, shape)
    ways: dict[str, Callable[[], float]] = {
        **{way.value: partial(update.share, way) for way in Attention},
        PEER: update.peer,
    }
    mean, gradients = update.gradients(ways[Attention.PREFIX])
    for name, go in ways.items():
        other, others = update.gradients(go)
        worst = max(
            float((a - b).norm() / a.norm()) for a, b in zip(gradients, others, strict=True)
        )
        if abs(mean - other) > 1e-4 or worst > 1e-3:
            raise AssertionError(f"{name}: mean {other} for {mean}, gradients differ by {worst}")
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds):
        for name, go in alternate(list(ways.items()), number):
            update.model.zero_grad(set_to_none=True)
            begun = process_time()
            go()
            seconds[name].append(process_time() - begun)
    ours = seconds[Attention.PREFIX]
    return {
        "environment": environment(["triptych", "torch", "transformers", PEER]),
        "rounds": rounds,
        "hidden_size": hidden_size,
        "shape": asdict(shape),
        "seconds": {name: asdict(Spread.of(values)) for name, values in seconds.items()},
        "ratio": {
            name: asdict(MedianInterval.of([a / b for a, b in zip(values, ours, strict=True)]))
            for name, values in seconds.items()
            if name != Attention.PREFIX
        },
    }


def report(record: Record) -> str:
    """A table of what `run` found."""
    rows = [
        [
            name,
            str(Spread(**spread)),
            str(MedianInterval(**record["ratio"][name])) if name in record["ratio"] else "1",
        ]
        for name, spread in record["seconds"].items()
    ]
    return markdown(["way", "CPU s", "times ours"], rows)


def main() -> None:
    """Run it, print the table, write the JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.update_peer", description="An update beside prefix-grouper"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/update_peer.json"))
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    stay_on_one_core()
    record = run(options.rounds)
    write_json(options.out, record)
    print(report(record))
    print(f"\nWritten to {options.out}")


if __name__ == "__main__":
    main()
