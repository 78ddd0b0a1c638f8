"""A plan: a config and its data, turned into memory, time and advice.

Nothing is loaded but configs, headers of media and, where it is here, the model's processor.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from triptych.data.decoding import DecodePool
from triptych.data.messages import stage_messages
from triptych.data.sample import Sample
from triptych.errors import ConfigError
from triptych.models.families import Family, family_for
from triptych.models.module_names import linear_layers, named_modules
from triptych.models.prompt import PromptEncoder
from triptych.planning.advice import Change, Largest, advise, largest, limit
from triptych.planning.devices import Device, device_named
from triptych.planning.headers import CHARACTERS, length_by_headers
from triptych.planning.lengths import Lengths, prompt_length
from triptych.planning.memory import Memory, predict_memory
from triptych.planning.sizes import ModelSizes, load_config, meta_thinker, model_sizes
from triptych.planning.timing import StepTime, predict_time
from triptych.planning.workload import Sharding, Workload, bytes_of
from triptych.stages import DEFAULT_FORMAT
from triptych.training.grpo_config import GRPOConfig
from triptych.training.memory import validation_prompts
from triptych.training.sft import SFTConfig, target_text


@dataclass(frozen=True)
class Subject:
    """The model of a config: its family, its sizes, and a thinker without weights."""

    family: Family
    thinker: Any
    sizes: ModelSizes

    @classmethod
    def of(cls, model: str) -> "Subject":
        """Of a hub id or folder.

        Raises:
            ModelError: nothing is known of it here, or no family loads it.
        """
        config = load_config(model)
        family, thinker = family_for(config.model_type), meta_thinker(config)
        return cls(family, thinker, model_sizes(model, thinker, family))


@dataclass(frozen=True)
class Plan:
    """What a run will need.

    Attributes:
        limit: bytes of the device that may be planned with.
        steps: optimizer steps of the run.
        price: of a device for an hour; 0 where none was named.
    """

    sizes: ModelSizes
    work: Workload
    device: Device
    memory: Memory
    limit: int
    time: StepTime
    largest: Largest
    changes: Sequence[Change]
    steps: int
    price: float

    @property
    def fits(self) -> bool:
        return self.memory.peak <= self.limit

    @property
    def hours(self) -> float:
        """Of the whole run."""
        return self.time.total * self.steps / 3600

    @property
    def cost(self) -> float:
        """Of all devices for all hours."""
        return self.hours * self.work.gpus * self.price

    def to_json(self) -> dict[str, Any]:
        """All of it as plain JSON; bytes and seconds."""
        return {
            "model": self.sizes.name,
            "kind": self.work.kind,
            "device": asdict(self.device),
            "gpus": self.work.gpus,
            "sharding": self.work.sharding,
            "lengths": asdict(self.work.lengths),
            "trained_weights": self.work.trained,
            "memory": {
                "resident": dict(self.memory.resident),
                "phases": {name: dict(parts) for name, parts in self.memory.phases.items()},
                "peak": self.memory.peak,
                "peak_phase": self.memory.largest,
                "limit": self.limit,
                "fits": self.fits,
            },
            "seconds": {**self.time.phases, "step": self.time.total, "data": self.time.data},
            "steps": self.steps,
            "hours": self.hours,
            "cost": self.cost,
            "largest": asdict(self.largest),
            "changes": [asdict(change) for change in self.changes],
        }


@dataclass(frozen=True)
class Asked:
    """Where a run is planned.

    Attributes:
        gpus: ranks.
        sharding: of weights, gradients and optimizer.
        memory: bytes of a device; 0 for what it has.
        expected: tokens of a completion on average; 0 for the most that there can be.
        prompts: how many prompts are looked at.
        price: of a device for an hour.
    """

    gpus: int = 1
    sharding: Sharding = "ddp"
    memory: int = 0
    expected: int = 0
    prompts: int = 32
    price: float = 0.0


def make_plan(
    config: Any, samples: Sequence[Sample], subject: Subject, device: str, asked: Asked
) -> Plan:
    """Plan a run.

    Args:
        config: of `triptych sft` or `triptych grpo`.
        samples: what it trains on.
        subject: its model.
        device: name of where it runs.
        asked: on how many of them, and what for.

    Raises:
        ConfigError: the device is not known, or the settings cannot be run so.
        MediaError: media of a prompt that is looked at cannot be read.
        ModelError: a module that is frozen or adapted is not there.
    """
    lengths = measure_lengths(config, samples, subject, asked.prompts)
    place = device_named(device, subject.sizes, lengths.mean.tokens)
    work = workload(config, lengths, subject, place, asked)
    sizes, most = subject.sizes, limit(asked.memory or place.memory)
    steps = config.max_steps
    if isinstance(config, SFTConfig):
        steps = config.layout(len(samples)).steps
    return Plan(
        sizes=sizes,
        work=work,
        device=place,
        memory=predict_memory(sizes, work),
        limit=most,
        time=predict_time(sizes, work, place),
        largest=largest(sizes, work, most),
        changes=advise(sizes, work, most),
        steps=steps,
        price=asked.price,
    )


def workload(
    config: Any, lengths: Lengths, subject: Subject, device: Device, asked: Asked
) -> Workload:
    """A step of the run that a config describes."""
    trained, frozen = _trained(config, subject)
    width, layer_width = bytes_of(config.dtype, getattr(config, "quantize", "none"))
    common: dict[str, Any] = {
        "lengths": lengths,
        "trained": trained,
        "frozen": frozen,
        "adapter": config.lora.rank > 0,
        "width": width,
        "layer_width": layer_width,
        "autocast": config.bf16 and width == 4,
        "checkpointing": config.gradient_checkpointing,
        "gpus": asked.gpus,
        "sharding": asked.sharding,
        "on_cpu": device.name == "cpu",
    }
    if isinstance(config, GRPOConfig):
        most = config.max_new_tokens
        config.layout().accumulation(asked.gpus)  # refuses what does not divide
        return Workload(
            kind="grpo",
            per_step=config.prompts_per_step,
            micro_batch=min(config.groups_per_micro_batch, config.prompts_per_step),
            group=config.num_generations,
            completion=most,
            expected=min(most, asked.expected or most),
            reference=config.beta > 0,
            iterations=config.num_iterations,
            at_once=config.rollout_sequences,
            **common,
        )
    config.layout(lengths.samples).accumulation(asked.gpus)
    mean, longest = lengths.target
    return Workload(
        kind="sft",
        per_step=config.batch_size,
        micro_batch=min(config.micro_batch_size, config.batch_size),
        group=1,
        completion=longest,
        expected=mean,
        reference=False,
        at_once=validation_prompts(config, asked.gpus),
        validation=config.max_new_tokens if getattr(config, "validation", None) else 0,
        **common,
    )


def _trained(config: Any, subject: Subject) -> tuple[int, tuple[str, ...]]:
    """How many parameters are trained, and which media encoders are not."""
    thinker, family = subject.thinker, subject.family
    if config.lora.rank:
        layers = linear_layers(thinker, family, config.lora.targets)
        adapter = sum(one.in_features + one.out_features for one in layers.values())
        return config.lora.rank * adapter, tuple(family.towers)
    still = {
        id(weight)
        for module in named_modules(thinker, family, config.freeze).values()
        for weight in module.parameters()
    }
    frozen = tuple(
        name
        for name, path in family.towers.items()
        if all(id(weight) in still for weight in thinker.get_submodule(path).parameters())
    )
    return sum(w.numel() for w in thinker.parameters() if id(w) not in still), frozen


def measure_lengths(
    config: Any, samples: Sequence[Sample], subject: Subject, prompts: int
) -> Lengths:
    """How long the prompts are: those of as many samples as `prompts`, evenly over the data.

    They are encoded by the model's processor where it can be had; otherwise headers tell.

    Raises:
        MediaError: media cannot be read.
        DataError: a sample of a cold start has no full reference.
    """
    count = min(prompts, len(samples))
    if not count:
        raise ConfigError("there are no samples to plan for")
    chosen = [samples[number * len(samples) // count] for number in range(count)]
    messages = stage_messages(DEFAULT_FORMAT)
    try:
        processor = subject.family.load_processor(str(config.model))
    except (OSError, ValueError, TypeError):
        found = [
            length_by_headers(sample, messages, subject.thinker.config, subject.sizes, config.media)
            for sample in chosen
        ]
        target = _target(config, chosen, lambda text: -(-len(text) // CHARACTERS))
        return Lengths.of(found, len(samples), exact=False, target=target)
    pool = DecodePool(config.decode)
    encoder = PromptEncoder(
        subject.thinker, processor, subject.family, config.media, DEFAULT_FORMAT,
        pool=pool, audio_in_video=config.audio_in_video,
    )  # fmt: skip
    # What starts at its first use, each decode worker above all, is not what a step takes.
    encoder.encode(chosen[0])
    pool.decode(chosen[0].media[:1] * pool.limits.workers, config.media)
    encoder.clear_cache()
    begun = time.perf_counter()
    found = [
        prompt_length(prompt, subject.thinker, subject.family)
        for prompt in encoder.encode_all(chosen)
    ]
    seconds = (time.perf_counter() - begun) / count
    tokenizer = processor.tokenizer
    target = _target(
        config, chosen, lambda text: len(tokenizer(text, add_special_tokens=False)["input_ids"])
    )
    return Lengths.of(found, len(samples), exact=True, target=target, seconds=seconds)


def _target(config: Any, samples: Sequence[Sample], count: Callable[[str], int]) -> tuple[int, int]:
    """Mean and longest reference completion of a cold start, with the end token."""
    if not isinstance(config, SFTConfig):
        return 0, 0
    lengths = [count(target_text(DEFAULT_FORMAT, sample)) + 1 for sample in samples]
    return round(sum(lengths) / len(lengths)), max(lengths)


def shown_bytes(size: float) -> str:
    """As people say it: 512 MiB, 38.4 GiB."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"
