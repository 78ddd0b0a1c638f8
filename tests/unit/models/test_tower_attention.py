"""Segments in batches give what segments one by one give."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from triptych.models import OmniModel
from triptych.models.tower_attention import segment_attention


@pytest.mark.parametrize("lengths", [[7], [4, 4, 4], [4, 4, 2, 4, 4, 2, 1], [3, 5]])
def test_every_segment_attends_to_itself_alone(lengths: Sequence[int]) -> None:
    states = [torch.randn(1, 2, sum(lengths), 8, requires_grad=True) for _ in range(3)]
    parts = zip(*(state.split(list(lengths), dim=2) for state in states), strict=True)
    outs = [scaled_dot_product_attention(q, k, v, scale=0.3) for q, k, v in parts]
    expected = torch.cat(outs, dim=2)
    weights = torch.randn_like(expected)
    expected_gradients = torch.autograd.grad((expected * weights).sum(), states)
    query, key, value = states
    actual = segment_attention(query, key, value, lengths, scale=0.3).transpose(1, 2)
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-6)
    gradients = torch.autograd.grad((actual * weights).sum(), states)
    torch.testing.assert_close(gradients, expected_gradients, rtol=0, atol=1e-6)


def vision(model: OmniModel, grids: Tensor) -> Tensor:
    features = torch.randn(int(grids.prod(-1).sum()), 1176, generator=torch.manual_seed(0))
    inputs = {"pixel_values_videos": features, "video_grid_thw": grids}
    return model.family.embed_media(model.thinker, "video", inputs)


def audio(model: OmniModel, lengths: Sequence[int]) -> Tensor:
    longest = max(lengths)
    mels = torch.randn(len(lengths), 128, longest, generator=torch.manual_seed(0))
    mask = (torch.arange(longest) < torch.tensor(lengths)[:, None]).long()
    inputs = {"input_features": mels, "feature_attention_mask": mask}
    return model.family.embed_media(model.thinker, "audio", inputs)


@torch.no_grad()
def test_towers_give_what_they_give_with_transformers_own_attention(tiny: OmniModel) -> None:
    """Clips alike and not alike, windows that the edge of a frame cuts."""
    own = copy.deepcopy(tiny.thinker)
    own.set_attn_implementation("sdpa")
    theirs = copy.copy(tiny)
    theirs._modules = {**tiny._modules, "thinker": own}
    for grids in ([[4, 4, 4]] * 3, [[2, 8, 8], [1, 10, 6], [3, 8, 12]]):
        shape = torch.tensor(grids)
        torch.testing.assert_close(vision(tiny, shape), vision(theirs, shape), rtol=0, atol=1e-6)
    for lengths in ([100] * 3, [100, 37, 250]):
        torch.testing.assert_close(audio(tiny, lengths), audio(theirs, lengths), rtol=0, atol=1e-6)


def test_only_towers_are_switched(tiny: OmniModel) -> None:
    config = tiny.config
    assert config.vision_config._attn_implementation == "segments_as_for_flash"
    assert config.audio_config._attn_implementation == "segments_as_for_flash"
    assert config.get_text_config()._attn_implementation == "shared_prefix"


def test_segments_of_equal_length_share_a_call(
    tiny: OmniModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes: list[tuple[int, ...]] = []

    def attention(query: Tensor, key: Tensor, value: Tensor, **options: Any) -> Tensor:
        shapes.append(tuple(query.shape[::2]))
        return scaled_dot_product_attention(query, key, value, **options)

    where = "triptych.models.tower_attention.scaled_dot_product_attention"
    monkeypatch.setattr(where, attention)
    vision(tiny, torch.tensor([[4, 8, 8]] * 3))
    # A window of 112 pixels is 8 patches wide, as wide as a frame.
    assert shapes == [(12, 64), (12, 64)]


def test_the_attention_is_not_written_to_the_model_folder(tiny: OmniModel, tmp_path: Path) -> None:
    tiny.save_pretrained(tmp_path)
    assert "segments" not in (tmp_path / "config.json").read_text()
