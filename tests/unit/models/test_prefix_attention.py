"""Blocks of attention must add up to attention under a mask, and be no more than is needed."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias, cast

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from triptych.errors import ModelError
from triptych.models import LoadOptions, OmniModel, prefix_attention
from triptych.models.prefix_attention import (
    Attention,
    attention_of,
    joined_attention,
    merged_attention,
    set_attention,
)
from triptych.models.prefix_layout import Group, Layout, shared_prefix_mask
from triptych.training.grpo import frozen_copy

LAYOUTS: dict[str, Layout] = {
    "equal": (Group(24, (8, 8, 8)),),
    "ragged": (Group(9, (5, 1, 4, 4, 2)),),
    "one completion": (Group(6, (5,)),),
    "one token each": (Group(1, (1, 1, 1)),),
    "several groups": (Group(7, (3,)), Group(5, (1, 4, 4)), Group(12, (2, 6))),
    "longer than a kernel's block": (Group(600, (90, 40, 40)),),
}
HEADS = {"heads": (4, 4), "grouped heads": (4, 2), "one head for keys": (3, 1)}
TOLERANCE = {torch.float64: 1e-12, torch.float32: 3e-6, torch.bfloat16: 2e-2, torch.float16: 3e-3}
SCALE = 0.3

States: TypeAlias = tuple[Tensor, Tensor, Tensor]
Attend: TypeAlias = Callable[[Tensor, Tensor, Tensor, Layout, float], Tensor]
BOTH = pytest.mark.parametrize("attend", [merged_attention, joined_attention])


def row(
    layout: Layout,
    heads: tuple[int, int] = (4, 2),
    dtype: torch.dtype = torch.float64,
    head_size: int = 16,
) -> tuple[States, Tensor]:
    """Query, key and value as a decoder makes them, and a gradient of what comes out."""
    generator = torch.Generator().manual_seed(0)
    length = sum(group.length for group in layout)

    def random(number: int) -> Tensor:
        drawn = torch.randn(1, length, number, head_size, generator=generator, dtype=torch.float64)
        return drawn.to(dtype).transpose(1, 2)

    query, key, value = (random(number).requires_grad_() for number in (*heads, heads[1]))
    return (query, key, value), random(heads[0])


def masked(states: States, layout: Layout) -> Tensor:
    """Group by group, under the mask."""
    sizes = [group.length for group in layout]
    parts = zip(layout, *(state.split(sizes, dim=2) for state in states), strict=True)
    outs = [
        scaled_dot_product_attention(
            query, key, value, shared_prefix_mask((group,)), scale=SCALE, enable_gqa=True
        )
        for group, query, key, value in parts
    ]
    return torch.cat(outs, dim=2)


def assert_close(ours: Tensor, theirs: Tensor) -> None:
    assert ours.dtype == theirs.dtype
    scale = theirs.abs().max().clamp_min(1e-9)
    assert ((ours - theirs).abs().max() / scale) < TOLERANCE[theirs.dtype]


def assert_equal(attend: Attend, states: States, layout: Layout, gradient: Tensor) -> None:
    """To the mask, in what comes out and in the gradients."""
    ours, theirs = attend(*states, layout, SCALE), masked(states, layout)
    assert_close(ours, theirs)
    for mine, reference in zip(
        torch.autograd.grad(ours, states, gradient),
        torch.autograd.grad(theirs, states, gradient),
        strict=True,
    ):
        assert_close(mine, reference)


@BOTH
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("heads", HEADS.values(), ids=HEADS)
def test_equals_the_mask(attend: Attend, layout: Layout, heads: tuple[int, int]) -> None:
    states, gradient = row(layout, heads)
    assert_equal(attend, states, layout, gradient)


@BOTH
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_equals_the_mask_in_other_formats(attend: Attend, dtype: torch.dtype) -> None:
    layout = LAYOUTS["several groups"]
    states, gradient = row(layout, dtype=dtype)
    assert_equal(attend, states, layout, gradient)


@BOTH
def test_gradients_by_differences(attend: Attend) -> None:
    layout = (Group(2, (2, 1, 1)), Group(1, (1,)))
    states, _ = row(layout, heads=(2, 1), head_size=2)
    assert torch.autograd.gradcheck(lambda q, k, v: attend(q, k, v, layout, SCALE), states)


@pytest.mark.parametrize("size", [1e-3, 300.0], ids=["flat", "peaked"])
def test_halves_of_very_different_weight(size: float) -> None:
    """All of the softmax in one half must not overflow the other."""
    layout = LAYOUTS["ragged"]
    (query, key, value), gradient = row(layout)
    query = query.detach().mul(size).requires_grad_()
    assert_equal(merged_attention, (query, key, value), layout, gradient)


def test_any_gradient_layout() -> None:
    """The gradient of a sum is one number, repeated without memory."""
    layout = LAYOUTS["ragged"]
    states, _ = row(layout)
    ours = torch.autograd.grad(merged_attention(*states, layout, SCALE).sum(), states)
    theirs = torch.autograd.grad(masked(states, layout).sum(), states)
    for mine, reference in zip(ours, theirs, strict=True):
        assert (mine - reference).abs().max() < 1e-12


def test_only_the_scores_that_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Query-key pairs handed to the kernel; of causal ones it computes half."""
    full: list[int] = []
    causal: list[int] = []
    kernel = prefix_attention._FLASH

    def counting(query: Tensor, key: Tensor, value: Tensor, **options: Any) -> Any:
        pairs = query.shape[0] * query.shape[2] * key.shape[2]
        (causal if options["is_causal"] else full).append(pairs)
        return kernel(query, key, value, **options)

    monkeypatch.setattr(prefix_attention, "_FLASH", counting)
    layout = (Group(20, (6, 6, 6, 4)), Group(10, (5,)))
    states, _ = row(layout)
    merged_attention(*states, layout, SCALE)
    assert full == [20 * (6 + 6 + 4)]
    assert causal == [26 * 26, 2 * 6 * 6, 4 * 4, 15 * 15]


