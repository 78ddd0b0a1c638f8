"""Attention of media encoders, with segments of equal length in one call.

A tower reads all media of a kind as one row, and attends within segments of it: a frame, a window
of a frame, a stretch of sound. transformers runs them one after the other in a Python loop. Here
those of equal length are a batch: one kernel call where all are alike, and one for each length
where they are not. No score is computed that the loop would not compute.

transformers calls it through its AttentionInterface, for the towers only. It hands over whole rows,
with the borders of their segments, to an attention whose name says "flash", and single segments to
any other: hence the name.

Shapes: H heads, L tokens of the row, D head size, n segments of equal length C.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, PreTrainedModel

from triptych.models.families import Family

_NAME = "segments_as_for_flash"


def batch_segments(thinker: PreTrainedModel, family: Family) -> None:
    """Switch the towers of a thinker that attend by segment; its text decoder stays as it is."""
    towers = [
        thinker.get_submodule(path).config
        for name, path in family.towers.items()
        if name in family.towers_by_segment
    ]
    names = [
        name
        for name in thinker.config.sub_configs
        if any(getattr(thinker.config, name) is config for config in towers)
    ]
    thinker.set_attn_implementation(dict.fromkeys(names, _NAME))


def segment_attention(
    query_1HLD: Tensor,
    key_1HLD: Tensor,
    value_1HLD: Tensor,
    lengths: Sequence[int],
    scale: float | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """Attention of each segment to itself, (1, L, H, D), in a row of segments of these lengths."""
    states = [state[0] for state in (query_1HLD, key_1HLD, value_1HLD)]
    if len(set(lengths)) == 1:  # views
        batches = [[state.unflatten(1, (len(lengths), -1)) for state in states]]
        order_L = None
    else:
        places = [place_nC.to(query_1HLD.device) for place_nC in _places(lengths)]
        batches = [[state[:, place_nC] for state in states] for place_nC in places]
        order_L = torch.cat([place_nC.flatten() for place_nC in places]).argsort()
    outs = []
    for batch in batches:
        query, key, value = (state_HnCD.transpose(0, 1) for state_HnCD in batch)
        out_nHCD = scaled_dot_product_attention(query, key, value, dropout_p=dropout, scale=scale)
        outs.append(out_nHCD.transpose(1, 2).flatten(0, 1))
    out_LHD = torch.cat(outs)
    return (out_LHD if order_L is None else out_LHD[order_L])[None]


def _places(lengths: Sequence[int]) -> list[Tensor]:
    """Where segments stand in their row, (n, C) for each length."""
    starts: dict[int, list[int]] = defaultdict(list)
    start = 0
    for length in lengths:
        starts[length].append(start)
        start += length
    return [torch.tensor(begun)[:, None] + torch.arange(length) for length, begun in starts.items()]


def _attention_forward(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    cu_seq_lens_q: Tensor,
    scaling: float | None = None,
    dropout: float = 0.0,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """What transformers calls. Returns (1, L, H, D) and no weights."""
    lengths = cu_seq_lens_q.diff().tolist()
    return segment_attention(query, key, value, lengths, scaling, dropout), None


AttentionInterface.register(_NAME, _attention_forward)
