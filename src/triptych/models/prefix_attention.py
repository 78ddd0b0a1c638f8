"""Attention over groups that share a prompt, with no more arithmetic than they need.

In a group of `prefix_layout`, prompt tokens attend causally to the prompt; completion tokens attend
to the whole prompt and causally to their own completion. A mask says the same, but then a kernel
computes the scores of every token with every other and throws most of them away, and holds a mask
of length x length. Here each query meets only the keys that it may see, in dense blocks:

* the prompt and its first completion: causal, one call;
* every other completion with itself: causal, one call for all neighbours of equal length;
* every other completion with the prompt: without a mask, one call for all of them.

The last two are halves of one softmax. On the CPU they are joined by their log-sum-exps, so keys
and values of the prompt are never copied. The kernel's backward needs only the joined output and
log-sum-exp to give each half's exact gradients: softmax weights are exp(score - logsumexp),
whatever other keys there were (as in ring attention, arXiv 2310.01889).

On other devices, whose kernels no test of ours can reach, only public functions of torch are used:
keys and values of the prompt stand in front of each completion's own, and the bias is
``causal_lower_right``, which CUDA's flash kernel knows without a mask (bf16 or fp16). The
arithmetic is the same; what is paid is a copy of the prompt's keys and values per completion.

transformers calls it through its AttentionInterface, for the text decoder only. A forward that
names shared prompts (rollouts, one token per completion) is `decoding_attention`; one that names
neither these nor a layout is transformers' own sdpa attention.

Shapes: H query heads, K key and value heads, L tokens of the row, D head size, n completions of
equal length C, P prompt tokens.
"""

from collections.abc import Iterator, Sequence
from enum import StrEnum
from functools import partial
from itertools import groupby
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.attention.bias import causal_lower_right
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from triptych.errors import ModelError
from triptych.models.decoding_attention import SharedPrompts, decoding_attention
from triptych.models.prefix_layout import Group, Layout

_NAME = "shared_prefix"
_FLASH = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_FLASH_BACKWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


class Attention(StrEnum):
    """How completions look back at the prompt that they share."""

    PREFIX = "prefix"
    """Only the scores that count are computed; groups of different lengths need no padding."""
    MASK = "mask"
    """Ordinary sdpa attention under a mask: slower, for checking the other and for models whose
    attention cannot be replaced."""


def set_attention(thinker: PreTrainedModel, attention: Attention) -> None:
    """Switch the text decoder of a thinker; its media encoders stay as they are.

    Raises:
        ModelError: the decoder cannot run shared prefixes, or not in this way.
    """
    text = thinker.config.get_text_config()
    if windowed := set(getattr(text, "layer_types", None) or ()) - {"full_attention"}:
        # With a mask of ours transformers forgets the window without a word.
        raise ModelError(
            f"the decoder has layers of {', '.join(sorted(windowed))}, and a shared prefix needs "
            "full attention; where prompts are shorter than the window, set use_sliding_window to "
            "false in the model's config.json"
        )
    name = _NAME if attention is Attention.PREFIX else "sdpa"
    thinker.set_attn_implementation({"" if text is thinker.config else "text_config": name})
    if text._attn_implementation != name:
        raise ModelError(
            f"the attention of {type(thinker).__name__} cannot be replaced; load the model with "
            f"attention: {Attention.MASK}"
        )


def attention_of(thinker: PreTrainedModel) -> Attention:
    """What `set_attention` has set."""
    name = thinker.config.get_text_config()._attn_implementation
    return Attention.PREFIX if name == _NAME else Attention.MASK


def prefix_attention(
    query_1HLD: Tensor, key_1KLD: Tensor, value_1KLD: Tensor, layout: Layout, scale: float
) -> Tensor:
    """Attention of a row of groups, (1, H, L, D), in a layout with heads innermost but one.

    H is K or a multiple of it. The number formats are those that sdpa takes; under autocast it
    computes in the format that autocast asks for, as sdpa does.
    """
    if query_1HLD.shape[0] != 1 or query_1HLD.shape[2] != sum(group.length for group in layout):
        raise ValueError(f"{layout} does not lay out a row of shape {tuple(query_1HLD.shape)}")
    device = query_1HLD.device.type
    query, key, value = query_1HLD, key_1KLD, value_1KLD
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
        query, key, value = query.to(dtype), key.to(dtype), value.to(dtype)
    compute = merged_attention if device == "cpu" else joined_attention
    return compute(query, key, value, layout, scale)


class _Spans(NamedTuple):
    """Where a group stands in its row.

    prompt, and `opening`: the prompt with its first completion. `others`: the further completions.
    `runs`: the same, cut where their length changes, each with the number of completions.
    """

    prompt: slice
    opening: slice
    others: slice
    runs: tuple[tuple[slice, int], ...]

    def blocks(self) -> "Iterator[_Block]":
        """What attends to what; the last one, if any, is the half that has to be merged."""
        yield _Block(self.opening, self.opening, 1, causal=True)
        for span, copies in self.runs:
            yield _Block(span, span, copies, causal=True)
        if self.runs:
            yield _Block(self.others, self.prompt, 1, causal=False)


class _Block(NamedTuple):
    """Queries that attend to keys, in as many equal parts as `copies` says, each to its own."""

    queries: slice
    keys: slice
    copies: int
    causal: bool


