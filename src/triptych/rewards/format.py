"""The format reward: whether a completion is exactly its stages, in order, and nothing else."""

from collections.abc import Sequence
from typing import Any

from triptych.rewards.base import staged


def format_reward(prompts: Sequence[Any], completions: Sequence[Any], **_: Any) -> list[float]:
    """1.0 for a completion without a violation of the format, else 0.0.

    There is no partial credit. A completion with one violation is no more usable than one with
    three: its stages cannot be told apart, so no other reward can be assigned to its tokens. And
    partial credit would pay for whichever tags are easiest to emit, in any order.
    """
    return [float(staged(completion).valid) for completion in completions]
