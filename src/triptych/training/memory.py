"""What to do when an accelerator's memory does not suffice."""

from collections.abc import Sequence
from pathlib import Path

import torch

from triptych.errors import TriptychError
from triptych.training.config import TrainingConfig
from triptych.training.grpo_config import GRPOConfig

_DOING = {
    "data": "encoding the media of the step",
    "rollout": "writing completions",
    "old_policy": "scoring completions under the policy that wrote them",
    "reference": "scoring completions under the reference model",
    "reward": "computing rewards",
    "update": "computing gradients",
    "evaluation": "evaluating the model",
}


_MEDIA = "media.max_frames, media.max_pixels or media.max_seconds lower"


def below(**settings: int) -> list[str]:
    """The settings that can go down, with what they are now."""
    return [f"{name} below {value}" for name, value in settings.items() if value > 1]


def of_groups(config: GRPOConfig, phase: str, processes: int) -> tuple[str, list[str]]:
    """How large the work of a phase of GRPO is for each process, and what makes it smaller."""
    groups = config.layout().per_micro_batch
    of_group = below(num_generations=config.num_generations, max_new_tokens=config.max_new_tokens)
    size = f"{config.num_generations} completions of up to {config.max_new_tokens} tokens each"
    if phase == "rollout":
        prompts = config.rollout_prompts(processes)
        advice = [_fewer_at_once(config, prompts), *below(max_new_tokens=config.max_new_tokens)]
        return f"{prompts} prompts at once, {size}", advice
    advice = [*below(groups_per_micro_batch=groups), *of_group]
    if config.beta:
        advice.append("beta to 0 (no reference model)")
    return f"micro-batches of {groups} groups, {size}", advice


def of_validation(config: TrainingConfig, processes: int) -> tuple[str, list[str]]:
    """The same of a validation during training."""
    advice = ["max_new_tokens lower"]
    prompts = validation_prompts(config, processes)
    if isinstance(config, GRPOConfig) and prompts > 1:
        advice.insert(0, _fewer_at_once(config, prompts))
    return "the validation data", advice


def validation_prompts(config: TrainingConfig, processes: int) -> int:
    """How many prompts each of some processes reads at once in a validation during training."""
    return config.rollout_prompts(processes) if isinstance(config, GRPOConfig) else 8


def _fewer_at_once(config: GRPOConfig, prompts: int) -> str:
    group = config.num_generations
    if prompts > 1:
        return f"rollout_sequences below {prompts * group}"
    # Smaller groups alone would be written at once with others.
    return f"num_generations and rollout_sequences below {group}"


class OutOfMemory(TriptychError):
    """An accelerator's memory did not suffice for a phase of a step."""


def out_of_memory(
    where: str,
    phase: str,
    size: str,
    advice: Sequence[str],
    checkpoint: Path | None,
    error: torch.OutOfMemoryError,
) -> OutOfMemory:
    """An error that says what the memory did not suffice for, and what needs less.

    Args:
        where: the phase of the run, and its step.
        phase: what the step's clock says was being done.
        size: of the work that it was being done on.
        advice: settings that make it smaller, beside those of the media; the cheapest first.
        checkpoint: the last whole one.
        error: what torch said; its first sentence tells what was asked of which device.
    """
    kept = f"{checkpoint} is intact" if checkpoint else "there is no checkpoint yet"
    settings = ", or ".join([*advice, _MEDIA])
    said = str(error).strip().splitlines() or ["no details"]
    doing = _DOING.get(phase, "preparing the run")
    return OutOfMemory(
        f"{where}: out of memory while {doing} ({size}): {said[0]} "
        f"Set {settings}; then go on by --resume: {kept}"
    )
