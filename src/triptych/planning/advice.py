"""What fits, and what to change where a run does not."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from triptych.planning.memory import predict_memory
from triptych.planning.sizes import ModelSizes
from triptych.planning.workload import Workload, lora_weights

USABLE = 0.92
"""Share of a device's memory; the rest is the driver's, or lost between blocks."""

LORA_RANK = 16
_MOST = 1 << 16


@dataclass(frozen=True)
class Change:
    """A change of settings.

    Attributes:
        words: what to set, in the words of a config.
        peak: bytes that a rank then needs, with the changes before this one.
        fits: that is little enough.
    """

    words: str
    peak: int
    fits: bool


@dataclass(frozen=True)
class Largest:
    """The largest that fits of each, all else as it is; 0 where nothing does."""

    group: int
    completion: int
    micro_batch: int


def limit(memory: int) -> int:
    """Bytes of a device that a run may plan with."""
    return int(memory * USABLE)


def largest(sizes: ModelSizes, work: Workload, most: int) -> Largest:
    """What fits into `most` bytes."""

    def fits(changed: Workload) -> bool:
        return predict_memory(sizes, changed).peak <= most

    return Largest(
        group=_largest(lambda n: fits(replace(work, group=n))) if work.kind == "grpo" else 1,
        completion=_largest(lambda n: fits(replace(work, completion=n))),
        micro_batch=_largest(
            lambda n: fits(replace(work, micro_batch=n)), max(1, work.per_step // work.gpus)
        ),
    )


def _largest(fits: Callable[[int], bool], most: int = _MOST) -> int:
    """The largest number up to `most` that fits, where smaller ones fit too."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def advise(sizes: ModelSizes, work: Workload, most: int) -> list[Change]:
    """Changes, one on top of the other, until a run fits into `most` bytes.

    They come in the order of what they cost: time first, then what is trained, then what is seen,
    then money. A change that saves nothing is left out.
    """
    changes: list[Change] = []
    peak = predict_memory(sizes, work).peak
    for words, changed in _steps(sizes, most):
        if peak <= most:
            break
        if (then := changed(work)) is None:
            continue
        after = predict_memory(sizes, then).peak
        if after < peak:
            work, peak = then, after
            changes.append(Change(words.format(work=work), peak, peak <= most))
    return changes


def _steps(
    sizes: ModelSizes, most: int
) -> Sequence[tuple[str, Callable[[Workload], Workload | None]]]:
    def micro_batch(work: Workload) -> Workload | None:
        return replace(work, micro_batch=1) if work.micro_batch > 1 else None

    def checkpointing(work: Workload) -> Workload | None:
        return None if work.checkpointing else replace(work, checkpointing=True)

    def fewer_at_once(work: Workload) -> Workload | None:
        if work.kind != "grpo" or predict_memory(sizes, work).largest != "rollout":
            return None

        def of(prompts: int) -> Workload:
            return replace(work, at_once=prompts * work.group)

        def fits(prompts: int) -> bool:
            return predict_memory(sizes, of(prompts)).of("rollout") <= most

        return of(max(1, _largest(fits, work.prompts_at_once)))

    def half_precision(work: Workload) -> Workload | None:
        if work.width == 2 or not work.adapter:  # small steps of whole weights would round away
            return None
        layer_width = min(2.0, work.layer_width)
        return replace(work, width=2, layer_width=layer_width, autocast=False)

    def shard(work: Workload) -> Workload | None:
        return replace(work, sharding="fsdp") if work.gpus > 1 and not work.adapter else None

    def freeze(work: Workload) -> Workload | None:
        towers = [name for name in sizes.towers if work.trains(name)]
        if not towers:
            return None
        trained = work.trained - sizes.frozen(tuple(towers))
        return replace(work, frozen=(*work.frozen, *towers), trained=trained)

    def adapter(work: Workload) -> Workload | None:
        if work.adapter:
            return None
        trained = lora_weights(sizes, LORA_RANK)
        return replace(work, adapter=True, trained=trained, frozen=tuple(sizes.towers))

    def fewer_frames(work: Workload) -> Workload | None:
        longest = work.lengths.longest
        if not longest.vision:
            return None
        fewer = replace(longest, vision=longest.vision // 2, vision_bytes=longest.vision_bytes // 2)
        return replace(work, lengths=replace(work.lengths, longest=fewer))

    def more_gpus(work: Workload) -> Workload | None:
        if work.on_cpu:
            return None
        per_step = max(work.per_step, 2 * work.gpus * work.micro_batch)
        return replace(work, gpus=2 * work.gpus, sharding="fsdp", per_step=per_step)

    at_once = ("rollout_sequences: {work.at_once}", fewer_at_once)
    more = ("use {work.gpus} GPUs and shard over them (FSDP)", more_gpus)
    return (
        ("groups_per_micro_batch (sft: micro_batch_size): 1", micro_batch),
        ("gradient_checkpointing: true", checkpointing),
        at_once,
        ("shard over the {work.gpus} GPUs (FSDP)", shard),
        (f"freeze: [{', '.join(sizes.towers)}]", freeze),
        (f"lora.rank: {LORA_RANK}", adapter),
        ("dtype: bfloat16, bf16: false", half_precision),
        at_once,
        ("half as many frames or pixels (media.max_frames, media.max_pixels)", fewer_frames),
        more,
        more,
        more,
        more,
    )
