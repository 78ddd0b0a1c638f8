"""The memory of a plan is what autograd, caches and optimizers hold."""

from dataclasses import replace

import pytest
import torch

from tests.unit.planning.planned import kept_bytes, tiny_model, work
from triptych.data.sample import Sample
from triptych.models import OmniModel
from triptych.planning.lengths import PromptLength, prompt_length
from triptych.planning.memory import layer_bytes, predict_memory, tower_layer_bytes
from triptych.planning.plan import Subject
from triptych.planning.sizes import ModelSizes, model_sizes
from triptych.planning.workload import lora_weights

MIB = 2**20


@pytest.fixture(scope="module")
def sizes() -> ModelSizes:
    return Subject.of("Qwen/Qwen2.5-Omni-7B").sizes


def test_a_layer_keeps_what_autograd_keeps(samples: list[Sample]) -> None:
    """Of two models that differ by a layer."""
    group, tokens = 4, 24
    kept, model = [], tiny_model()
    for layers in (2, 3):
        model = tiny_model(num_layers=layers, num_key_value_heads=2)
        model.freeze(("vision", "audio"))
        prompt = model.encode(samples[0])
        kept.append(kept_bytes(model, prompt, group, tokens))
    own = model_sizes("tiny", model.thinker, model.family)
    row = len(prompt.input_ids) + group * tokens
    assert kept[1] - kept[0] == pytest.approx(layer_bytes(own, work(), row), rel=0.02)


@pytest.mark.parametrize("tower", ["vision", "audio"])
def test_a_trained_encoder_keeps_what_autograd_keeps(tower: str, samples: list[Sample]) -> None:
    other = {"vision": "audio", "audio": "vision"}[tower]
    kept, model = [], tiny_model()
    for layers in (2, 4):
        model = tiny_model(tower_layers=layers)
        model.freeze((other,))
        kept.append(kept_bytes(model, model.encode(samples[0]), 2, 4))
    own = model_sizes("tiny", model.thinker, model.family)
    length = prompt_length(model.encode(samples[0]), model.thinker, model.family)
    tokens = length.tower_tokens(tower, own.towers[tower])
    planned = 2 * tokens * tower_layer_bytes(own.towers[tower], work())
    assert kept[1] - kept[0] == pytest.approx(planned, rel=0.25)


def test_weights_reference_and_optimizer_are_counted(sizes: ModelSizes) -> None:
    trained = sizes.weights - sizes.frozen(("vision", "audio"))
    here = predict_memory(sizes, work(trained=trained, frozen=("vision", "audio"))).resident
    assert here == {
        "weights": sizes.weights * 4,
        "reference": trained * 4,
        "optimizer": 2 * trained * 4,
    }
    without = predict_memory(sizes, work(trained=trained, reference=False))
    assert "reference" not in without.resident
    assert "reference" not in without.phases


def test_an_adapter_has_no_other_reference(sizes: ModelSizes) -> None:
    trained = lora_weights(sizes, 16)
    memory = predict_memory(sizes, work(trained=trained, adapter=True, width=2, layer_width=2))
    assert "reference" not in memory.resident
    assert memory.resident["weights"] == 2 * (sizes.weights + trained)
    assert memory.resident["optimizer"] == 4 * trained


def test_shards_of_all_devices_are_the_whole(sizes: ModelSizes) -> None:
    step = work(trained=sizes.weights)
    whole = predict_memory(sizes, step).resident
    shard = predict_memory(sizes, replace(step, gpus=8, sharding="fsdp")).resident
    assert {name: 8 * size for name, size in shard.items()} == pytest.approx(whole)


def test_plain_data_parallel_keeps_all_and_buckets(sizes: ModelSizes) -> None:
    step = work(trained=sizes.weights)
    alone = predict_memory(sizes, step).resident
    together = predict_memory(sizes, replace(step, gpus=8)).resident
    assert together == {**alone, "gradient buckets": 4 * sizes.weights}


def test_the_cache_holds_a_prompt_once_and_completions_each(sizes: ModelSizes) -> None:
    def cache(group: int, completion: int) -> int:
        step = work(per_step=1, group=group, completion=completion)
        return predict_memory(sizes, step).phases["rollout"]["key-value cache"]

    per_token = 2 * sizes.layers * sizes.keys * 4
    assert cache(4, 100) == per_token * (500 + 400)
    assert cache(8, 100) - cache(4, 100) == per_token * 400


def test_log_probs_do_not_grow_beyond_their_chunks(sizes: ModelSizes) -> None:
    def held(completion: int) -> int:
        phase = predict_memory(sizes, work(completion=completion)).phases["reference"]
        return phase["log-probs"]

    states = 4 * 4 * sizes.hidden
    assert held(1000) - held(500) == 500 * states
    assert held(4) < 4 * 128 * MIB


def test_checkpointing_keeps_the_inputs_of_layers(sizes: ModelSizes) -> None:
    step = work(trained=sizes.weights)
    plain = predict_memory(sizes, step).phases["update"]
    again = predict_memory(sizes, replace(step, checkpointing=True)).phases["update"]
    row = 500 + 4 * 50
    stream = row * sizes.hidden * 4
    assert again["activations"] == (sizes.layers + 4) * stream
    assert plain["activations"] > 20 * again["activations"]
    assert again["one layer again"] > layer_bytes(sizes, step, row)


def test_an_encoder_that_is_frozen_brings_embeddings(sizes: ModelSizes) -> None:
    prompt = PromptLength(100, vision=1000, vision_bytes=1000 * 4 * 4704)
    live = predict_memory(sizes, work(prompt)).phases["update"]
    frozen = predict_memory(sizes, work(prompt, frozen=("vision", "audio"))).phases["update"]
    assert live["media"] == prompt.vision_bytes
    assert frozen["media"] == 1000 * sizes.hidden * 4
    assert "encoder activations" in live
    assert "encoder activations" not in frozen


def test_what_is_planned_is_what_a_model_has(tiny: OmniModel) -> None:
    own = model_sizes("tiny", tiny.thinker, tiny.family)
    tiny.freeze(("audio",))
    trained = sum(w.numel() for w in tiny.thinker.parameters() if w.requires_grad)
    assert trained == own.weights - own.frozen(("audio",))
    assert own.head_weights == torch.numel(tiny.thinker.get_output_embeddings().weight)


def test_prompts_that_are_read_at_once_are_in_memory_at_once(sizes: ModelSizes) -> None:
    def cache(at_once: int) -> int:
        step = work(per_step=8, group=4, completion=100, at_once=at_once)
        return predict_memory(sizes, step).phases["rollout"]["key-value cache"]

    of_prompt = 2 * sizes.layers * sizes.keys * 4 * (500 + 400)
    assert [cache(number) // of_prompt for number in (1, 4, 9, 64)] == [1, 1, 2, 8]


def test_a_validation_of_a_cold_start_is_a_phase(sizes: ModelSizes) -> None:
    step = work(kind="sft", group=1, reference=False, at_once=8)
    assert "validation" not in predict_memory(sizes, step).phases
    phase = predict_memory(sizes, replace(step, validation=100)).phases["validation"]
    assert phase["key-value cache"] == 8 * 2 * sizes.layers * sizes.keys * 4 * (500 + 100)
