"""A description taken apart, so that parts can be left out, exchanged and put in other words."""

from collections.abc import Mapping, Sequence
from random import Random
from typing import Protocol, Self, TypeAlias

Exchanges: TypeAlias = Mapping[str, Sequence[str]]
"""A word, in lower case, and the words that exclude it."""


class Draft(Protocol):
    """A description as parts."""

    def drops(self) -> Sequence[Self]:
        """Without one of its parts; one draft for each that can go."""

    def swaps(self, exchanges: Exchanges) -> Sequence[Self]:
        """With one attribute exchanged; one draft for each exchange that is possible."""

    def cuts(self) -> Sequence[Self]:
        """Its beginning only; one draft for each number of parts."""

    def with_addition(self, sentence: str) -> Self:
        """With a sentence (given without its full stop) more."""

    def written(self) -> str:
        """In the words of the reference."""

    def rewritten(self, rng: Random) -> str:
        """In other words. Meant to say the same; whoever calls checks that it does."""
