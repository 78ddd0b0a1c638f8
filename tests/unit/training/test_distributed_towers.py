"""Encoders that must run although a micro-batch has no media for them."""

from types import SimpleNamespace

import pytest
import torch
from accelerate.utils import DistributedType
from torch import Tensor

from tests.subject import Subject
from triptych.data.sample import MediaKind, Sample
from triptych.models import OmniModel
from triptych.models.idle_towers import smallest_media, towers_in
from triptych.models.packing import PackedBatch, pack
from triptych.training.distributed import TowerDuty


def batch(model: OmniModel, sample: Sample, *, media: bool) -> PackedBatch:
    if not media:
        sample = sample.model_copy(update={"media": ()})
    ids = model.tokenizer("a calm face", add_special_tokens=False)["input_ids"]
    return pack([model.encode(sample)], [[ids]], model.pad_token_id, model.family)


class Processes(SimpleNamespace):
    """Several processes; the others have `more` of what is added up."""

    device = torch.device("cpu")
    distributed_type = DistributedType.MULTI_GPU

    def reduce(self, row: Tensor, how: str) -> Tensor:
        assert how == "sum"
        return row + torch.tensor(self.more)


def gradients(model: OmniModel, tower: str) -> list[Tensor | None]:
    module = model.thinker.get_submodule(model.family.towers[tower])
    return [weight.grad for weight in module.parameters()]


def test_idle_towers_change_nothing_and_have_gradients_of_zero(subject: Subject) -> None:
    model = subject.model
    text = batch(model, subject.samples[0], media=False)
    idle = dict(smallest_media(model).values())
    alone = model(**text.model_inputs()).logps_N
    alone.sum().backward()
    expected = {n: w.grad.clone() for n, w in model.named_parameters() if w.grad is not None}
    model.zero_grad()
    together = model(**text.model_inputs(), idle=idle).logps_N
    together.sum().backward()
    assert torch.equal(together, alone)
    for tower in model.family.towers:
        given = [g for g in gradients(model, tower) if g is not None]
        assert given
        assert not any(g.abs().max() > 0 for g in given)
    for name, weight in model.named_parameters():
        if name in expected:
            assert weight.grad is not None
            torch.testing.assert_close(weight.grad, expected[name], rtol=0, atol=0)


def test_the_smallest_media_reach_every_weight_that_media_reach(subject: Subject) -> None:
    """Else processes would exchange different gradients all the same."""
    model, sample = subject.model, subject.samples[0]
    model(**batch(model, sample, media=True).model_inputs()).logps_N.sum().backward()
    reached = {t: [g is not None for g in gradients(model, t)] for t in model.family.towers}
    model.zero_grad(set_to_none=True)
    idle = dict(smallest_media(model).values())
    model(**batch(model, sample, media=False).model_inputs(), idle=idle).logps_N.sum().backward()
    for tower in model.family.towers:
        assert any(reached[tower])
        assert [g is not None for g in gradients(model, tower)] == reached[tower], tower


def test_towers_run_where_any_process_needs_them(tiny: OmniModel, samples: list[Sample]) -> None:
    text, full = (batch(tiny, samples[0], media=media) for media in (False, True))
    # tokens, then the towers vision and audio: the others have sound.
    duty = TowerDuty(tiny, Processes(num_processes=2, more=[5, 0, 1]))
    assert duty.begin_step([text], 7) == 12
    assert set(duty.idle(text)) == {"audio"}
    assert not duty.idle(full)
    duty.begin_step([text, full], 7)
    assert set(duty.idle(text)) == {"audio", "image"}, "another micro-batch here has pictures"


@pytest.mark.parametrize(("processes", "more"), [(1, [0, 0, 0]), (2, [3, 0, 0])])
def test_no_tower_runs_in_vain(
    processes: int, more: list[int], tiny: OmniModel, samples: list[Sample]
) -> None:
    duty = TowerDuty(tiny, Processes(num_processes=processes, more=more))
    batches = [batch(tiny, samples[0], media=False)]
    if processes == 1:  # a single process has nobody to exchange gradients with
        batches.append(batch(tiny, samples[0], media=True))
    duty.begin_step(batches, 1)
    assert not duty.idle(batches[0])


def test_with_deepspeed_gradients_come_in_the_same_order_everywhere(
    tiny: OmniModel, samples: list[Sample]
) -> None:
    kind = DistributedType.DEEPSPEED
    duty = TowerDuty(tiny, Processes(num_processes=2, more=[5, 1, 1], distributed_type=kind))
    sound = samples[0].model_copy(
        update={"media": tuple(m for m in samples[0].media if m.kind is MediaKind.AUDIO)}
    )
    of_towers = tuple(tiny.family.towers.values())
    seen: list[str] = []
    for name, weight in tiny.thinker.named_parameters():
        if name.startswith(of_towers):
            weight.register_post_accumulate_grad_hook(lambda _, name=name: seen.append(name))
    orders = []
    for sample, media in ((samples[0], False), (samples[0], True), (sound, True)):
        one = batch(tiny, sample, media=media)
        duty.begin_step([one], 7)
        idle = duty.idle(one)
        assert list(idle) == ["audio", "image"], "those that it has media for as well"
        tiny(**one.model_inputs(), idle=idle).logps_N.sum().backward()
        orders.append(tuple(seen))
        seen.clear()
    assert orders[0]
    assert len(set(orders)) == 1


def test_a_frozen_tower_is_not_run(tiny: OmniModel, samples: list[Sample]) -> None:
    """Its embeddings stand in the place of what it would read."""
    tiny.freeze(["vision"])
    (prompt,) = tiny.encoder.encode_all([samples[0]], embed=True)
    assert towers_in(tiny.family, prompt.features) == {"audio"}
