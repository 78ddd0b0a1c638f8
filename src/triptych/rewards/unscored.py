"""When rewards that could not be scored stop a run.

Shapes: N groups, K rewards.
"""

from collections import Counter
from typing import TYPE_CHECKING

from triptych.rewards.base import RewardError, RewardTable, Unscored

if TYPE_CHECKING:
    from torch import Tensor


def refuse_unscored(table: RewardTable, weights_N1K: "Tensor", most: float) -> None:
    """Stop a run whose rewards are missing.

    A judge that is down, or data without references, would otherwise train on whatever rewards
    are left. That a reward does not apply to a kind of sample is no failure; and where a reward has
    no weight, at this step or for this source, it may be missing.

    Args:
        table: rewards of the completions of N groups, in order.
        weights_N1K: the weights of each group.
        most: the largest share that may be missing.

    Raises:
        RewardError: a reward is missing for more than the share `most` of the completions for
            which it has a weight.
    """
    counts_NK = weights_N1K[:, 0] > 0
    size = len(table) // len(counts_NK)
    for k, name in enumerate(table.names):
        asked = [g for g in range(len(table)) if counts_NK[g // size, k]]
        reasons = Counter(
            table.reasons.get((g, k), Unscored.UNEXPLAINED)
            for g in asked
            if table.values_GK[g][k] is None
        )
        del reasons[Unscored.NOT_APPLICABLE]
        missing = reasons.total()
        if missing > most * len(asked):
            why = ", ".join(f"{reason} {count}" for reason, count in reasons.items())
            raise RewardError(
                f"reward {name!r}: {missing} of {len(asked)} completions of a step could not be "
                f"scored ({why}), more than max_unscored_share = {most}; mend the cause, raise the "
                "share, or set the reward's weight to 0"
            )
