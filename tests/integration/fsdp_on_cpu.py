"""FSDP2 among processes without accelerators.

Torch shards on a CPU as it does elsewhere, by gloo. Only accelerate takes several processes on a
CPU for plain data parallel ones, whatever its settings say; here it is told that they are not. All
else is as ``accelerate launch --config_file configs/accelerate/fsdp2.yaml`` sets it up.
"""

import os
from pathlib import Path
from typing import Any

import torch.distributed
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.state import PartialState
from accelerate.utils import DistributedType
from accelerate.utils.launch import prepare_multi_gpu_env

CONFIGS = Path(__file__).parents[2] / "configs" / "accelerate"


def environment_of(config: str) -> dict[str, str]:
    """What `accelerate launch` tells the processes that it starts with one of our files."""
    words = ["--config_file", str(CONFIGS / config), "-m", "triptych", "grpo", "run"]
    arguments, *_ = _validate_launch_command(launch_command_parser().parse_args(words))
    told: dict[str, str] = prepare_multi_gpu_env(arguments)
    return {
        name: value for name, value in told.items() if name.startswith(("FSDP_", "ACCELERATE_"))
    }


def allow() -> None:
    """Let this process, one of several, be one of FSDP2."""
    os.environ.update({**environment_of("fsdp2.yaml"), "ACCELERATE_TORCH_DEVICE": "cpu"})
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("gloo")

    def backend(self: Any, *arguments: Any) -> tuple[str, DistributedType]:
        return "gloo", DistributedType.MULTI_GPU

    PartialState._prepare_backend = backend
