"""Many comparisons at once: of twenty true nulls, one is below 0.05 by chance."""

from collections.abc import Sequence


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for their number, in the order they were given.

    The i-th smallest of m is multiplied by m - i + 1, and none is below a smaller one's: claiming
    what is then below alpha makes any false claim with probability alpha at most, however the
    tests depend on each other (Holm 1979).

    Raises:
        ValueError: a p-value is not within [0, 1].
    """
    if wrong := [p for p in p_values if not 0.0 <= p <= 1.0]:
        raise ValueError(f"{wrong[0]} is no p-value; it must lie within [0, 1]")
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    by_size = sorted(range(len(p_values)), key=p_values.__getitem__)
    for smaller, index in enumerate(by_size):
        largest = max(largest, min(1.0, (len(p_values) - smaller) * p_values[index]))
        adjusted[index] = largest
    return adjusted
