"""Sharded weights, in a group of one process: all hooks are there, and nobody to wait for."""

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed
from accelerate.utils import DistributedType
from torch.distributed.fsdp import CPUOffloadPolicy
from torch.distributed.tensor import DTensor

from tests.subject import FamilyFolders
from triptych.data.sample import Sample
from triptych.errors import ConfigError
from triptych.generation import SamplingConfig
from triptych.generation.local import LocalEngine
from triptych.models import OmniModel
from triptych.models.omni import LoadOptions
from triptych.models.packing import PackedBatch, pack
from triptych.models.quantization import Quantize
from triptych.training.fsdp2 import shard
from triptych.training.sharding import (
    check_processes,
    exact_weights,
    is_sharded,
    load_optimizer_state,
    optimizer_state,
    whole_weights,
)

GREEDY = SamplingConfig(max_new_tokens=4, temperature=0.0)


@pytest.fixture
def group() -> Iterator[None]:
    store = torch.distributed.HashStore()  # type: ignore[attr-defined]
    torch.distributed.init_process_group("gloo", rank=0, world_size=1, store=store)
    yield
    torch.distributed.destroy_process_group()


def launched(
    kind: DistributedType = DistributedType.FSDP, half: bool = False, **plugin: Any
) -> Any:
    settings = {
        "fsdp_version": 2, "reshard_after_forward": True, "cpu_offload": None,
        "activation_checkpointing": False, "zero_stage": 3,
        "deepspeed_config": {"zero_optimization": {"stage": 3}},
    }  # fmt: skip
    either = SimpleNamespace(**{**settings, **plugin})
    return SimpleNamespace(
        distributed_type=kind,
        state=SimpleNamespace(fsdp_plugin=either, deepspeed_plugin=either),
        mixed_precision="bf16" if half else "no",
        device=torch.device("cpu"),
    )


def offloaded(name: str) -> dict[str, Any]:
    return {"zero_optimization": {"stage": 3, name: {"device": "cpu"}}}


def packed(model: OmniModel, sample: Sample) -> PackedBatch:
    ids = model.tokenizer("a calm face", add_special_tokens=False)["input_ids"]
    return pack([model.encode(sample)], [[ids, ids[:2]]], model.pad_token_id, model.family)


def answers(model: OmniModel, samples: list[Sample]) -> list[tuple[int, ...]]:
    groups = LocalEngine(model).generate(samples[:2], 2, GREEDY)
    return [one.token_ids for group in groups for one in group]


@pytest.mark.usefixtures("group")
def test_a_sharded_model_computes_and_writes_the_same(
    tiny: OmniModel, samples: list[Sample], tmp_path: Path
) -> None:
    tiny.freeze(["vision"])
    tiny.train()
    batch, written = packed(tiny, samples[0]), answers(tiny, samples)
    tiny.save_pretrained(tmp_path)
    expected = {name: weight.detach().clone() for name, weight in tiny.named_parameters()}
    logps_N = tiny(**batch.model_inputs()).logps_N
    logps_N.sum().backward()
    gradients = {n: w.grad.clone() for n, w in tiny.named_parameters() if w.grad is not None}
    tiny.zero_grad()
    shard(tiny, launched())
    assert is_sharded(tiny)
    for name, weight in tiny.named_parameters():
        assert isinstance(weight, DTensor) == (".visual." not in name), name
    # As in a step of GRPO: a rollout comes first, then the update.
    for _ in range(2):
        with whole_weights(tiny):
            assert not any(isinstance(weight, DTensor) for weight in tiny.parameters())
            assert answers(tiny, samples) == written
        assert any(isinstance(weight, DTensor) for weight in tiny.parameters())
        found_N = tiny(**batch.model_inputs()).logps_N
        torch.testing.assert_close(found_N, logps_N, rtol=0, atol=0)
        found_N.sum().backward()
        for name, weight in tiny.named_parameters():
            assert (weight.grad is None) == (name not in gradients)
            if isinstance(weight.grad, DTensor):
                torch.testing.assert_close(weight.grad.full_tensor(), gradients[name])
        tiny.zero_grad()
        assert all(isinstance(w, DTensor) for w in tiny.decoder.layers.parameters()), "given back"
    # To files and back, bit for bit.
    with torch.no_grad():
        for weight in tiny.parameters():
            weight.zero_()
    with exact_weights(tiny):
        tiny.load_weights(tmp_path)
    with exact_weights(tiny):
        for name, weight in tiny.named_parameters():
            assert torch.equal(weight, expected[name]), name
    with exact_weights(tiny, here=False):
        sharded = [w for n, w in tiny.named_parameters() if ".visual." not in n]
        assert not any(weight.numel() for weight in sharded)
    with exact_weights(tiny):
        assert all(torch.equal(w, expected[n]) for n, w in tiny.named_parameters())


