"""Metrics between two log lines."""

import math
from collections.abc import Iterable, Mapping

from accelerate.utils import gather_object
from torch import Tensor


class Averages:
    """Means and correlations since the last log line; the same ones on every rank add up."""

    def __init__(self) -> None:
        self._sums: dict[str, tuple[float | Tensor, ...]] = {}
        self._products: dict[str, tuple[float | Tensor, ...]] = {}

    def add(self, name: str, total: float | Tensor, count: float | Tensor = 1.0) -> None:
        """Count `total` as the sum of `count` values.

        Tensors stay on their device until `drain`: reading them here would make every micro-batch
        wait for the accelerator.
        """
        self._sums[name] = _added(self._sums.get(name), (total, count))

    def add_products(
        self, name: str, xy: float | Tensor, xx: float | Tensor, yy: float | Tensor
    ) -> None:
        """Add to a correlation what some pairs of values give: the sums of their products.

        Args:
            name: of the metric.
            xy: sum of x * y, both without their means.
            xx: sum of the squares of x.
            yy: sum of the squares of y.
        """
        self._products[name] = _added(self._products.get(name), (xy, xx, yy))

    def drain(self) -> dict[str, float]:
        """The metrics over all ranks; begins anew. Every rank must call it.

        A mean of nothing, and a correlation with what does not vary, is left out.
        """
        own = (_floats(self._sums), _floats(self._products))
        self._sums.clear()
        self._products.clear()
        gathered = gather_object([own])
        sums = _merged(sums for sums, _ in gathered)
        products = _merged(products for _, products in gathered)
        means = {name: total / count for name, (total, count) in sums.items() if count}
        # The product of two small squares would underflow; rounding leaves 1 + 2e-16.
        correlations = {
            name: max(-1.0, min(1.0, xy / math.sqrt(xx) / math.sqrt(yy)))
            for name, (xy, xx, yy) in products.items()
            if xx > 0 and yy > 0
        }
        return means | correlations


def _added(
    old: tuple[float | Tensor, ...] | None, new: tuple[float | Tensor, ...]
) -> tuple[float | Tensor, ...]:
    return new if old is None else tuple(a + b for a, b in zip(old, new, strict=True))


def _floats(of: Mapping[str, Iterable[float | Tensor]]) -> dict[str, tuple[float, ...]]:
    return {name: tuple(float(part) for part in parts) for name, parts in of.items()}


def _merged(ranks: Iterable[Mapping[str, tuple[float, ...]]]) -> dict[str, tuple[float, ...]]:
    merged: dict[str, tuple[float, ...]] = {}
    for rank in ranks:
        for name, parts in rank.items():
            old = merged.get(name, (0.0,) * len(parts))
            merged[name] = tuple(map(sum, zip(old, parts, strict=True)))
    return merged