def _spans(layout: Sequence[Group]) -> Iterator[_Spans]:
    start = 0
    for prompt, (first, *others) in layout:
        first_other = end = start + prompt + first
        runs = []
        for length, equal in groupby(others):
            copies = len(list(equal))
            runs.append((slice(end, end + copies * length), copies))
            end += copies * length
        yield _Spans(
            slice(start, start + prompt),
            slice(start, first_other),
            slice(first_other, end),
            tuple(runs),
        )
        start = end


def _cut(states: Tensor, span: slice, copies: int = 1) -> Tensor:
    """(1, H, L, ...) -> (n, H, C, ...), a view."""
    cut: Tensor = states[0, :, span].unflatten(1, (copies, -1))
    return cut.transpose(0, 1)


class _MergedAttention(torch.autograd.Function):
    """See `merged_attention`."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, layout: Layout, scale: float
    ) -> Tensor:
        _, heads, length, size = query.shape
        # As the output projection reads it: the heads of a token side by side.
        out = query.new_empty(1, length, heads, size).transpose(1, 2)
        sums = out.new_empty(out.shape[:3], dtype=torch.promote_types(out.dtype, torch.float32))
        for spans in _spans(layout):
            for queries, keys, copies, causal in spans.blocks():
                half, half_sums = _FLASH(
                    _cut(query, queries, copies),
                    _cut(key, keys, copies),
                    _cut(value, keys, copies),
                    is_causal=causal,
                    scale=scale,
                )
                if causal:
                    _cut(out, queries, copies).copy_(half)
                    _cut(sums, queries, copies).copy_(half_sums)
                else:
                    _merge(out[:, :, queries], sums[:, :, queries], half, half_sums)
        ctx.save_for_backward(query, key, value, out, sums)
        ctx.layout, ctx.scale = layout, scale
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, out, sums = ctx.saved_tensors
        totals = tuple(torch.zeros_like(states) for states in (query, key, value))
        for spans in _spans(ctx.layout):
            for queries, keys, copies, causal in spans.blocks():
                parts = _FLASH_BACKWARD(
                    _cut(gradient, queries, copies),
                    _cut(query, queries, copies),
                    _cut(key, keys, copies),
                    _cut(value, keys, copies),
                    _cut(out, queries, copies),
                    _cut(sums, queries, copies),
                    0.0,
                    causal,
                    scale=ctx.scale,
                )
                for total, part, span in zip(totals, parts, (queries, keys, keys), strict=True):
                    _cut(total, span, copies).add_(part)
        return *totals, None, None


def _merge(out: Tensor, sums: Tensor, half: Tensor, half_sums: Tensor) -> None:
    """Take the other half of the keys into `out`, in place."""
    both = torch.logaddexp(sums, half_sums)
    out += (half - out) * (half_sums - both).exp()[..., None]
    sums.copy_(both)


def merged_attention(
    query: Tensor, key: Tensor, value: Tensor, layout: Layout, scale: float
) -> Tensor:
    """Halves of a softmax, joined by their log-sum-exps. CPU only."""
    return cast(Tensor, cast(Any, _MergedAttention).apply(query, key, value, layout, scale))


def joined_attention(
    query: Tensor, key: Tensor, value: Tensor, layout: Layout, scale: float
) -> Tensor:
    """Keys and values of the prompt in front of those of each completion. Any device."""
    attend = partial(
        scaled_dot_product_attention, scale=scale, enable_gqa=query.shape[1] != key.shape[1]
    )
    outs = []
    for prompt, opening, _, runs in _spans(layout):
        queries, keys, values = (_cut(each, opening) for each in (query, key, value))
        outs.append(attend(queries, keys, values, is_causal=True))
        for span, copies in runs:
            queries = _cut(query, span, copies)
            keys, values = (
                torch.cat(
                    [_cut(each, prompt).expand(copies, -1, -1, -1), _cut(each, span, copies)], dim=2
                )
                for each in (key, value)
            )
            bias = causal_lower_right(queries.shape[2], keys.shape[2])
            out = attend(queries, keys, values, attn_mask=bias)
            outs.append(out.transpose(0, 1).flatten(1, 2)[None])
    return torch.cat(outs, dim=2)


def _attention_forward(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    prefix_layout: Layout | None = None,
    shared_prompts: SharedPrompts | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """What transformers calls. Returns (B, L, H, D) and no weights."""
    if shared_prompts is None and prefix_layout is None:
        out, weights = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, dropout=dropout, **kwargs
        )
        return out, weights
    if dropout:
        raise ModelError(
            f"attention: {Attention.PREFIX} has no attention dropout, and the model asks for "
            f"{dropout:g}; set attention_dropout to 0 in its config.json, or use attention: "
            f"{Attention.MASK}"
        )
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if shared_prompts is not None:
        layer = cast(int, module.layer_idx)
        out = decoding_attention(query, key, value, shared_prompts, layer, scale)
    else:
        out = prefix_attention(query, key, value, cast(Layout, prefix_layout), scale)
    return out.transpose(1, 2), None


AttentionInterface.register(_NAME, _attention_forward)
AttentionMaskInterface.register(_NAME, sdpa_mask)
