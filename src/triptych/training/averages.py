"""Metrics between two log lines."""

from collections import defaultdict

from accelerate.utils import gather_object
from torch import Tensor


class Averages:
    """Sums and counts of metrics since the last log line; the same metrics on every rank add up."""

    def __init__(self) -> None:
        self._sums: dict[str, tuple[float | Tensor, float | Tensor]] = {}

    def add(self, name: str, total: float | Tensor, count: float | Tensor = 1.0) -> None:
        """Count `total` as the sum of `count` values.

        Tensors stay on their device until `drain`: reading them here would make every micro-batch
        wait for the accelerator.
        """
        old_total, old_count = self._sums.get(name, (0.0, 0.0))
        self._sums[name] = (old_total + total, old_count + count)

    def drain(self) -> dict[str, float]:
        """The means over all ranks; begins anew. Every rank must call it."""
        own = {name: (float(total), float(count)) for name, (total, count) in self._sums.items()}
        self._sums.clear()
        merged: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        for one in gather_object([own]):
            for name, (total, count) in one.items():
                merged[name][0] += total
                merged[name][1] += count
        return {name: total / count for name, (total, count) in merged.items() if count}
