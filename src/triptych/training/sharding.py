"""Weights that are spread over processes, and how all of them are had again.

Two ways are supported: FSDP2, see `fsdp2`, and DeepSpeed's ZeRO-3, see `zero3`. A frozen media
encoder stays whole everywhere: a process runs it when it likes, and in a thread beside.

The update is a forward and backward of the sharded model, in step with the other processes. Whoever
else reads the weights (a rollout, an evaluation) does it inside `whole_weights`, where every
process holds all of them: completions may then differ in number and length from process to process.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from accelerate import Accelerator
from accelerate.utils import DistributedType
from torch import nn
from torch.distributed.fsdp import CPUOffloadPolicy
from torch.optim import Optimizer

from triptych.errors import ConfigError
from triptych.models.omni import OmniModel
from triptych.training import fsdp2, zero3


def check_processes(model: OmniModel, accelerator: Accelerator) -> None:
    """Refuse ways to spread a model that cannot run.

    Raises:
        ConfigError: an older version or stage, an option of it that is not for us, or weights that
            cannot be shared.
    """
    refused = ""  # as transformers names the form of the weights
    if accelerator.distributed_type is DistributedType.DEEPSPEED:
        _check_deepspeed(accelerator.state.deepspeed_plugin)
        refused = "is_quantized"
    elif accelerator.distributed_type is DistributedType.FSDP:
        _check_fsdp(accelerator.state.fsdp_plugin)
        refused = "is_loaded_in_8bit"
    if refused and getattr(model.thinker, refused, False):
        raise ConfigError(
            "quantised weights cannot be shared among processes (4 bits can, by FSDP2); launch "
            "with configs/accelerate/ddp.yaml, which gives each process all of them"
        )


def _check_deepspeed(plugin: Any) -> None:
    if plugin.zero_stage != 3:
        raise ConfigError(
            f"DeepSpeed's stage {plugin.zero_stage} cannot run; set zero_stage: 3, as in "
            "configs/accelerate/zero3.yaml, or launch with configs/accelerate/ddp.yaml"
        )
    zero = plugin.deepspeed_config["zero_optimization"]
    for name in ("offload_param", "offload_optimizer"):
        if zero.get(name, {}).get("device", "none") != "none":
            raise ConfigError(
                f"{name}_device cannot run: weights and the optimizer's state must be on the "
                "device; set it to none, or use more processes"
            )


def _check_fsdp(plugin: Any) -> None:
    if plugin.fsdp_version != 2:
        raise ConfigError(
            "the first version of FSDP cannot run; set fsdp_version: 2, as in "
            "configs/accelerate/fsdp2.yaml"
        )
    if isinstance(plugin.cpu_offload, CPUOffloadPolicy):
        raise ConfigError(
            "fsdp_offload_params cannot run: rollouts need the weights on the device; set it to "
            "false, or use more processes"
        )
    if plugin.activation_checkpointing:
        raise ConfigError(
            "set gradient_checkpointing in the run's config, and fsdp_activation_checkpointing to "
            "false: recomputation is the trainer's"
        )


def is_sharded(model: nn.Module) -> bool:
    """Whether each process holds only a share of the weights."""
    return fsdp2.is_sharded(model) or zero3.is_sharded(model)


@contextmanager
def whole_weights(model: nn.Module) -> Iterator[None]:
    """Inside, every process holds all weights of the model and may run any part of it by itself.

    All processes must enter, as they must for a forward. Gradients are not for inside.
    """
    if fsdp2.is_sharded(model):
        with fsdp2.whole_weights(model):
            yield
    elif zero3.is_sharded(model):
        with zero3.whole_weights(model):
            yield
    else:
        yield


@contextmanager
def exact_weights(model: nn.Module, *, here: bool = True) -> Iterator[None]:
    """Inside, a sharded model holds its whole weights as ordinary tensors in main memory.

    They have every bit, where `whole_weights` may have them in the format of the computation: for
    files. What is written into them inside is taken over into the shards. All processes must enter.

    Args:
        model: sharded, or whole as it is.
        here: whether this process has them, too; elsewhere weights are empty inside.
    """
    if fsdp2.is_sharded(model):
        with fsdp2.exact_weights(model, here=here):
            yield
    elif zero3.is_sharded(model):
        with zero3.exact_weights(model, here=here):
            yield
    else:
        yield


def optimizer_state(model: nn.Module, optimizer: Optimizer) -> dict[str, Any]:
    """The state of the optimizer of a sharded model, as one of whole weights would give it.

    All processes must call it.
    """
    if zero3.is_sharded(model):
        return zero3.optimizer_state(model)
    return fsdp2.optimizer_state(optimizer)


def load_optimizer_state(model: nn.Module, optimizer: Optimizer, state: Mapping[str, Any]) -> None:
    """Give the optimizer of a sharded model the state of one of whole weights."""
    if zero3.is_sharded(model):
        zero3.load_optimizer_state(model, state)
    else:
        fsdp2.load_optimizer_state(optimizer, state)
