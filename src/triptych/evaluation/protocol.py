"""What a published figure was measured with: prompt, media budget, longest answer, metric.

Scores move by more points with the protocol than with the method, so figures are only compared
with those of the same protocol. One that was published is a `Protocol`; see `published`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from triptych.data.media import MediaBudget
from triptych.data.messages import MessageBuilder
from triptych.data.sample import Sample

ItemMetric: TypeAlias = Callable[[Sample, str], float | None]
"""The score in [0, 1] of a completion; None where the protocol has no metric for the question."""


@dataclass(frozen=True)
class Protocol:
    """How a published evaluation asks and scores. Completions are greedy, and nothing is enforced.

    Attributes:
        name: what it is called.
        source: where it is published.
        messages: the prompt.
        media: how much of the media is shown.
        max_new_tokens: longest completion, in tokens.
        score: the metric of one item. Its mean over all items is the published figure.
    """

    name: str
    source: str
    messages: MessageBuilder
    media: MediaBudget
    max_new_tokens: int
    score: ItemMetric
