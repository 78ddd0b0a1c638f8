"""Where groups stand in a row: each prompt once, with its completions behind it.

A row holds groups without padding: [prompt 1 | c11 | c12 | ... | prompt 2 | c21 | ...]. A
completion sees its prompt and itself, never a neighbour, and a group sees no other group.

Shapes: L tokens of the row, B groups, S tokens of the longest group.
"""

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence


class Group(NamedTuple):
    """Lengths in tokens: of a prompt, and of each completion behind it."""

    prompt: int
    completions: tuple[int, ...]

    @property
    def length(self) -> int:
        """Tokens of the prompt and all completions."""
        return self.prompt + sum(self.completions)


Layout: TypeAlias = tuple[Group, ...]
"""The groups of a row, in order."""


def shared_prefix_mask(layout: Sequence[Group]) -> Tensor:
    """Who may look where, as a boolean mask (B, 1, S, S) over groups that are padded at the end.

    Causal, and from a completion only to itself and into the prompt. Padding looks at itself
    alone: a query without any key would be NaN in the backward of some kernels.
    """
    segments_BS = pad_sequence([_segments(group) for group in layout], True, padding_value=-1)
    query_BS1, key_B1S = segments_BS[:, :, None], segments_BS[:, None, :]
    order_S = torch.arange(segments_BS.shape[1])
    causal_SS = order_S[:, None] >= order_S[None]
    visible_BSS = causal_SS & ((key_B1S == 0) | (key_B1S == query_BS1)) & (query_BS1 >= 0)
    itself_SS = torch.eye(len(order_S), dtype=torch.bool)
    return (visible_BSS | itself_SS)[:, None]


def _segments(group: Group) -> Tensor:
    """0 for each prompt token, 1..G for those of the completions."""
    lengths = torch.tensor([group.prompt, *group.completions])
    return torch.repeat_interleave(torch.arange(len(lengths)), lengths)
