"""Log-probs and entropies of tokens, without the logits of all of them at once.

Logits of N tokens over a vocabulary V are by far the largest tensor of an update, and autograd
keeps a second one. Here the head runs on so few tokens at a time that their logits fit a budget;
the backward computes each chunk's logits again. So what is kept for it does not depend on V. Where
all tokens fit the budget there is one chunk, and nothing is computed twice.

The price is one more product of hidden states and head, four of N x H x V in place of three, and
while the head itself is trained, two more tensors of its weight's size for a moment: autograd adds
up the gradients of the chunks. On a CPU fewer passes over logits make up for the time
(``benchmarks/log_probs.py``).

Each chunk calls the head as a module and is an ordinary checkpoint. So adapters on the head work,
as do hooks that gather a sharded weight, one head tied to the embedding, autocast, and gradients
that are accumulated. A weight in bf16 has its gradient summed chunk by chunk in bf16, as over
micro-batches: rounding makes it 0.5% off over 16 chunks, where one chunk is 0.2% off.

Shapes: N tokens, H hidden size, V vocabulary, U different sets of allowed tokens.
"""

from collections.abc import Callable
from itertools import repeat
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

CHUNK_BYTES = 128 * 2**20
"""Logits of one chunk. Its log-probs, probabilities and gradient take as much again, each."""


class OmniOutput(NamedTuple):
    """Per completion token: log-prob of the token, entropy of its distribution (both fp32)."""

    logps_N: Tensor
    entropies_N: Tensor


class AllowedTokens(NamedTuple):
    """What each completion token was chosen from, where the format was enforced.

    ``masks_UV`` holds every set once, True for each token that was allowed; ``index_N`` says which
    set stood at which completion token.
    """

    masks_UV: Tensor
    index_N: Tensor


def score_states(
    hidden_NH: Tensor,
    head: Callable[[Tensor], Tensor],
    vocabulary: int,
    targets_N: Tensor,
    allowed: AllowedTokens | None = None,
    temperature: float = 1.0,
    *,
    chunk_bytes: int = CHUNK_BYTES,
) -> OmniOutput:
    """Score the tokens that hidden states predict; see `score_tokens`.

    Args:
        hidden_NH: states of the decoder.
        head: makes of some of them logits (n, V) of its own, fp32 or fp64.
        vocabulary: V, of which only the size of a chunk depends.
        targets_N: the tokens.
        allowed: what each was chosen from; by default all tokens.
        temperature: what logits are divided by.
        chunk_bytes: most bytes of logits at a time; a single token may take more.
    """
    masks_UV, index_N = allowed or (None, None)

    def score(hidden_nH: Tensor, targets_n: Tensor, index_n: Tensor | None) -> OmniOutput:
        among = None if masks_UV is None or index_n is None else AllowedTokens(masks_UV, index_n)
        return score_tokens(head(hidden_nH), targets_n, among, temperature)

    bytes_each = vocabulary * (8 if hidden_NH.dtype == torch.float64 else 4)
    chunks = -(-len(hidden_NH) // max(1, chunk_bytes // bytes_each))
    if chunks <= 1:
        return score(hidden_NH, targets_N, index_N)
    size = -(-len(hidden_NH) // chunks)
    parts = zip(
        hidden_NH.split(size),
        targets_N.split(size),
        repeat(None) if index_N is None else index_N.split(size),
        strict=False,
    )
    if torch.is_grad_enabled():
        outputs = [checkpoint(score, *part, use_reentrant=False) for part in parts]
    else:
        outputs = [score(*part) for part in parts]
    return OmniOutput(*(torch.cat(values) for values in zip(*outputs, strict=True)))


def score_tokens(
    logits_NV: Tensor,
    targets_N: Tensor,
    allowed: AllowedTokens | None = None,
    temperature: float = 1.0,
) -> OmniOutput:
    """Score tokens under the softmax of ``logits / temperature`` over what was allowed.

    That is the distribution that enforced completions are drawn from; without `allowed` it is the
    one over all tokens. `logits_NV` is overwritten.
    """
    if temperature != 1:
        logits_NV = logits_NV.div_(temperature)
    if allowed is not None:
        # Out of autograd's sight, which would keep a mask (N, V) until the backward: the softmax
        # itself passes no gradient to what stands at -inf.
        with torch.no_grad():
            logits_NV.masked_fill_(allowed.masks_UV[allowed.index_N].logical_not_(), -torch.inf)
    log_probs_NV = torch.log_softmax(logits_NV, dim=-1)
    # No view, which the hooks of a sharded model would warn of.
    logps_N = log_probs_NV.gather(-1, targets_N[:, None]).sum(-1)
    with torch.no_grad():
        # In fewer passes than `where`: 0 * -inf is NaN, 0 * the lowest number is 0.
        probs_NV = log_probs_NV.exp()
        lowest = torch.finfo(log_probs_NV.dtype).min
        entropies_N = -probs_NV.mul_(log_probs_NV.clamp(min=lowest)).sum(-1)
    return OmniOutput(logps_N, entropies_N)
