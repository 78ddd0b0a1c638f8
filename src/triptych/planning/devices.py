"""What devices can do: published rates of GPUs, and a short measurement of this machine's CPU."""

import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median

import psutil
import torch
from torch import Tensor
from torch.nn.functional import linear, scaled_dot_product_attention

from triptych.errors import ConfigError
from triptych.planning.sizes import ModelSizes

GB = 10**9


@dataclass(frozen=True)
class Device:
    """Rates of one device.

    Attributes:
        name: as it is asked for.
        memory: bytes.
        products: multiply-adds of matrices count twice: operations per second, by rows of the
            batch, from few rows to many.
        attention: the same, of attention.
        bandwidth: bytes per second that elementwise operations read and write.
        call: seconds that an operation of a model takes which computes nearly nothing.
        link: bytes per second between devices.
        measured: here; otherwise the rates are those of the data sheet, times what training
            usually reaches of them.
    """

    name: str
    memory: int
    products: tuple[tuple[int, float], ...]
    attention: float
    bandwidth: float
    call: float
    link: float
    measured: bool = False

    def rate(self, rows: float) -> float:
        """Operations per second of a matrix product with so many rows."""
        at = bisect_left(self.products, rows, key=lambda one: one[0])
        if at == 0:
            return self.products[0][1] * rows / self.products[0][0]
        if at == len(self.products):
            return self.products[-1][1]
        (few, slow), (many, fast) = self.products[at - 1 : at + 1]
        share = (rows - few) / (many - few)
        return slow + share * (fast - slow)


_REACHED = 0.5
"""Share of the data sheet's bf16 rate that matrix products of training reach."""
_STREAMED = 0.8
"""Share of its memory bandwidth that is reached."""
_CALL = 8e-6
"""Seconds that Python and the launch of a kernel take."""


def _gpu(name: str, memory: float, teraflops: float, bandwidth: float, link: float) -> Device:
    rate = teraflops * 1e12 * _REACHED
    # Below `full` rows the weights are read for nothing much: the product runs at memory speed.
    full = max(1, int(teraflops * 1e12 / (bandwidth * GB)))
    return Device(
        name, int(memory * GB), ((full, rate),), rate / 2, bandwidth * GB * _STREAMED, _CALL,
        link * GB,
    )  # fmt: skip


GPUS = {
    one.name: one
    for one in (
        # Memory in GB, dense bf16 TFLOPS, GB/s of memory, GB/s of the link in one direction: the
        # vendor's data sheets of the SXM boards, and of the GeForce.
        _gpu("a100", 80, 312, 2039, 300),
        _gpu("h100", 80, 989, 3350, 450),
        _gpu("h200", 141, 989, 4800, 450),
        _gpu("rtx4090", 24, 165, 1008, 25),
    )
}


def device_named(name: str, sizes: ModelSizes, tokens: int = 1024) -> Device:
    """A GPU by name, or the CPU of this machine, measured at the sizes of the model.

    Args:
        name: cpu, or one of `GPUS`.
        sizes: of the model.
        tokens: of a prompt.

    Raises:
        ConfigError: it is not known.
    """
    if name == "cpu":
        return measure_cpu(sizes, tokens)
    if name not in GPUS:
        raise ConfigError(f"device {name} is not known; use one of cpu, {', '.join(GPUS)}")
    return GPUS[name]


_ROWS = (1, 8, 32, 128, 512)
_COLD = 1 << 26
"""Bytes that no cache of a core holds. In a step weights come from memory, and so do states."""


_IN_A_MODEL = 5
"""Times a bare addition that an operation takes inside a model: modules, views and keywords around
it. Calibrated on decoding with hidden size 64, of 2 and of 6 layers."""


def measure_cpu(sizes: ModelSizes, tokens: int = 1024) -> Device:
    """A few seconds of matrix products, attention and additions, in fp32.

    Products have the shape of the model's feed-forward, up to a bound, and go from one weight to
    the next; attention is causal, over as many tokens as a prompt has; sums go to memory that was
    not used before.
    """
    tokens = max(16, min(tokens, 4096))
    hidden, inner = min(sizes.hidden, 2048), min(sizes.inner, 4096)
    weights = [torch.randn(inner, hidden) for _ in range(1 + _COLD // (4 * hidden * inner))]
    products = []
    for rows in _ROWS:
        states = torch.randn(rows, hidden)
        once = weights if rows < _ROWS[-1] else weights[:2]
        seconds = _seconds(partial(_multiply, states, once)) / len(once)
        products.append((rows, 2 * rows * hidden * inner / seconds))
    size = sizes.queries // sizes.heads
    query = torch.randn(1, sizes.heads, tokens, size)
    attend = partial(scaled_dot_product_attention, query, query, query, is_causal=True)
    stream = torch.randn(1024, hidden)
    count = 1 + _COLD // stream.nbytes
    small = torch.zeros(8)
    return Device(
        name="cpu",
        memory=psutil.virtual_memory().total,
        products=tuple(products),
        attention=2 * sizes.queries * tokens**2 / _seconds(attend),
        bandwidth=3 * stream.nbytes * count / _seconds(partial(_add, stream, count)),
        call=_IN_A_MODEL * _seconds(partial(_add, small, 1000)) / 1000,
        link=GB,
        measured=True,
    )


def _multiply(states: Tensor, weights: Sequence[Tensor]) -> None:
    for weight in weights:
        linear(states, weight)


def _add(stream: Tensor, count: int) -> None:
    kept = [stream + stream for _ in range(count)]
    kept.clear()


@torch.no_grad()
def _seconds(run: Callable[[], object]) -> float:
    """CPU seconds of a call; the median of several bouts."""
    run()
    begun = time.process_time()
    run()
    repeats = max(1, int(0.02 / max(1e-6, time.process_time() - begun)))
    bouts = []
    for _ in range(5):
        begun = time.process_time()
        for _ in range(repeats):
            run()
        bouts.append((time.process_time() - begun) / repeats)
    return median(bouts)
