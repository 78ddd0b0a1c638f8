"""The rewards of a step of all processes, judged as those of one would be.

Shapes: N groups of this process, K rewards.
"""

from collections.abc import Sequence

import torch
from accelerate.utils import gather_object
from torch import Tensor

from triptych.rewards.base import RewardTable, Unscored
from triptych.rewards.unscored import refuse_unscored


def refuse_unscored_step(table: RewardTable, weights_N1K: Tensor, most: float) -> None:
    """See `refuse_unscored`, for the completions of all processes: all stop, or none.

    All processes must call it, each with its own completions.

    Raises:
        RewardError: too many of them could not be scored.
    """
    parts = gather_object([(table, weights_N1K)])
    everything = _joined([of_process for of_process, _ in parts])
    refuse_unscored(everything, torch.cat([weights for _, weights in parts]), most)


def _joined(tables: Sequence[RewardTable]) -> RewardTable:
    """One table of the completions of all of them, in their order."""
    rows = [row for table in tables for row in table.values_GK]
    reasons: dict[tuple[int, int], Unscored] = {}
    first = 0
    for table in tables:
        reasons |= {(first + g, k): reason for (g, k), reason in table.reasons.items()}
        first += len(table)
    return RewardTable(tables[0].names, rows, reasons)
