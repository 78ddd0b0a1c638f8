"""Attention of a new token of each completion, over groups whose prompt stands in memory once.

A query meets the keys of its prompt and those of its own completion, in one softmax. The n queries
of a prompt are rows of one matrix product with its keys, so these are read once per step, however
many completions there are. Only public functions of torch, for any device.

Shapes: B prompts, P tokens of the longest (padded on the left), A completions in the batch, N most
completions of a prompt, T tokens of each completion so far, H query heads, K key and value heads,
G = H/K, J = B*K, R = N*G, D head size, X any size.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


class PromptStates(NamedTuple):
    """Keys and values of the prompts, in one layer of a decoder."""

    keys_BKPD: Tensor
    values_BKPD: Tensor


@dataclass(frozen=True)
class SharedPrompts:
    """The prompts that the completions of a batch share, and whose is whose.

    Attributes:
        layers: the prompts' states, layer by layer.
        most: N.
        place_A: where a completion stands among B x N places, those of a prompt side by side;
            None where each place is taken, in order.
        bias_B11P: 0 for tokens, -inf for padding; None where there is none.
    """

    layers: Sequence[PromptStates]
    most: int
    place_A: Tensor | None = None
    bias_B11P: Tensor | None = None

    def group(self, states_AKGX: Tensor) -> Tensor:
        """(A, K, G, X) -> (J, R, X): what is of a prompt, under each of its key heads."""
        _, heads, queries, size = states_AKGX.shape
        places = states_AKGX
        if self.place_A is not None:
            prompts = len(self.layers[0].keys_BKPD)
            places = states_AKGX.new_zeros(prompts * self.most, heads, queries, size)
            places.index_copy_(0, self.place_A, states_AKGX)
        places_BNKGX = places.reshape(-1, self.most, heads, queries, size)
        return places_BNKGX.transpose(1, 2).reshape(-1, self.most * queries, size)

    def ungroup(self, states_JRX: Tensor, heads: int) -> Tensor:
        """Back from (J, R, X) to (A, K, G, X)."""
        _, rows, size = states_JRX.shape
        places_BKNGX = states_JRX.reshape(-1, heads, self.most, rows // self.most, size)
        places = places_BKNGX.transpose(1, 2).flatten(0, 1)
        return places if self.place_A is None else places[self.place_A]


def decoding_attention(
    query_AH1D: Tensor,
    key_AKTD: Tensor,
    value_AKTD: Tensor,
    prompts: SharedPrompts,
    layer: int,
    scale: float,
) -> Tensor:
    """Attention (A, H, 1, D) of one token per completion to its prompt and to itself.

    Args:
        query_AH1D: H is K or a multiple of it.
        key_AKTD: of the completions, the new token included.
        value_AKTD: the same.
        prompts: whose layers are in the number format of keys and values.
        layer: which of them.
        scale: of the scores.

    Raises:
        ValueError: more than one query per completion.
    """
    if query_AH1D.shape[2] != 1:
        raise ValueError(
            f"{query_AH1D.shape[2]} tokens per completion are decoded at once; feed one at a time"
        )
    keys_BKPD, values_BKPD = prompts.layers[layer]
    sequences, heads, _, size = key_AKTD.shape
    kind, tokens = key_AKTD.dtype, keys_BKPD.shape[2]
    query_AKGD = (query_AH1D * scale).to(kind).reshape(sequences, heads, -1, size)
    to_prompt_JRP = torch.bmm(prompts.group(query_AKGD), keys_BKPD.flatten(0, 1).mT)
    if prompts.bias_B11P is not None:
        to_prompt_JRP.unflatten(0, (-1, heads)).add_(prompts.bias_B11P)
    to_own_JRT = prompts.group(query_AKGD @ key_AKTD.mT)
    scores = torch.cat([to_prompt_JRP, to_own_JRT], dim=-1)
    weights = scores.softmax(-1, dtype=torch.promote_types(kind, torch.float32)).to(kind)
    of_prompt_JRD = torch.bmm(weights[..., :tokens], values_BKPD.flatten(0, 1))
    of_own_AKGD = prompts.ungroup(weights[..., tokens:], heads) @ value_AKTD
    out_AKGD = prompts.ungroup(of_prompt_JRD, heads) + of_own_AKGD
    return out_AKGD.reshape(query_AH1D.shape)
