"""ZeRO-3: what of a model DeepSpeed shares among processes, and how all of it is had again.

Each process holds a share of the weights, of their gradients and of the optimizer's state. The
layers of the text decoder are gathered one by one. Embeddings, head and trained media encoders are
gathered once for a whole step: DeepSpeed would gather them whenever they run, and how often that is
differs from process to process; they would wait for each other for ever. Frozen media encoders stay
whole, and out of DeepSpeed's sight: they run in a thread beside.
"""

import weakref
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain
from typing import Any, NamedTuple, cast

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers.integrations.deepspeed import unset_hf_deepspeed_config

from triptych.models.omni import OmniModel
from triptych.models.towers import frozen_towers


class _Known(NamedTuple):
    """What is known of a model that is shared.

    Attributes:
        formats: of its weights before DeepSpeed changed them, by their ids.
        exact: trained weights that it rounds; until they are shared.
        hidden: what DeepSpeed does not see: the module that holds it, its name there, and it.
    """

    formats: Mapping[int, torch.dtype]
    exact: list[tuple[nn.Parameter, Tensor]]
    hidden: Sequence[tuple[nn.Module, str, nn.Module]]


_known: weakref.WeakKeyDictionary[nn.Module, _Known] = weakref.WeakKeyDictionary()


def is_sharded(model: nn.Module) -> bool:
    """Whether DeepSpeed shares the weights of the model, or is about to."""
    return model in _known


def prepare(model: OmniModel, accelerator: Accelerator) -> None:
    """What comes before DeepSpeed's own preparation of a model, which `finish` must follow."""
    config = accelerator.state.deepspeed_plugin.deepspeed_config
    # Whatever the format of the weights, gradients are added up in this one.
    config.setdefault("communication_data_type", "fp32")
    config.setdefault("data_types", {"grad_accum_dtype": "fp32"})
    frozen = chain(*frozen_towers(model.thinker, model.family).values())
    half = accelerator.mixed_precision == "bf16"
    _known[model] = _Known(
        {id(weight): weight.dtype for weight in model.parameters()},
        [(weight, weight.data) for weight in model.parameters() if half and _is_rounded(weight)],
        [(*_place(model.thinker, part), part) for part in frozen],
    )
    _hide(model)


def finish(model: OmniModel, engine: Any) -> None:
    """What comes after it."""
    for weight, exact in _known[model].exact:
        _set(weight, exact)
    _known[model].exact.clear()
    for _, _, part in _known[model].hidden:
        for weight in part.parameters():
            weight.data = weight.data.to(engine.device, model.thinker.dtype)
    offload = getattr(engine.optimizer, "parameter_offload", engine.optimizer)
    _gather_outside_layers(model, offload.persistent_parameters)
    load_whole_models()


def shard_frozen(model: OmniModel, accelerator: Accelerator) -> None:
    """Share a model that is not trained; it may have weights in common with one that is."""
    import deepspeed

    prepare(model, accelerator)
    config = accelerator.state.deepspeed_plugin.deepspeed_config
    names = ("zero_optimization", "bf16", "train_micro_batch_size_per_gpu")
    needed = {name: config[name] for name in names if name in config}
    if accelerator.mixed_precision == "bf16":
        # DeepSpeed leaves formats alone where some of the weights are shared already.
        for weight in model.parameters():
            if not hasattr(weight, "ds_id"):
                weight.data = weight.data.bfloat16()
    engine, *_ = deepspeed.initialize(model=model, config=needed)
    finish(model, engine)


def _is_rounded(weight: nn.Parameter) -> bool:
    """Whether a trained weight is another one in bfloat16: DeepSpeed would begin with that."""
    return weight.requires_grad and not torch.equal(weight, weight.bfloat16().to(weight.dtype))


def load_whole_models() -> None:
    """Have transformers load models as ever. With DeepSpeed in use it shares out each of them."""
    unset_hf_deepspeed_config()


