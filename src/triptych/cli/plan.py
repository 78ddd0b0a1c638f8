"""`triptych plan CONFIG`: memory, time and cost of a run, before it is paid for."""

import json
import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from triptych.cli.config import argument
from triptych.cli.model import check_at_least, load_data
from triptych.errors import ConfigError
from triptych.settings import build, load_yaml

if TYPE_CHECKING:
    from triptych.planning.plan import Plan

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(GB|GiB|MB|MiB)?")
_UNITS = {"GB": 10**9, "GiB": 2**30, "MB": 10**6, "MiB": 2**20}


@dataclass(frozen=True, kw_only=True)
class PlanConfig:
    """What is planned, and where it is to run."""

    config: Path = argument()
    """YAML file of `triptych grpo` or `triptych sft`, such as a recipe or a run's config.yaml."""
    command: Literal["auto", "grpo", "sft"] = "auto"
    """Which of the two it is for; auto tells it from its settings."""
    model: str | None = None
    """Another model than the file names."""
    train: Path | None = None
    """Other data than the file names."""
    device: str = "h100"
    """Where it runs: a100, h100, h200, rtx4090, or cpu, which is measured for a few seconds."""
    gpus: int = 1
    """Devices, one process each."""
    memory: str | None = None
    """Memory of a device, such as 80GB; by default what it has."""
    sharding: Literal["ddp", "fsdp"] = "ddp"
    """What processes keep: ddp everything, fsdp (and ZeRO-3) a share of weights and optimizer."""
    completion_tokens: int = 0
    """Tokens of a completion on average, for the time; 0 takes max_new_tokens."""
    prompts: int = 32
    """Prompts whose length is looked at; the others are taken to be like them."""
    price: float = 0.0
    """Of a device for an hour, in any currency."""
    json: bool = False
    """Print one JSON object in place of tables."""

    def __post_init__(self) -> None:
        check_at_least(1, self, "gpus", "prompts")
        check_at_least(0, self, "completion_tokens", "price")
        bytes_in(self.memory or "0")


def run(config: PlanConfig) -> int:
    """Say what a run will need: memory of a device, time and cost, and what to change.

    Nothing is trained and no weights are loaded. Exit code 1 where it does not fit.
    """
    from triptych.planning.plan import Asked, Subject, make_plan

    planned = _planned(config)
    subject = Subject.of(planned.model)
    samples = load_data(planned, planned.train)
    asked = Asked(
        gpus=config.gpus,
        sharding=config.sharding,
        memory=bytes_in(config.memory or "0"),
        expected=config.completion_tokens,
        prompts=config.prompts,
        price=config.price,
    )
    plan = make_plan(planned, samples, subject, config.device, asked)
    if config.json:
        print(json.dumps(plan.to_json(), indent=1))
    else:
        print_plan(plan)
    return 0 if plan.fits else 1


