"""What tests of the arithmetic plan: sizes of a tiny model, and a step of it."""

from typing import Any

import torch
from torch import Tensor

from triptych.models import OmniModel
from triptych.models.families import family_for
from triptych.models.packing import pack
from triptych.models.tiny import TinyConfig, build_processor, build_thinker, build_tokenizer
from triptych.planning.lengths import Lengths, PromptLength
from triptych.planning.workload import Workload


def tiny_model(**sizes: Any) -> OmniModel:
    """A tiny model of other sizes."""
    tokenizer, config = build_tokenizer(), TinyConfig(**sizes)
    return OmniModel(
        build_thinker(tokenizer, config, seed=0),
        build_processor(tokenizer, config),
        family_for("qwen2_5_omni_thinker"),
    )


def work(prompt: PromptLength | None = None, **settings: Any) -> Workload:
    """A step of reinforcement."""
    defaults: dict[str, Any] = {
        "kind": "grpo",
        "lengths": Lengths.of([prompt or PromptLength(500)], 10, exact=True),
        "per_step": 4,
        "micro_batch": 1,
        "group": 4,
        "completion": 50,
        "expected": 50,
        "trained": 1_000_000,
        "reference": True,
    }
    return Workload(**{**defaults, **settings})


def kept_bytes(model: OmniModel, prompt: Any, group: int, tokens: int) -> int:
    """Bytes that autograd keeps of a forward to the last hidden states, weights left out."""
    packed = pack(
        [prompt], [[[5] * tokens] * group], model.pad_token_id, model.family
    ).model_inputs()
    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    kept: dict[int, int] = {}
    alive: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor)  # or its place could be taken by another
        return tensor

    names = ("input_ids_L", "position_ids_3L", "layout", "features")
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        hidden = model.hidden(**{name: packed[name] for name in names})
    del hidden
    return sum(kept.values())
