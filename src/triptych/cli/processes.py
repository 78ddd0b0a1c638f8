"""The processes of a command that `accelerate launch` or `torchrun` started."""

import os

from triptych.data.policy import Ranks


def launched_ranks(device: str = "auto") -> Ranks:
    """All processes of this command; call it before a model is loaded, so that each process takes a
    GPU of its own.

    Args:
        device: where the model will run: auto, cpu or cuda.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Ranks()
    import torch
    from accelerate import PartialState

    PartialState(cpu=device == "cpu" or not torch.cuda.is_available())
    return current_ranks()


def current_ranks() -> Ranks:
    """All processes, where something has begun them already."""
    from accelerate import PartialState
    from accelerate.utils import gather_object

    state = PartialState()
    return Ranks(state.process_index, state.num_processes, lambda mine: gather_object([mine]))