def test_autocast_computes_in_its_format() -> None:
    layout = LAYOUTS["ragged"]
    states, _ = row(layout, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        ours = prefix_attention.prefix_attention(*states, layout, SCALE)
        theirs = masked(states, layout)
    assert ours.dtype == torch.bfloat16
    assert_close(ours, theirs)
    assert torch.autograd.grad(ours.sum(), states)[0].dtype == torch.float32


@pytest.mark.parametrize("layout", [(Group(5, (3,)),), (Group(5, (3, 3)), Group(2, (1,)))])
def test_a_row_that_is_laid_out_otherwise_is_refused(layout: Layout) -> None:
    states, _ = row((Group(5, (3, 2)),))
    with pytest.raises(ValueError, match="does not lay out a row"):
        prefix_attention.prefix_attention(*states, layout, SCALE)


class TestSwitching:
    def test_the_text_decoder_only(self, tiny: OmniModel) -> None:
        config = tiny.config
        before = config.vision_config._attn_implementation, config.audio_config._attn_implementation
        assert attention_of(tiny.thinker) is Attention.PREFIX
        set_attention(tiny.thinker, Attention.MASK)
        assert config.text_config._attn_implementation == "sdpa"
        set_attention(tiny.thinker, Attention.PREFIX)
        after = config.vision_config._attn_implementation, config.audio_config._attn_implementation
        assert before == after

    def test_by_the_options_of_loading(self, tiny_folder: Path) -> None:
        options = LoadOptions(attention=Attention.MASK)
        assert OmniModel.from_pretrained(tiny_folder, options=options).attention is Attention.MASK

    def test_copies_attend_alike_and_folders_do_not_know(
        self, tiny: OmniModel, tmp_path: Path
    ) -> None:
        assert attention_of(copy.deepcopy(tiny.thinker)) is Attention.PREFIX
        tiny.save_pretrained(tmp_path)
        assert "shared_prefix" not in json.dumps(json.loads((tmp_path / "config.json").read_text()))

    def test_the_reference_attends_as_the_policy_does(self, tiny: OmniModel) -> None:
        set_attention(tiny.thinker, Attention.MASK)
        assert frozen_copy(tiny).attention is Attention.MASK

    def test_rollouts_attend_as_ever(self, tiny: OmniModel) -> None:
        """Padded prompts, and a token more with their cache: bit for bit what sdpa gives."""
        ids = torch.randint(300, 600, (3, 12), generator=torch.Generator().manual_seed(0))
        mask = torch.ones_like(ids)
        mask[0, :5] = 0  # padded at the left
        positions = torch.arange(13).expand(3, 3, -1)

        def logits() -> list[Tensor]:
            first = tiny.thinker(
                input_ids=ids, attention_mask=mask, position_ids=positions[..., :12], use_cache=True
            )
            second = tiny.thinker(
                input_ids=ids[:, :1],
                attention_mask=torch.cat([mask, torch.ones_like(ids[:, :1])], dim=1),
                position_ids=positions[..., 12:],
                past_key_values=first.past_key_values,
            )
            return [first.logits, second.logits]

        with torch.no_grad():
            ours = logits()
            set_attention(tiny.thinker, Attention.MASK)
            for mine, reference in zip(ours, logits(), strict=True):
                assert torch.equal(mine, reference)

    @pytest.mark.parametrize("attention", Attention)
    def test_window_layers_are_refused(self, tiny: OmniModel, attention: Attention) -> None:
        tiny.config.text_config.layer_types[1] = "sliding_attention"
        with pytest.raises(ModelError, match=r"sliding_attention.*use_sliding_window"):
            set_attention(tiny.thinker, attention)

    def test_a_decoder_that_cannot_be_switched_is_refused(
        self, tiny: OmniModel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        set_attention(tiny.thinker, Attention.MASK)
        for module in (tiny.thinker, tiny.thinker.model, tiny.decoder):
            monkeypatch.setattr(type(module), "_can_set_attn_implementation", lambda _: False)
        with pytest.raises(ModelError, match=r"cannot be replaced.*attention: mask"):
            set_attention(tiny.thinker, Attention.PREFIX)
        set_attention(tiny.thinker, Attention.MASK)

    def test_dropout_is_refused(self, tiny: OmniModel) -> None:
        layer = cast(Any, tiny.decoder.layers[0].self_attn)
        layer.attention_dropout = 0.1
        inputs = torch.zeros(5, dtype=torch.long)
        positions = torch.arange(5).expand(3, -1)
        tiny.hidden(inputs, positions, (Group(3, (2,)),), {})
        with pytest.raises(ModelError, match=r"asks for 0\.1.*attention: mask"):
            tiny.train().hidden(inputs, positions, (Group(3, (2,)),), {})
