"""What a judge has done so far, and what it cost."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from triptych.endpoint import EndpointUsage
from triptych.rewards.base import Unscored


@dataclass(frozen=True, kw_only=True)
class JudgeUsage(EndpointUsage):
    """What a judge has done so far.

    Attributes:
        scored: items scored by a reply.
        unscored: items that got no score, by reason.
        cache_hits: items whose score was found in the cache.
        shared: items that were the same as one being asked at that moment.
        flagged: items whose text addresses the judge.
    """

    scored: int = 0
    unscored: Mapping[Unscored, int] = field(default_factory=dict)
    cache_hits: int = 0
    shared: int = 0
    flagged: int = 0

    def __str__(self) -> str:
        unscored = "".join(f", {count} {reason}" for reason, count in self.unscored.items())
        return (
            f"{self.scored} items scored by {self.request_words}{unscored}, {self.cache_hits} "
            f"found in the cache, {self.shared} shared, {self.flagged} flagged; {self.token_words}"
        )
