"""Key-value caches of a rollout: n completions of each prompt, one token at a time.

`SharedCache` holds what a prompt left behind once, whatever the number of its completions;
`ExpandedCache` holds a copy for each of them, for models whose attention is ordinary. Either says
what the decoder has to be told of it (`attention`), and drops sequences that have ended (`keep`).

Shapes: B prompts, P tokens of the longest, A sequences in the batch (at first B*n), T tokens that a
sequence holds of its own, K key and value heads, D head size, L = P + T.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor
from transformers import Cache, DynamicCache
from transformers.cache_utils import DynamicLayer

from triptych.models.decoding_attention import PromptStates, SharedPrompts


class RolloutCache(Protocol):
    """What decoding needs of a cache, beside what transformers needs of it."""

    keep_at: ClassVar[float]
    """To `keep` who is running pays once they are so much of the batch, or less."""

    def attention(self) -> dict[str, Any]:
        """Keywords of the decoder's next forward, of one token per sequence."""

    def keep(self, places: Sequence[int]) -> None:
        """Go on with the sequences at these places of the batch, in ascending order."""


class RoomyLayer(DynamicLayer):
    """A cache layer with room for more tokens, where the one it is made of copies all for each."""

    ROOM = 128  # tokens

    def __init__(self, keys_AKTD: Tensor, values_AKTD: Tensor) -> None:
        super().__init__()
        self.lazy_initialization(keys_AKTD, values_AKTD)
        self.keys, self.values = keys_AKTD, values_AKTD
        self._buffers = [keys_AKTD, values_AKTD]

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        start = self.keys.shape[-2]
        end = start + key_states.shape[-2]
        if end > self._buffers[0].shape[-2]:
            more = (0, 0, 0, max(self.ROOM, end - start))
            self._buffers = [torch.nn.functional.pad(old, more) for old in (self.keys, self.values)]
        for buffer, states in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[:, :, start:end] = states
        self._show(end)
        return self.keys, self.values

    def batch_select_indices(self, indices: Tensor) -> None:
        length = self.keys.shape[-2]
        self._buffers = [buffer[indices] for buffer in self._buffers]
        self._show(length)

    def _show(self, length: int) -> None:
        self.keys, self.values = (buffer[:, :, :length] for buffer in self._buffers)


class ExpandedCache(Cache):
    """Of each sequence: the states of its prompt and its own."""

    keep_at: ClassVar[float] = 0.5

    def __init__(self, prefilled: DynamicCache, mask_BP: Tensor | None, n: int) -> None:
        if n > 1:
            prefilled.batch_repeat_interleave(n)
        super().__init__(
            layers=[
                RoomyLayer(each.keys, each.values) if type(each) is DynamicLayer else each
                for each in prefilled.layers
            ]
        )
        self._mask_AL = None if mask_BP is None else mask_BP.long().repeat_interleave(n, dim=0)

    def attention(self) -> dict[str, Any]:
        if self._mask_AL is not None:
            self._mask_AL = torch.nn.functional.pad(self._mask_AL, (0, 1), value=1)
        return {"attention_mask": self._mask_AL}

    def keep(self, places: Sequence[int]) -> None:
        kept_A = torch.tensor(places, device=self.layers[0].device)
        self.batch_select_indices(kept_A)
        if self._mask_AL is not None:
            self._mask_AL = self._mask_AL[kept_A]


class SharedCache(Cache):
    """Of each prompt: its states, once. Of each sequence: its own."""

    # Sequences leave early, since little is copied: prompts only where a whole group has ended.
    keep_at: ClassVar[float] = 0.75

    def __init__(self, prefilled: DynamicCache, mask_BP: Tensor | None, n: int) -> None:
        layers = [PromptStates(*_as_computed(each)) for each in prefilled.layers]
        self._group_A = [prompt for prompt in range(len(layers[0].keys_BKPD)) for _ in range(n)]
        bias_B11P = None
        if mask_BP is not None:
            bias_B11P = torch.zeros_like(mask_BP, dtype=layers[0].keys_BKPD.dtype)
            bias_B11P = bias_B11P.masked_fill(~mask_BP, -torch.inf)[:, None, None]
        self.prompts = SharedPrompts(layers, n, None, bias_B11P)
        super().__init__(layers=[_OwnLayer(states, len(self._group_A)) for states in layers])

    def attention(self) -> dict[str, Any]:
        return {"shared_prompts": self.prompts}

    def keep(self, places: Sequence[int]) -> None:
        group_A = [self._group_A[place] for place in places]
        sizes = Counter(group_A)
        device, old = self.layers[0].device, self.prompts
        layers, bias_B11P = old.layers, old.bias_B11P
        if len(sizes) < len(layers[0].keys_BKPD):
            kept_B = torch.tensor(list(sizes), device=device)
            layers = [PromptStates(keys[kept_B], values[kept_B]) for keys, values in layers]
            bias_B11P = None if bias_B11P is None else bias_B11P[kept_B]
        most = max(sizes.values())
        place_A = torch.tensor(
            [b * most + i for b, size in enumerate(sizes.values()) for i in range(size)],
            device=device,
        )
        full = len(place_A) == len(sizes) * most
        self.prompts = SharedPrompts(layers, most, None if full else place_A, bias_B11P)
        self._group_A = [b for b, size in enumerate(sizes.values()) for _ in range(size)]
        self.batch_select_indices(torch.tensor(places, device=device))


class _OwnLayer(RoomyLayer):
    """What sequences have written; their prompts count for its length, but stand elsewhere."""

    def __init__(self, prompts: PromptStates, sequences: int) -> None:
        keys_BKPD, values_BKPD = prompts
        self._prompt_length = keys_BKPD.shape[2]
        none = (sequences, keys_BKPD.shape[1], 0)
        super().__init__(
            keys_BKPD.new_empty(*none, keys_BKPD.shape[3]),
            values_BKPD.new_empty(*none, values_BKPD.shape[3]),
        )

    def get_seq_length(self) -> int:
        return self._prompt_length + int(self.keys.shape[-2])


def _as_computed(layer: DynamicLayer) -> tuple[Tensor, Tensor]:
    """Keys and values in the number format that attention computes in.

    Under autocast keys may be wider than that, and would be cast again for every token.
    """
    device = layer.keys.device.type
    if not torch.is_autocast_enabled(device):
        return layer.keys, layer.values
    dtype = torch.get_autocast_dtype(device)
    return layer.keys.to(dtype), layer.values.to(dtype)
