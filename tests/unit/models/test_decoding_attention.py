"""Attention to a prompt that stands once must be attention to a copy of it in front of each row.

Shapes: as in `decoding_attention`; S completions of a prompt, L = P + T.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from triptych.models.decoding_attention import PromptStates, SharedPrompts, decoding_attention

SCALE = 0.3
TOLERANCE = {torch.float64: 1e-12, torch.float32: 3e-6, torch.bfloat16: 2e-2, torch.float16: 3e-3}
HEADS = {"heads": (4, 4), "grouped heads": (4, 2), "one head for keys": (3, 1)}
# Lengths of the prompts, completions of each.
GROUPS: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "one prompt": ((9,), (8,)),
    "one completion each": ((9, 9), (1, 1)),
    "padding": ((9, 4, 7), (3, 3, 3)),
    "ragged": ((9, 9, 9), (1, 4, 2)),
    "ragged, padding": ((3, 9, 5, 1), (2, 1, 3, 3)),
}


@dataclass(frozen=True)
class Case:
    """What a layer is given in a step; `group_A`: whose prompt a completion continues."""

    query_AH1D: Tensor
    key_AKTD: Tensor
    value_AKTD: Tensor
    prompts: SharedPrompts
    group_A: Tensor

    def ours(self) -> Tensor:
        states = (self.query_AH1D, self.key_AKTD, self.value_AKTD)
        return decoding_attention(*states, self.prompts, layer=1, scale=SCALE)

    def expanded(self, shift: int = 0, padding: bool = True) -> Tensor:
        """A copy of the prompt per row, under a mask; the prompts can be those of another group."""
        prompt_keys, prompt_values = self.prompts.layers[1]
        group_A = (self.group_A + shift) % len(prompt_keys)
        keys_AKLD = torch.cat([prompt_keys[group_A], self.key_AKTD], dim=2)
        values_AKLD = torch.cat([prompt_values[group_A], self.value_AKTD], dim=2)
        mask_A11L = torch.ones(len(group_A), 1, 1, keys_AKLD.shape[2], dtype=torch.bool)
        if padding and self.prompts.bias_B11P is not None:
            mask_A11L[..., : prompt_keys.shape[2]] = self.prompts.bias_B11P[group_A] == 0
        return scaled_dot_product_attention(
            self.query_AH1D, keys_AKLD, values_AKLD, mask_A11L, scale=SCALE, enable_gqa=True
        )


def case(
    groups: tuple[Sequence[int], Sequence[int]],
    heads: tuple[int, int] = (4, 2),
    dtype: torch.dtype = torch.float64,
    size: float = 1.0,
) -> Case:
    lengths, completions = (torch.tensor(each) for each in groups)
    generator = torch.Generator().manual_seed(0)

    def random(rows: int, number: int, tokens: int) -> Tensor:
        states = torch.randn(rows, number, tokens, 8, generator=generator, dtype=torch.float64)
        return states.to(dtype)

    longest, most = int(lengths.max()), int(completions.max())
    taken_BS = torch.arange(most) < completions[:, None]
    mask_BP = torch.arange(longest) >= longest - lengths[:, None]
    bias_B11P = torch.zeros(mask_BP.shape, dtype=dtype).masked_fill(~mask_BP, -torch.inf)
    layers = [
        PromptStates(*(random(len(lengths), heads[1], longest) for _ in range(2))) for _ in range(2)
    ]
    prompts = SharedPrompts(
        layers,
        most,
        None if taken_BS.all() else taken_BS.flatten().nonzero()[:, 0],
        None if mask_BP.all() else bias_B11P[:, None, None],
    )
    rows = int(completions.sum())
    query, key, value = (random(rows, *each) for each in ((heads[0], 1), *[(heads[1], 5)] * 2))
    return Case(query * size, key, value, prompts, taken_BS.nonzero()[:, 0])


def assert_close(ours: Tensor, theirs: Tensor) -> None:
    assert ours.dtype == theirs.dtype
    assert ours.shape == theirs.shape
    assert ((ours - theirs).abs().max() / theirs.abs().max()) < TOLERANCE[theirs.dtype]


@pytest.mark.parametrize("groups", GROUPS.values(), ids=GROUPS)
@pytest.mark.parametrize("heads", HEADS.values(), ids=HEADS)
def test_equals_a_copy_of_the_prompt_for_each(
    groups: tuple[Sequence[int], Sequence[int]], heads: tuple[int, int]
) -> None:
    one = case(groups, heads)
    assert_close(one.ours(), one.expanded())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_equals_it_in_other_formats(dtype: torch.dtype) -> None:
    one = case(GROUPS["ragged, padding"], dtype=dtype)
    assert_close(one.ours(), one.expanded())


@pytest.mark.parametrize("size", [1e-3, 300.0], ids=["flat", "peaked"])
def test_halves_of_very_different_weight(size: float) -> None:
    """All of the softmax in the prompt, or in the completion, must not overflow the other."""
    one = case(GROUPS["ragged, padding"], size=size)
    assert_close(one.ours(), one.expanded())


def test_controls_differ() -> None:
    """What the comparison must notice: the prompt of another group, and padding that is seen."""
    one = case(GROUPS["ragged, padding"])
    assert (one.ours() - one.expanded(shift=1)).abs().max() > 0.1
    assert (one.ours() - one.expanded(padding=False)).abs().max() > 0.1


def test_wider_queries_are_computed_in_the_format_of_the_keys() -> None:
    """As autocast leaves them, where positions are rotated in fp32."""
    one = case(GROUPS["ragged, padding"], dtype=torch.bfloat16)
    wide = replace(one, query_AH1D=one.query_AH1D.float())
    with torch.autocast("cpu", torch.bfloat16):
        assert_close(wide.ours(), one.expanded())


def test_several_tokens_at_once_are_refused() -> None:
    one = case(GROUPS["one prompt"])
    two = replace(one, query_AH1D=one.query_AH1D.expand(-1, -1, 2, -1))
    with pytest.raises(ValueError, match=r"2 tokens per completion.*one at a time"):
        two.ours()