def bytes_in(text: str) -> int:
    """What `80GB` or `512MiB` means; a number alone is in GB.

    Raises:
        ConfigError: it means nothing.
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise ConfigError(f"memory is {text!r}; write it as 80GB or 81920MiB")
    return int(float(found[1]) * _UNITS[found[2] or "GB"])


def _planned(config: PlanConfig) -> Any:
    """The config of the run that is planned."""
    from triptych.cli.grpo import GrpoCommand
    from triptych.cli.sft import SftCommand

    tree, labels = load_yaml(config.config)
    for name in ("model", "train"):
        if (value := getattr(config, name)) is not None:
            tree[name] = str(value)
    tree.setdefault("out", "unused")
    kinds: dict[str, type[Any]] = {"grpo": GrpoCommand, "sft": SftCommand}
    if config.command != "auto":
        return build(kinds[config.command], tree, labels)
    known = {name: {field.name for field in fields(kind)} for name, kind in kinds.items()}
    only = {name: tree.keys() & (known[name] - known[other]) for name, other in _OTHER.items()}
    if len(told := [name for name, keys in only.items() if keys]) != 1:
        raise ConfigError(
            f"{config.config}: {'is for both' if told else 'may be for either'} of grpo and sft; "
            "say which by --command"
        )
    return build(kinds[told[0]], tree, labels)


_OTHER = {"grpo": "sft", "sft": "grpo"}


def print_plan(plan: "Plan") -> None:
    """The plan in tables and words."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    from triptych.planning.plan import shown_bytes

    console = Console(width=max(Console().width, 100), highlight=False, markup=False)
    for line in _about(plan):
        console.print(line)
    table = Table(box=SIMPLE_HEAD, title="memory of a device, by phase", title_justify="left")
    phases = list(plan.memory.phases)
    for column in ("", *phases):
        table.add_column(column, justify="right" if column else "left")
    for name, size in plan.memory.resident.items():
        table.add_row(name, *[shown_bytes(size)] * len(phases))
    for name in dict.fromkeys(name for parts in plan.memory.phases.values() for name in parts):
        sizes = [plan.memory.phases[phase].get(name) for phase in phases]
        table.add_row(name, *["" if size is None else shown_bytes(size) for size in sizes])
    table.add_row("all", *[shown_bytes(plan.memory.of(phase)) for phase in phases], style="bold")
    console.print(table)
    for line in (*_verdict(plan), *_time(plan)):
        console.print(line)


def _about(plan: "Plan") -> list[str]:
    from triptych.planning.headers import CHARACTERS

    work, lengths = plan.work, plan.work.lengths
    how = "encoded by the model's processor"
    if not lengths.exact:
        how = (
            "told from headers, since the model's processor is not here; text is estimated, "
            f"{CHARACTERS} characters a token"
        )
    mean, longest = lengths.mean, lengths.longest
    group = f", {work.group} completions of up to {work.completion} each" * (work.kind == "grpo")
    return [
        f"{plan.sizes.name}: {plan.sizes.weights / 1e9:.2f} billion weights, "
        f"{work.trained / 1e9:.2f} trained; {work.gpus} x {plan.device.name}, {work.sharding}",
        f"prompts: {mean.tokens} tokens on average ({mean.text} text, {mean.vision} vision, "
        f"{mean.audio} audio), {longest.tokens} at most{group}",
        f"lengths of {lengths.looked_at} of {lengths.samples} prompts, {how}"
        + "; the others are taken to be like them" * (lengths.looked_at < lengths.samples),
    ]


def _verdict(plan: "Plan") -> list[str]:
    from triptych.planning.plan import shown_bytes

    peak, most, big = plan.memory.peak, plan.limit, plan.largest
    lines = [
        f"{'fits' if plan.fits else 'does not fit'}: {shown_bytes(peak)} at most, in the "
        f"{plan.memory.largest}; a device has {shown_bytes(most)} to plan with"
    ]
    for change in plan.changes:
        end = "fits" if change.fits else "still too much"
        lines.append(f"  change: {change.words} -> {shown_bytes(change.peak)}, {end}")
    if not plan.fits and not any(change.fits for change in plan.changes):
        lines.append("  nothing that is known here makes it fit; use a smaller model")
    if plan.work.kind == "grpo":
        lines.append(
            f"largest that fits, all else as it is: num_generations {big.group}, max_new_tokens "
            f"{big.completion}, groups_per_micro_batch {big.micro_batch}"
        )
    else:
        lines.append(f"largest micro_batch_size that fits, all else as it is: {big.micro_batch}")
    return lines


def _time(plan: "Plan") -> list[str]:
    phases = ", ".join(f"{name} {seconds:.3g}" for name, seconds in plan.time.phases.items())
    source = "measured on this machine" if plan.device.measured else "from the data sheet"
    lines = [
        f"seconds of a step: {plan.time.total:.3g} ({phases}); rates {source}",
        f"{plan.steps} steps: {plan.hours:.3g} hours",
    ]
    if plan.price:
        lines[-1] += f", {plan.cost:.2f} at {plan.price:g} an hour and device"
    if plan.time.data:
        lines.append(
            f"beside it, media of a step take {plan.time.data:.3g} s to decode and process here"
        )
    return lines
