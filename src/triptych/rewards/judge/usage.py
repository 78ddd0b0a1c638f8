"""What a judge has done so far, and what it cost."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from triptych.rewards.base import Unscored
from triptych.rewards.judge.config import JudgeConfig
from triptych.rewards.judge.reply import Reply


@dataclass(frozen=True)
class JudgeUsage:
    """What a judge has done so far.

    Attributes:
        requests: HTTP requests sent, retries included.
        retries: how often an item was asked again.
        scored: items scored by a reply.
        unscored: items that got no score, by reason.
        cache_hits: items whose score was found in the cache.
        shared: items that were the same as one being asked at that moment.
        flagged: items whose text addresses the judge.
        prompt_tokens: of all replies, good or bad.
        completion_tokens: of all replies, good or bad.
        uncounted: replies whose tokens the server did not count; the cost is without them.
        cost: in the currency of the prices; None where they are not set.
    """

    requests: int = 0
    retries: int = 0
    scored: int = 0
    unscored: Mapping[Unscored, int] = field(default_factory=dict)
    cache_hits: int = 0
    shared: int = 0
    flagged: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    uncounted: int = 0
    cost: float | None = None

    def plus(self, **counts: int) -> "JudgeUsage":
        """With these counts added, by name."""
        return replace(self, **{name: getattr(self, name) + n for name, n in counts.items()})

    def plus_unscored(self, reason: Unscored) -> "JudgeUsage":
        """With an item more that got no score."""
        count = self.unscored.get(reason, 0) + 1
        return replace(self, unscored={**self.unscored, reason: count})

    def plus_reply(self, reply: Reply) -> "JudgeUsage":
        """With the tokens of a reply."""
        if reply.prompt_tokens is None or reply.completion_tokens is None:
            return self.plus(uncounted=1)
        return self.plus(
            prompt_tokens=reply.prompt_tokens, completion_tokens=reply.completion_tokens
        )

    def priced(self, config: JudgeConfig) -> "JudgeUsage":
        """With the cost, where the config has prices."""
        if config.input_price is None or config.output_price is None:
            return self
        millionths = (
            self.prompt_tokens * config.input_price + self.completion_tokens * config.output_price
        )
        return replace(self, cost=millionths / 1e6)

    def __str__(self) -> str:
        unscored = "".join(f", {count} {reason}" for reason, count in self.unscored.items())
        uncounted = f" ({self.uncounted} replies without a count)" if self.uncounted else ""
        cost = "" if self.cost is None else f", cost {self.cost:.4g}"
        return (
            f"{self.scored} items scored by {self.requests} requests ({self.retries} of them "
            f"retries){unscored}, {self.cache_hits} found in the cache, {self.shared} shared, "
            f"{self.flagged} flagged; {self.prompt_tokens} + {self.completion_tokens} tokens"
            f"{uncounted}{cost}"
        )
