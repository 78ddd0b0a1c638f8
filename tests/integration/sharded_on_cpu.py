"""FSDP2 and DeepSpeed among processes without accelerators.

Both shard on a CPU as they do elsewhere, by gloo. Only accelerate takes several processes on a CPU
for plain data parallel ones, whatever its settings say; here it is told that they are not. All else
is as ``accelerate launch --config_file configs/accelerate/...`` sets it up.
"""

import os
from pathlib import Path
from typing import Any

import torch.distributed
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.state import PartialState
from accelerate.utils import DeepSpeedPlugin, DistributedType
from accelerate.utils.launch import prepare_deepspeed_cmd_env, prepare_multi_gpu_env

CONFIGS = Path(__file__).parents[2] / "configs" / "accelerate"


def environment_of(config: str) -> dict[str, str]:
    """What `accelerate launch` tells the processes that it starts with one of our files."""
    words = ["--config_file", str(CONFIGS / config), "-m", "triptych", "grpo", "run"]
    arguments, defaults, *_ = _validate_launch_command(launch_command_parser().parse_args(words))
    told: dict[str, str]
    if arguments.use_deepspeed:
        arguments.deepspeed_fields_from_accelerate_config = ",".join(defaults.deepspeed_config)
        _, told = prepare_deepspeed_cmd_env(arguments)
    else:
        told = prepare_multi_gpu_env(arguments)
    return {
        name: value for name, value in told.items() if name.startswith(("FSDP_", "ACCELERATE_"))
    }


def allow(kind: str) -> None:
    """Let this process, one of several, be one of FSDP2 (``fsdp2``) or DeepSpeed (``zero3``)."""
    told = {"ACCELERATE_TORCH_DEVICE": "cpu", "DS_ACCELERATOR": "cpu"}
    os.environ.update({**environment_of(f"{kind}.yaml"), **told})
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("gloo")
    said = DistributedType.MULTI_GPU
    if kind == "zero3":
        import deepspeed

        # It would compile a faster way for processes of one machine.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        DeepSpeedPlugin.__post_init__ = _as_of_a_large_model(DeepSpeedPlugin.__post_init__)
        said = DistributedType.DEEPSPEED

    def backend(self: Any, *arguments: Any) -> tuple[str, DistributedType]:
        return "gloo", said

    PartialState._prepare_backend = backend


def _as_of_a_large_model(post_init: Any) -> Any:
    """A tiny model's weights would all be kept as small ones, and its gradients sent as one."""
    sizes = {"stage3_param_persistence_threshold": 0, "reduce_bucket_size": 5000}

    def made(self: Any) -> None:
        post_init(self)
        self.deepspeed_config["zero_optimization"].update(sizes)

    return made