def _place(root: nn.Module, part: nn.Module) -> tuple[nn.Module, str]:
    """Which module holds another one, and by what name."""
    (path,) = (path for path, module in root.named_modules() if module is part)
    holder, _, name = path.rpartition(".")
    return root.get_submodule(holder), name


def _hide(model: nn.Module) -> None:
    """Leave modules where they are, but out of every list of modules and weights.

    A thread that runs them finds them at any moment.
    """
    for holder, name, part in _known[model].hidden:
        holder.__dict__[name] = part
        del holder._modules[name]


def _show(model: nn.Module) -> None:
    for holder, name, part in _known[model].hidden:
        holder._modules[name] = part
        del holder.__dict__[name]


def _gather_outside_layers(model: OmniModel, gathered_once: list[Any]) -> None:
    """Have what is no layer of the decoder gathered after each step, and run without hooks."""
    layers = list(cast(Any, model.decoder).layers)
    in_layers = {module for layer in layers for module in layer.modules()}
    of_layers = {id(weight) for layer in layers for weight in layer.parameters()}
    rest: list[Any] = [weight for weight in model.parameters() if id(weight) not in of_layers]
    for weight in rest:
        if not any(weight is other for other in gathered_once):
            weight.ds_persist = True
            gathered_once.append(weight)
    if rest:
        rest[0].all_gather(param_list=rest)
    for module in model.modules():
        if module is not model and module not in in_layers:
            for hooks in _hooks(module):
                for number in [n for n, hook in hooks.items() if _is_deepspeeds(hook)]:
                    del hooks[number]


def _hooks(module: nn.Module) -> tuple[dict[int, Any], dict[int, Any]]:
    return module._forward_pre_hooks, module._forward_hooks


def _is_deepspeeds(hook: Any) -> bool:
    return str(getattr(hook, "__module__", "")).startswith("deepspeed")


@contextmanager
def whole_weights(model: nn.Module) -> Iterator[None]:
    """See `sharding.whole_weights`."""
    import deepspeed

    shares = [weight for weight in model.parameters() if not _is_here(weight)]
    modules = list(model.modules())
    hooks = [(module._forward_pre_hooks, module._forward_hooks) for module in modules]
    with deepspeed.zero.GatheredParameters(shares):
        for module, of_module in zip(modules, hooks, strict=True):
            module._forward_pre_hooks, module._forward_hooks = (
                OrderedDict((n, hook) for n, hook in each.items() if not _is_deepspeeds(hook))
                for each in of_module
            )
        try:
            yield
        finally:
            for module, of_module in zip(modules, hooks, strict=True):
                module._forward_pre_hooks, module._forward_hooks = of_module


