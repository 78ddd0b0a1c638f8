"""How much arithmetic a group needs, and how much a card can do.

The operations of a model, forward and backward, are counted as in PaLM (arXiv 2204.02311, appendix
B): two for each multiply-add of a forward, and as many again for the gradient of each factor. What
activation checkpointing and the head's chunks compute a second time is not counted, so utilisation
says what the card does for the model, not how busy it is.

    forward = 2 (T W + 2 A Q + N H V)

with T tokens that pass the layers, W their weights, A pairs of a query and a key that it may see,
Q heads x head size x layers, N completion tokens, H hidden size, V vocabulary. The backward of a
product takes twice its forward; where the weight is frozen (LoRA; the adapters' own arithmetic is
below 1% and left out), it takes as much as the forward. Attention has no weights: twice.

Shapes: P prompt tokens, G completions, C tokens of each.
"""

import re

from benchmarks.gpu_models import Size
from benchmarks.update import Shape


def update_operations(size: Size, shape: Shape, *, shared: bool, frozen: bool) -> float:
    """Operations of a forward and backward over one group.

    Args:
        size: of the model.
        shape: of the group.
        shared: the prompt passes once; else before every completion.
        frozen: the weights take no gradient.
    """
    prompts = 1 if shared else shape.completions
    scored = shape.completions * shape.tokens
    # What the prompt sees of itself, and completions of the prompt and of themselves.
    pairs = prompts * shape.prompt**2 / 2 + scored * (shape.prompt + shape.tokens / 2)
    weighted = (prompts * shape.prompt + scored) * layer_weights(size)
    weighted += scored * size.hidden * size.vocabulary
    attention = 2 * pairs * size.hidden * size.layers
    return 2 * (weighted * (2 if frozen else 3) + attention * 3)


def layer_weights(size: Size) -> int:
    """Weights of the decoder's layers that a token is multiplied with."""
    key_value = size.hidden // size.heads * size.key_value_heads
    attention = 2 * size.hidden * (size.hidden + key_value)
    return size.layers * (attention + 3 * size.hidden * size.intermediate)


# Dense products in bf16 with sums in fp32, from the makers' data sheets; the first whose words
# all stand in the name of the device.
_PEAKS = (
    ("B200", 2250e12),
    ("GH200", 989e12),
    ("H200 NVL", 835e12),
    ("H200", 989e12),
    ("H100 NVL", 835e12),
    ("H100 PCIe", 756e12),
    ("H100", 989e12),
    ("A100", 312e12),
    ("A40", 150e12),
    ("A10", 125e12),
    ("L40S", 362e12),
    ("L4", 121e12),
    ("RTX 4090", 165e12),
    ("RTX 3090", 71e12),
)


def peak_of(device_name: str) -> float | None:
    """Operations a second of a card in bf16; None for one that is not in the table."""
    words = set(re.split(r"[\s_-]+", device_name))
    return next((peak for name, peak in _PEAKS if set(name.split()) <= words), None)
