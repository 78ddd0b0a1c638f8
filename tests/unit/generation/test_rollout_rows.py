"""Sequences that have ended leave the batch, and the cache has room: what is written stays so."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from triptych.data.sample import Sample
from triptych.generation import Completion, Enforce, SamplingConfig, StopReason
from triptych.generation.local import LocalEngine, _Prefilled
from triptych.generation.shared_cache import RoomyLayer
from triptych.models import OmniModel
from triptych.models.prefix_attention import Attention, set_attention

SAMPLED = SamplingConfig(max_new_tokens=30, seed=5)
ENFORCED = SamplingConfig(
    max_new_tokens=60,
    seed=5,
    temperature=1.5,
    enforce=Enforce.STAGES,
    max_stage_tokens={"context": 20, "think": 10, "answer": 5},
)


@pytest.fixture
def brief(tiny: OmniModel, monkeypatch: pytest.MonkeyPatch) -> OmniModel:
    """Ends by and by: one token in ten is the end token, and stages are soon closed."""
    logits, end = tiny.logits, tiny.end_token_ids[0]
    closing = torch.tensor([tiny.tokenizer.encode(s.close_tag)[0] for s in tiny.format.stages])

    def often_ended(hidden: Tensor) -> Tensor:
        scores = logits(hidden).index_add(-1, closing, torch.full((*hidden.shape[:-1], 3), 3.0))
        others = scores.index_fill(-1, torch.tensor([end]), -torch.inf).logsumexp(-1)
        scores[..., end] = others - torch.tensor(9.0).log()
        return scores

    monkeypatch.setattr(tiny, "logits", often_ended)
    return tiny


def batch_sizes(model: OmniModel) -> list[int]:
    """Filled, forward by forward, with how many sequences the decoder is given after prefill."""
    sizes: list[int] = []

    def note(_module: object, _args: object, kwargs: dict[str, Tensor], _output: object) -> None:
        if (ids := kwargs.get("input_ids")) is not None and ids.shape[1] == 1:
            sizes.append(len(ids))

    model.decoder.register_forward_hook(note, with_kwargs=True)
    return sizes


@pytest.mark.parametrize(
    "sampling",
    [
        SAMPLED,
        replace(SAMPLED, seed_per_sample=True),
        replace(SAMPLED, top_k=40, top_p=0.9),
        ENFORCED,
        replace(ENFORCED, seed_per_sample=True),
    ],
    ids=["one seed", "own seeds", "cut", "enforced", "enforced, own seeds"],
)
def test_who_leaves_changes_nothing_for_who_stays(
    brief: OmniModel,
    samples: list[Sample],
    sampling: SamplingConfig,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Prompts of different length, so there is a mask too."""
    chosen = [samples[0], samples[1].model_copy(update={"media": ()}), samples[2]]
    sizes, told = batch_sizes(brief), list[list[int]]()
    groups = LocalEngine(brief).generate(chosen, 4, sampling, lambda ids: told.append(list(ids)))
    steps = len(sizes)
    assert sizes[0] == 12
    assert min(sizes) <= 6
    assert sizes == sorted(sizes, reverse=True)
    assert {len(ids) for ids in told} == {12}, "told of those that have left, too"
    monkeypatch.setattr(_Prefilled, "keep", lambda _self, _rows: None)
    assert LocalEngine(brief).generate(chosen, 4, sampling) == groups
    assert sizes[steps:] == [12] * steps
    lengths = [len(one.token_ids) for group in groups for one in group]
    assert len(set(lengths)) > 4
    assert StopReason.END in {one.stop_reason for group in groups for one in group}


@pytest.mark.parametrize(
    ("attention", "share"),
    [(Attention.PREFIX, 0.75), (Attention.MASK, 0.5)],
)
def test_most_of_a_batch_is_running(
    brief: OmniModel, samples: list[Sample], attention: Attention, share: float
) -> None:
    set_attention(brief.thinker, attention)
    sizes = batch_sizes(brief)
    (group,) = LocalEngine(brief).generate(samples[:1], 16, SAMPLED)
    running = [sum(len(one.token_ids) > step for one in group) for step in range(1, len(sizes) + 1)]
    assert all(here * share < left <= here for here, left in zip(sizes, running, strict=True))


@pytest.mark.parametrize("sampling", [replace(SAMPLED, temperature=0), SAMPLED])
@pytest.mark.parametrize("room", [3, 128])
def test_room_in_the_cache_changes_nothing(
    brief: OmniModel,
    samples: list[Sample],
    sampling: SamplingConfig,
    room: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def write() -> list[list[Completion]]:
        return LocalEngine(brief).generate(samples[:2], 4, sampling)

    monkeypatch.setattr(RoomyLayer, "ROOM", room)
    groups = write()
    for method in ("update", "batch_select_indices"):
        monkeypatch.setattr(RoomyLayer, method, getattr(DynamicLayer, method))
    assert write() == groups


def test_a_layer_with_room_holds_what_one_without_holds() -> None:
    generator = torch.Generator().manual_seed(0)

    def states(rows: int, tokens: int) -> tuple[Tensor, Tensor]:
        keys, values = torch.randn(2, rows, 3, tokens, 4, generator=generator).unbind()
        return keys, values

    plain, cache = DynamicLayer(), DynamicCache()
    plain.update(*states(4, 5))
    roomy = RoomyLayer(plain.keys, plain.values)
    cache.layers = [roomy]
    places = []
    for step, tokens in enumerate((1, 1, 200, 1)):
        more = states(len(plain.keys), tokens)
        for ours, theirs in zip(roomy.update(*more), plain.update(*more), strict=True):
            assert ours.equal(theirs)
        assert cache.get_seq_length() == plain.get_seq_length() == plain.keys.shape[-2]
        assert roomy.get_mask_sizes(1) == plain.get_mask_sizes(1)
        places.append(roomy.keys.data_ptr())
        if step == 1:
            kept = torch.tensor([1, 3])
            cache.batch_select_indices(kept)
            plain.batch_select_indices(kept)
    assert places[0] == places[1], "nothing was copied for a token that there was room for"
