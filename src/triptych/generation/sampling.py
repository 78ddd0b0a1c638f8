"""One token from each row of logits.

Shapes: R sequences, V vocabulary.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from triptych.data.sample import Sample
from triptych.errors import ModelError
from triptych.generation.engine import SamplingConfig


class NotFiniteError(ModelError):
    """The logits of a model are no numbers: nothing can be drawn."""


def check_finite(logits_RV: Tensor, samples: Sequence[Sample]) -> None:
    """Refuse logits that nothing can be drawn from; each sample has as many rows as any other.

    The most likely token of such a row would be any, and torch ends a draw from it by an error
    that names nothing, on a GPU with the whole process.

    Raises:
        NotFiniteError: a row holds NaN or infinity.
    """
    # NaN is the largest of any row that holds it.
    broken_R = logits_RV.amax(dim=-1).isfinite().logical_not().tolist()
    if True in broken_R:
        sample = samples[broken_R.index(True) * len(samples) // len(broken_R)]
        raise NotFiniteError(
            f"sample {sample.id}: the model's logits are not finite: its weights are broken, or "
            "need dtype float32"
        )


def sample_tokens(logits_RV: Tensor, config: SamplingConfig, generator: torch.Generator) -> Tensor:
    """Draw (R,) token ids; temperature 0 takes the most likely one."""
    if config.temperature == 0:
        return logits_RV.argmax(dim=-1)
    logits_RV = logits_RV / config.temperature
    if config.top_k > 0:
        logits_RV = _keep_top_k(logits_RV, config.top_k)
    if config.top_p < 1:
        logits_RV = _keep_top_p(logits_RV, config.top_p)
    probs_RV = torch.softmax(logits_RV, dim=-1)
    return torch.multinomial(probs_RV, num_samples=1, generator=generator)[:, 0]


def _keep_top_k(logits_RV: Tensor, k: int) -> Tensor:
    kth_R1 = logits_RV.topk(min(k, logits_RV.shape[-1]), dim=-1).values[:, -1:]
    return logits_RV.masked_fill(logits_RV < kth_R1, -torch.inf)


def _keep_top_p(logits_RV: Tensor, p: float) -> Tensor:
    sorted_RV, order_RV = logits_RV.sort(dim=-1, descending=True)
    probs_RV = torch.softmax(sorted_RV, dim=-1)
    # A token stays when the mass before it is below p, so the first one always does.
    drop_RV = probs_RV.cumsum(dim=-1) - probs_RV >= p
    return logits_RV.masked_fill(drop_RV.scatter(-1, order_RV, drop_RV), -torch.inf)
