"""What was asked of a server so far, and what it cost."""

from dataclasses import dataclass, replace
from typing import Self

from triptych.endpoint.config import EndpointConfig
from triptych.endpoint.reply import Reply


@dataclass(frozen=True, kw_only=True)
class EndpointUsage:
    """What was asked of a server so far.

    Attributes:
        requests: HTTP requests sent, retries included.
        retries: how often an item was asked again.
        prompt_tokens: of all replies, good or bad.
        completion_tokens: of all replies, good or bad.
        uncounted: replies whose tokens the server did not count; the cost is without them.
        cost: in the currency of the prices; None where they are not set.
    """

    requests: int = 0
    retries: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    uncounted: int = 0
    cost: float | None = None

    def plus(self, **counts: int) -> Self:
        """With these counts added, by name."""
        return replace(self, **{name: getattr(self, name) + n for name, n in counts.items()})

    def plus_reply(self, reply: Reply) -> Self:
        """With the tokens of a reply."""
        if reply.prompt_tokens is None or reply.completion_tokens is None:
            return self.plus(uncounted=1)
        return self.plus(
            prompt_tokens=reply.prompt_tokens, completion_tokens=reply.completion_tokens
        )

    def priced(self, config: EndpointConfig) -> Self:
        """With the cost, where the config has prices."""
        if config.input_price is None or config.output_price is None:
            return self
        millionths = (
            self.prompt_tokens * config.input_price + self.completion_tokens * config.output_price
        )
        return replace(self, cost=millionths / 1e6)

    @property
    def request_words(self) -> str:
        """The requests, in words."""
        return f"{self.requests} requests ({self.retries} of them retries)"

    @property
    def token_words(self) -> str:
        """The tokens and their cost, in words."""
        uncounted = f" ({self.uncounted} replies without a count)" if self.uncounted else ""
        cost = "" if self.cost is None else f", cost {self.cost:.4g}"
        return f"{self.prompt_tokens} + {self.completion_tokens} tokens{uncounted}{cost}"

    def __str__(self) -> str:
        return f"{self.request_words}; {self.token_words}"
