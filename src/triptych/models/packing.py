"""One prompt, G completions, one row: the shared prefix runs once.

A row is [prompt | c1 | ... | cG]. Each completion sees the prompt and itself, never its
neighbours, and its positions start right after the prompt on all rope axes, as if it stood
there alone. The hidden state of the last prompt token predicts the first token of every
completion. The result equals the naive padded batch to numerical noise, at
(P + G*C) tokens instead of G*(P + C).

Shapes: B rows (groups), L tokens of the longest row, P prompt, R completions of all rows in
order, T tokens of the longest completion, N completion tokens of all rows, U different sets of
allowed tokens, V vocabulary, 3 rope axes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from triptych.models.families import Family
from triptych.models.omni import AllowedTokens
from triptych.models.prompt import Prompt
from triptych.stages.grammar import Choice


@dataclass(frozen=True)
class PackedBatch:
    """Groups laid out for one forward. ``N`` runs row by row, completion by completion.

    ``allowed`` is None where nothing was enforced.
    """

    input_ids_BL: Tensor
    position_ids_3BL: Tensor
    attention_mask_B1LL: Tensor
    features: dict[str, Tensor]
    source_N2: Tensor
    targets_N: Tensor
    lengths_R: Tensor
    group_sizes_B: tuple[int, ...]
    allowed: AllowedTokens | None = None

    def model_inputs(self) -> dict[str, Any]:
        """Keyword arguments of ``OmniModel.forward``."""
        return {
            "input_ids_BL": self.input_ids_BL,
            "position_ids_3BL": self.position_ids_3BL,
            "attention_mask_B1LL": self.attention_mask_B1LL,
            "features": self.features,
            "source_N2": self.source_N2,
            "targets_N": self.targets_N,
            "allowed": self.allowed,
        }

    def to(self, device: torch.device | str) -> "PackedBatch":
        """The same batch with every tensor on ``device``."""
        moved: dict[str, Any] = {
            name: value.to(device)
            for name, value in vars(self).items()
            if isinstance(value, Tensor)
        }
        moved["features"] = {name: value.to(device) for name, value in self.features.items()}
        if self.allowed is not None:
            moved["allowed"] = AllowedTokens(*(value.to(device) for value in self.allowed))
        return replace(self, **moved)

    @property
    def num_tokens(self) -> int:
        """Completion tokens of all rows."""
        return int(self.targets_N.numel())

    @property
    def completion_mask_RT(self) -> Tensor:
        """True where (completion, position) holds a token."""
        columns_T = torch.arange(int(self.lengths_R.max()), device=self.lengths_R.device)
        return columns_T < self.lengths_R[:, None]

    @property
    def targets_RT(self) -> Tensor:
        return self.unpack(self.targets_N)

    def unpack(self, values_N: Tensor) -> Tensor:
        """(N,) -> (R, T), zeros where a completion is shorter than the longest."""
        return pad_sequence(list(torch.split(values_N, self.lengths_R.tolist())), batch_first=True)


def pack(
    prompts: Sequence[Prompt],
    completions: Sequence[Sequence[Sequence[int]]],
    pad_token_id: int,
    family: Family,
    choices: Sequence[Sequence[Sequence[Choice]]] | None = None,
) -> PackedBatch:
    """Lay out one row per prompt with all of its completions (token ids, none empty).

    ``family`` knows how media tensors of several prompts are joined. ``choices`` says for each
    token what it was chosen from, where the format was enforced.
    """
    if len(prompts) != len(completions):
        raise ValueError(f"{len(prompts)} prompts but completions for {len(completions)}")
    if any(not group or any(not tokens for tokens in group) for group in completions):
        raise ValueError("every prompt needs a completion, and every completion a token")
    rows = [_row(prompt, group) for prompt, group in zip(prompts, completions, strict=True)]
    length = max(len(row.input_ids_L) for row in rows)
    source_N2 = torch.cat(
        [
            torch.stack([torch.full_like(row.source_N, index), row.source_N], dim=-1)
            for index, row in enumerate(rows)
        ]
    )
    return PackedBatch(
        input_ids_BL=pad_sequence(
            [row.input_ids_L for row in rows], batch_first=True, padding_value=pad_token_id
        ),
        position_ids_3BL=torch.stack(
            [
                torch.nn.functional.pad(row.positions_3L, (0, length - row.positions_3L.shape[1]))
                for row in rows
            ],
            dim=1,
        ),
        attention_mask_B1LL=shared_prefix_mask(
            pad_sequence([row.segments_L for row in rows], batch_first=True, padding_value=-1)
        ),
        features=family.collate([prompt.features for prompt in prompts]),
        source_N2=source_N2,
        targets_N=torch.tensor([t for group in completions for c in group for t in c]),
        lengths_R=torch.tensor([len(c) for group in completions for c in group]),
        group_sizes_B=tuple(len(group) for group in completions),
        allowed=allowed_tokens([x for g in choices for c in g for x in c]) if choices else None,
    )


def shared_prefix_mask(segments_BL: Tensor) -> Tensor:
    """Segments (0 prompt, 1..G completions, -1 padding) -> boolean mask (B, 1, L, L).

    Causal, and across segments only back into the prompt. Padding looks at itself alone: a row
    without any key would be NaN in the backward of some kernels.
    """
    query_BL1, key_B1L = segments_BL[:, :, None], segments_BL[:, None, :]
    order_L = torch.arange(segments_BL.shape[1], device=segments_BL.device)
    causal_LL = order_L[:, None] >= order_L[None]
    visible_BLL = causal_LL & ((key_B1L == 0) | (key_B1L == query_BL1)) & (query_BL1 >= 0)
    itself_LL = torch.eye(len(order_L), dtype=torch.bool, device=segments_BL.device)
    return (visible_BLL | itself_LL)[:, None]


def allowed_tokens(choices: Sequence[Choice]) -> AllowedTokens:
    """What each token was chosen from, every choice that a grammar hands out once."""
    # By identity: a grammar hands out the same few objects again and again.
    different = {id(choice): choice.mask_V for choice in choices}
    places = {key: place for place, key in enumerate(different)}
    return AllowedTokens(
        masks_UV=torch.from_numpy(np.stack(list(different.values()))),
        index_N=torch.tensor([places[id(choice)] for choice in choices]),
    )


@dataclass(frozen=True)
class _Row:
    input_ids_L: Tensor
    positions_3L: Tensor
    segments_L: Tensor
    source_N: Tensor


def _row(prompt: Prompt, group: Sequence[Sequence[int]]) -> _Row:
    prompt_length = prompt.input_ids.shape[0]
    lengths = [len(tokens) for tokens in group]
    steps = torch.cat([torch.arange(length) for length in lengths])
    # Positions keep the dtype of the family's index: some are fractional.
    positions = (steps + prompt.next_position).to(prompt.position_ids.dtype)
    axes = prompt.position_ids.shape[0]
    own = torch.arange(prompt_length - 1, prompt_length - 1 + sum(lengths))
    source = torch.where(steps == 0, prompt_length - 1, own)
    return _Row(
        input_ids_L=torch.cat([prompt.input_ids, torch.tensor([t for c in group for t in c])]),
        positions_3L=torch.cat([prompt.position_ids, positions.expand(axes, -1)], dim=1),
        segments_L=torch.repeat_interleave(
            torch.arange(len(group) + 1), torch.tensor([prompt_length, *lengths])
        ),
        source_N=source,
    )
