"""FSDP2: what of a model is sharded among processes, and how all of it is had again.

Sharded is the text decoder, layer by layer, with embeddings, head and the media encoders that are
trained; of the optimizer's state each process holds its share, too.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

from triptych.models.omni import OmniModel
from triptych.models.towers import frozen_towers


def shard(model: OmniModel, accelerator: Accelerator) -> None:
    """Shard a model in place.

    Each decoder layer is gathered for itself. The rest is gathered at the begin of a forward.
    """
    # Only weights change their format: accelerate's own policy would hand on rope positions and
    # log-probs in bfloat16, and add up gradients in it.
    half = torch.bfloat16 if accelerator.mixed_precision == "bf16" else None
    options: dict[str, Any] = {
        "mp_policy": MixedPrecisionPolicy(
            param_dtype=half, reduce_dtype=half and torch.float32, cast_forward_inputs=False
        ),
        "ignored_params": _frozen_tower_weights(model),
    }
    for layer in cast(Any, model.decoder).layers:
        fully_shard(
            layer,
            reshard_after_forward=accelerator.state.fsdp_plugin.reshard_after_forward,
            **options,
        )
    fully_shard(model, **options)
    for weight in options["ignored_params"]:
        weight.data = weight.data.to(accelerator.device)


def is_sharded(model: nn.Module) -> bool:
    """Whether each process holds only a share of the weights."""
    return isinstance(model, FSDPModule)


@contextmanager
def whole_weights(model: nn.Module) -> Iterator[None]:
    """See `sharding.whole_weights`."""
    assert isinstance(model, FSDPModule)
    # The first module that runs would take itself for the root.
    model._get_fsdp_state()._lazy_init()
    parts = [part for part in model.modules() if isinstance(part, FSDPModule)]
    inner = [part for part in parts if part is not model]
    resharding = [_reshards(part) for part in inner]
    for part in inner:
        part.set_reshard_after_forward(False, recurse=False)
    for part in parts:
        part.unshard()
    try:
        yield
    finally:
        for part in parts:
            part.reshard()
        for part, reshards in zip(inner, resharding, strict=True):
            part.set_reshard_after_forward(reshards, recurse=False)


def _reshards(part: FSDPModule) -> bool:
    return any(
        group.post_forward_mesh_info is not None
        for group in part._get_fsdp_state()._fsdp_param_groups
    )


@contextmanager
def exact_weights(model: nn.Module, *, here: bool = True) -> Iterator[None]:
    """See `sharding.exact_weights`."""
    shards = [
        (module, name, cast(DTensor, weight))
        for module in model.modules()
        for name, weight in module._parameters.items()
        if isinstance(weight, DTensor)
    ]
    whole: dict[int, nn.Parameter] = {}
    for module, name, weight in shards:
        if id(weight) not in whole:  # tied ones stay tied
            full = weight.full_tensor().detach().cpu() if here else None
            if full is None:
                weight.full_tensor()
                full = torch.empty(0, dtype=weight.dtype)
            whole[id(weight)] = nn.Parameter(full, weight.requires_grad)
        module._parameters[name] = whole[id(weight)]
    # FSDP2 would look for its shards after `load_state_dict`.
    hooks = {module: module._load_state_dict_post_hooks for module, _, _ in shards}
    for module in hooks:
        module._load_state_dict_post_hooks = OrderedDict()
    try:
        yield
    finally:
        for module, of_module in hooks.items():
            module._load_state_dict_post_hooks = of_module
        for module, name, weight in shards:
            module._parameters[name] = cast(nn.Parameter, weight)
        if here:
            for _, _, weight in shards:
                weight.to_local().data.copy_(_share(whole[id(weight)].data, weight).to_local())


def optimizer_state(optimizer: Optimizer) -> dict[str, Any]:
    """The state of an optimizer of sharded weights, as one of whole weights would give it.

    All processes must call it.
    """
    state = optimizer.state_dict()
    parts = {
        number: {name: _whole(value) for name, value in of_weight.items()}
        for number, of_weight in state["state"].items()
    }
    return {**state, "state": parts}


def load_optimizer_state(optimizer: Optimizer, state: Mapping[str, Any]) -> None:
    """Give an optimizer the state of one of whole weights; its own may be sharded."""
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    parts = {
        number: {
            name: _share(value, weights[number]) if _is_share(value, weights[number]) else value
            for name, value in of_weight.items()
        }
        for number, of_weight in state["state"].items()
    }
    optimizer.load_state_dict({**state, "state": parts})


def _whole(value: Any) -> Any:
    return value.full_tensor().cpu() if isinstance(value, DTensor) else value


def _is_share(value: Any, weight: Tensor) -> bool:
    whole = isinstance(value, Tensor) and value.shape == weight.shape
    return whole and isinstance(weight, DTensor)


def _share(whole: Tensor, weight: DTensor) -> DTensor:
    """What a process holds of a tensor that all of them have, cut as a weight is."""
    return distribute_tensor(
        whole.to(weight.device), weight.device_mesh, weight.placements, src_data_rank=None
    )


def _frozen_tower_weights(model: OmniModel) -> set[nn.Parameter]:
    """They stay whole: a process runs these towers when it likes, and in a thread beside."""
    frozen = frozen_towers(model.thinker, model.family).values()
    return {weight for parts in frozen for part in parts for weight in part.parameters()}