@pytest.mark.usefixtures("group")
def test_the_projector_of_a_frozen_encoder_stays_whole_too(family_folders: FamilyFolders) -> None:
    """It runs where the encoder does: in a thread, without the other processes."""
    model = OmniModel.from_pretrained(family_folders["qwen2_audio"])
    model.freeze(["audio", "multi_modal_projector"])
    shard(model, launched())
    of_audio = ("audio_tower", "multi_modal_projector")
    for name, weight in model.named_parameters():
        assert isinstance(weight, DTensor) != any(part in name for part in of_audio), name


@pytest.mark.usefixtures("group")
def test_in_half_precision_only_weights_are_in_it(tiny: OmniModel, samples: list[Sample]) -> None:
    batch = packed(tiny, samples[0])
    exact = {name: weight.detach().clone() for name, weight in tiny.named_parameters()}
    shard(tiny, launched(half=True))
    with torch.autocast("cpu", torch.bfloat16):
        output = tiny(**batch.model_inputs())
    output.logps_N.sum().backward()
    assert output.logps_N.dtype == torch.float32
    assert {weight.grad.dtype for weight in tiny.parameters() if weight.grad is not None} == {
        torch.float32
    }
    with whole_weights(tiny):
        assert tiny.thinker.get_output_embeddings().weight.dtype == torch.bfloat16
    with exact_weights(tiny):
        assert all(torch.equal(w, exact[n]) for n, w in tiny.named_parameters())


@pytest.mark.usefixtures("group")
def test_the_optimizers_state_is_that_of_whole_weights(
    tiny: OmniModel, samples: list[Sample]
) -> None:
    def trained(model: OmniModel) -> torch.optim.Optimizer:
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        model(**packed(model, samples[0]).model_inputs()).logps_N.sum().backward()
        optimizer.step()
        return optimizer

    whole = trained(tiny).state_dict()
    tiny.zero_grad()
    shard(tiny, launched())
    optimizer = torch.optim.AdamW(tiny.parameters(), lr=1e-3)
    load_optimizer_state(tiny, optimizer, whole)
    found = optimizer_state(tiny, optimizer)
    assert found["param_groups"] == whole["param_groups"]
    assert found["state"].keys() == whole["state"].keys()
    for number, state in whole["state"].items():
        for name, value in state.items():
            assert torch.equal(found["state"][number][name], value)
    moments = [state["exp_avg"] for state in optimizer.state.values()]
    assert all(isinstance(moment, DTensor) for moment in moments)


def test_a_whole_model_stays_as_it_is(tiny: OmniModel) -> None:
    assert not is_sharded(tiny)
    before = list(tiny.parameters())
    with whole_weights(tiny), exact_weights(tiny, here=False):
        assert all(a is b for a, b in zip(before, tiny.parameters(), strict=True))


@pytest.mark.parametrize(
    ("kind", "plugin", "message"),
    [
        (DistributedType.DEEPSPEED, {"zero_stage": 2}, "stage 2 cannot run; set zero_stage: 3"),
        (DistributedType.DEEPSPEED, {"deepspeed_config": offloaded("offload_param")}, "offload_p"),
        (
            DistributedType.DEEPSPEED,
            {"deepspeed_config": offloaded("offload_optimizer")},
            "offload_optimizer_device",
        ),
        (DistributedType.FSDP, {"fsdp_version": 1}, "set fsdp_version: 2"),
        (DistributedType.FSDP, {"cpu_offload": CPUOffloadPolicy()}, "fsdp_offload_params"),
        (DistributedType.FSDP, {"activation_checkpointing": True}, "set gradient_checkpointing"),
    ],
)
def test_what_cannot_run_is_refused(
    kind: DistributedType, plugin: dict[str, Any], message: str, tiny: OmniModel
) -> None:
    with pytest.raises(ConfigError, match=message):
        check_processes(tiny, launched(kind, **plugin))


@pytest.mark.parametrize("kind", ["NO", "MULTI_GPU", "FSDP", "DEEPSPEED"])
def test_what_can_run_is_not_refused(kind: str, tiny: OmniModel) -> None:
    check_processes(tiny, launched(DistributedType[kind]))


@pytest.mark.parametrize(
    ("quantize", "refused"),
    [(Quantize.FOUR_BIT, {"DEEPSPEED"}), (Quantize.EIGHT_BIT, {"DEEPSPEED", "FSDP"})],
)
def test_quantised_weights_are_shared_only_where_that_works(
    quantize: Quantize, refused: set[str], tiny_folder: Path
) -> None:
    pytest.importorskip("bitsandbytes")
    model = OmniModel.from_pretrained(tiny_folder, options=LoadOptions(quantize=quantize))
    for kind in ("NO", "MULTI_GPU", "FSDP", "DEEPSPEED"):
        expected = pytest.raises(ConfigError, match="cannot be shared") if kind in refused else None
        with expected or nullcontext():
            check_processes(model, launched(DistributedType[kind]))
