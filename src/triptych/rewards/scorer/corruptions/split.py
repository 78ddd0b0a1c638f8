"""A split of samples in which the two sides share no clip and no reference."""

import hashlib
from collections.abc import Hashable, Iterator, Sequence

from triptych.data.check.keys import text_key
from triptych.data.sample import Sample
from triptych.errors import ConfigError


def split(
    samples: Sequence[Sample], held_out_share: float, seed: int
) -> tuple[list[Sample], list[Sample]]:
    """Split samples for training from those held out.

    Samples that share a media file or the text of a reference context stay on one side, and so do
    all that hang together through others. (Reasoning may be the same on both: what it has to
    follow from is not.) The order of the samples makes no difference.

    Args:
        samples: At least two.
        held_out_share: About which share of the samples is held out, in (0, 1). Groups are taken
            whole, the last one only where that comes nearer.
        seed: Draws the groups.

    Returns:
        The training samples and the held-out ones, each in the order given.

    Raises:
        ConfigError: the share is out of range, or all samples hang together.
    """
    if not 0 < held_out_share < 1:
        raise ConfigError(f"held_out_share: {held_out_share} does not lie between 0 and 1")
    groups = _groups(samples)
    if len(groups) < 2:
        raise ConfigError(
            f"{len(samples)} samples share clips or references, so none can be held out; "
            "add samples of other clips"
        )
    wanted = held_out_share * len(samples)
    held: set[int] = set()
    for group in sorted(groups, key=lambda members: _draw(samples, members, seed)):
        if not held or abs(len(held) + len(group) - wanted) < abs(len(held) - wanted):
            held.update(group)
    if len(held) == len(samples):  # the share is near 1; the last group came nearest
        held.difference_update(group)
    return (
        [sample for i, sample in enumerate(samples) if i not in held],
        [sample for i, sample in enumerate(samples) if i in held],
    )


def _draw(samples: Sequence[Sample], members: list[int], seed: int) -> str:
    name = min(samples[i].id for i in members)
    return hashlib.sha256(f"{seed}/{name}".encode()).hexdigest()


def _ties(sample: Sample) -> Iterator[Hashable]:
    """What no sample of the other side may share."""
    for item in sample.media:
        yield "media", item.path
    if key := text_key(sample.reference.context or ""):
        yield "context", key


def _groups(samples: Sequence[Sample]) -> list[list[int]]:
    """The samples that hang together, by their numbers."""
    parent = list(range(len(samples)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    first: dict[Hashable, int] = {}
    for i, sample in enumerate(samples):
        for tie in _ties(sample):
            parent[root(i)] = root(first.setdefault(tie, i))
    groups: dict[int, list[int]] = {}
    for i in range(len(samples)):
        groups.setdefault(root(i), []).append(i)
    return list(groups.values())