@contextmanager
def exact_weights(model: nn.Module, *, here: bool = True) -> Iterator[None]:
    """See `sharding.exact_weights`."""
    _show(model)
    shares = [
        (module, name, cast(Any, weight))
        for module in model.modules()
        for name, weight in module._parameters.items()
        if hasattr(weight, "ds_id")
    ]
    formats = _known[model].formats
    whole: dict[int, nn.Parameter] = {}
    for module, name, weight in shares:
        if id(weight) not in whole:  # tied ones stay tied
            full = _full(weight)
            full = full.to("cpu", formats[id(weight)]) if here else full.new_empty(0)
            whole[id(weight)] = nn.Parameter(full, weight.requires_grad)
        module._parameters[name] = whole[id(weight)]
    # Those of hidden modules stay as they are, for a thread may use them.
    hooks = [
        part.register_state_dict_post_hook(partial(_in_own_formats, formats))
        for _, _, part in _known[model].hidden
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for module, name, weight in shares:
            module._parameters[name] = weight
        _hide(model)
        if here:
            for weight in {id(weight): weight for _, _, weight in shares}.values():
                _set(weight, whole[id(weight)].data)


def _in_own_formats(
    formats: Mapping[int, torch.dtype],
    module: nn.Module,
    state: dict[str, Any],
    prefix: str,
    metadata: Any,
) -> None:
    for name, weight in module.named_parameters():
        state[f"{prefix}{name}"] = weight.detach().to(formats[id(weight)])


def _is_here(weight: Any) -> bool:
    return bool(weight.ds_status.name == "AVAILABLE")


def _full(weight: Any) -> Tensor:
    """All of a weight, as the optimizer has it: DeepSpeed computes with a copy, maybe rounded."""
    import deepspeed

    if weight.requires_grad:
        full: Tensor = deepspeed.utils.safe_get_full_fp32_param(weight)
        return full
    with deepspeed.zero.GatheredParameters([] if _is_here(weight) else [weight]):
        return weight.data.clone()  # type: ignore[no-any-return]


def _set(weight: Any, value: Tensor) -> None:
    """Take over the values of a whole weight into what this process holds of it."""
    import deepspeed

    share = _share(value, weight)
    weight.ds_tensor.data.copy_(share)
    if weight.requires_grad:
        deepspeed.utils.safe_set_local_fp32_param(weight, share)
    if _is_here(weight):
        weight.data.copy_(value)


def _share(value: Tensor, weight: Any) -> Tensor:
    """What a process holds of a tensor as large as a weight; the last share is filled up."""
    group, size = weight.ds_process_group, weight.ds_tensor.numel()
    number, count = torch.distributed.get_rank(group), torch.distributed.get_world_size(group)
    filled = pad(value.flatten(), (0, size * count - value.numel()))
    return filled[number * size : (number + 1) * size].to(weight.ds_tensor.device, torch.float32)


class _Part(NamedTuple):
    """Some trained weights, whose shares are one tensor to the optimizer."""

    group: int
    weights: Sequence[Any]
    flat: Tensor


def _parts(model: nn.Module) -> tuple[Any, list[_Part]]:
    """The optimizer that DeepSpeed calls, and what it trains, in its order."""
    trained: Any = next(weight for weight in model.parameters() if weight.requires_grad)
    zero = trained._z3_optimizer
    return zero.optimizer, [
        _Part(zero.sub_group_to_group_id[number], weights, flat)
        for number, (weights, flat) in enumerate(
            zip(zero.fp16_groups, zero.fp32_partitioned_groups_flat, strict=True)
        )
    ]


def optimizer_state(model: nn.Module) -> dict[str, Any]:
    """The state of the optimizer as that of a single process would give it.

    All processes must call it.
    """
    from deepspeed.utils import safe_get_full_optimizer_state

    optimizer, parts = _parts(model)
    state: dict[int, dict[str, Any]] = {}
    groups: list[dict[str, Any]] = [
        {name: value for name, value in group.items() if name != "params"} | {"params": []}
        for group in optimizer.param_groups
    ]
    for part in parts:
        of_part = optimizer.state[part.flat]
        for weight in part.weights:
            groups[part.group]["params"].append(len(state))
            state[len(state)] = {
                # A step count for each: torch counts on in place.
                name: safe_get_full_optimizer_state(weight, name).cpu()
                if value.ndim
                else value.clone()
                for name, value in of_part.items()
            }
    return {"state": state, "param_groups": groups}


def load_optimizer_state(model: nn.Module, state: Mapping[str, Any]) -> None:
    """Give the optimizer the state of one of a single process."""
    from deepspeed.utils import safe_set_local_optimizer_state

    optimizer, parts = _parts(model)
    for group, saved in zip(optimizer.param_groups, state["param_groups"], strict=True):
        group.update({name: value for name, value in saved.items() if name != "params"})
    numbers = iter([number for group in state["param_groups"] for number in group["params"]])
    for part in parts:
        # Some may be without: weights that have had no gradient yet.
        states = [state["state"].get(next(numbers), {}) for _ in part.weights]
        for name, value in max(states, key=len).items():
            of_part = torch.zeros_like(part.flat) if value.ndim else value.clone()
            optimizer.state[part.flat][name] = of_part
        for weight, of_weight in zip(part.weights, states, strict=True):
            for name, value in of_weight.items():
                if value.ndim:
                    safe_set_local_optimizer_state(weight, _share(value, weight), name)
