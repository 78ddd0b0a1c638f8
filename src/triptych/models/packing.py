"""One prompt, G completions, one row: the shared prefix runs once.

A group is [prompt | c1 | ... | cG]. Each completion sees the prompt and itself, never its
neighbours, and its positions start right after the prompt on all rope axes, as if it stood
there alone. The hidden state of the last prompt token predicts the first token of every
completion. The result equals the naive padded batch to numerical noise, at
(P + G*C) tokens instead of G*(P + C). Groups stand one behind the other, whatever their lengths:
nothing is padded.

Shapes: L tokens of all groups, P prompt, B groups, R completions of all groups in order, T tokens
of the longest completion, N completion tokens of all groups, U different sets of allowed tokens, V
vocabulary, 3 rope axes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from triptych.models.families import Family
from triptych.models.log_probs import AllowedTokens
from triptych.models.prefix_layout import Group, Layout
from triptych.models.prompt import Prompt
from triptych.stages.grammar import Choice


@dataclass(frozen=True)
class PackedBatch:
    """Groups laid out for one forward. ``N`` runs group by group, completion by completion.

    ``source_N`` is where the hidden state stands that predicts each target. ``allowed`` is None
    where nothing was enforced.
    """

    input_ids_L: Tensor
    position_ids_3L: Tensor
    layout: Layout
    features: dict[str, Tensor]
    source_N: Tensor
    targets_N: Tensor
    lengths_R: Tensor
    allowed: AllowedTokens | None = None

    def model_inputs(self) -> dict[str, Any]:
        """Keyword arguments of ``OmniModel.forward``."""
        return {
            "input_ids_L": self.input_ids_L,
            "position_ids_3L": self.position_ids_3L,
            "layout": self.layout,
            "features": self.features,
            "source_N": self.source_N,
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
        """Completion tokens of all groups."""
        return int(self.targets_N.numel())

    @property
    def group_sizes_B(self) -> tuple[int, ...]:
        """Completions of each group."""
        return tuple(len(group.completions) for group in self.layout)

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
    """Lay out each prompt once with all of its completions (token ids, none empty).

    ``family`` knows how media tensors of several prompts are joined. ``choices`` says for each
    token what it was chosen from, where the format was enforced.
    """
    if len(prompts) != len(completions):
        raise ValueError(f"{len(prompts)} prompts but completions for {len(completions)}")
    if any(not group or any(not tokens for tokens in group) for group in completions):
        raise ValueError("every prompt needs a completion, and every completion a token")
    groups = [_group(prompt, group) for prompt, group in zip(prompts, completions, strict=True)]
    layout = tuple(group.layout for group in groups)
    starts = accumulate((group.length for group in layout), initial=0)
    sources = [start + group.source_N for start, group in zip(starts, groups, strict=False)]
    return PackedBatch(
        input_ids_L=torch.cat([group.input_ids_L for group in groups]),
        position_ids_3L=torch.cat([group.positions_3L for group in groups], dim=1),
        layout=layout,
        features=family.collate([prompt.features for prompt in prompts]),
        source_N=torch.cat(sources),
        targets_N=torch.tensor([t for group in completions for c in group for t in c]),
        lengths_R=torch.tensor([len(c) for group in completions for c in group]),
        allowed=allowed_tokens([x for g in choices for c in g for x in c]) if choices else None,
    )


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
class _PackedGroup:
    input_ids_L: Tensor
    positions_3L: Tensor
    layout: Group
    source_N: Tensor


def _group(prompt: Prompt, completions: Sequence[Sequence[int]]) -> _PackedGroup:
    prompt_length = prompt.input_ids.shape[0]
    lengths = [len(tokens) for tokens in completions]
    steps = torch.cat([torch.arange(length) for length in lengths])
    # Positions keep the dtype of the family's index: some are fractional.
    positions = (steps + prompt.next_position).to(prompt.position_ids.dtype)
    axes = prompt.position_ids.shape[0]
    own = torch.arange(prompt_length - 1, prompt_length - 1 + sum(lengths))
    return _PackedGroup(
        input_ids_L=torch.cat(
            [prompt.input_ids, torch.tensor([t for c in completions for t in c])]
        ),
        positions_3L=torch.cat([prompt.position_ids, positions.expand(axes, -1)], dim=1),
        layout=Group(prompt_length, tuple(lengths)),
        source_N=torch.where(steps == 0, prompt_length - 1, own),
    )
