"""What is measured of one model on one group: parity, an update, a rollout.

Shapes: P prompt tokens, G completions, C tokens of each, S = P + C, L = P + G C tokens of the
packed row, N = G C completion tokens, 3 rope axes.
"""

import gc
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from benchmarks.gpu_arithmetic import peak_of, update_operations
from benchmarks.gpu_models import Size
from benchmarks.harness import MedianInterval, Spread, alternate
from benchmarks.update import Shape
from triptych.data.sample import Sample
from triptych.generation import SamplingConfig
from triptych.generation.local import LocalEngine
from triptych.models import OmniModel, Prompt
from triptych.models.packing import pack
from triptych.stages import ProblemType

Record: TypeAlias = dict[str, Any]

OUT_OF_MEMORY = "out of memory"
_GIB = 2**30


class OutOfTime(Exception):
    """The time of the whole check is used up."""


class Budget:
    """Seconds that the check may take; asked between passes, so that it ends in time."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def check(self) -> None:
        """Raises OutOfTime once they are over."""
        if time.monotonic() > self._end:
            raise OutOfTime


class Meter:
    """Seconds and peak memory of work on a device."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._cuda = device.type == "cuda"

    @property
    def name(self) -> str:
        return torch.cuda.get_device_name(self.device) if self._cuda else "cpu"

    def free_gib(self) -> float | None:
        """Memory of the device that nobody holds; None where it has none of its own."""
        return torch.cuda.mem_get_info(self.device)[0] / _GIB if self._cuda else None

    def forget(self) -> None:
        """Give back the device's memory that nobody uses any more."""
        if self._cuda:
            gc.collect()
            torch.cuda.empty_cache()

    def time(self, work: Callable[[], object]) -> tuple[float, float | None]:
        """Seconds, and the most GiB in use meanwhile, weights included (None on the CPU)."""
        if self._cuda:
            torch.cuda.synchronize(self.device)
            torch.cuda.reset_peak_memory_stats(self.device)
        begun = time.perf_counter()
        work()
        if not self._cuda:
            return time.perf_counter() - begun, None
        torch.cuda.synchronize(self.device)
        seconds = time.perf_counter() - begun
        return seconds, torch.cuda.max_memory_allocated(self.device) / _GIB


@dataclass
class Timed:
    """What a way took, round by round, and the most memory that it held."""

    seconds: list[float]
    peak_gib: float | None = None


def take_turns(
    ways: Mapping[str, Callable[[], object]],
    rounds: int,
    meter: Meter,
    budget: Budget,
    before: Callable[[], object] = lambda: None,
) -> dict[str, Timed]:
    """Time each way in each round, after one round that warms up.

    A way that does not fit into memory is missing from the result. `before` is called before each
    and not timed.

    Raises:
        OutOfTime: the budget is used up.
    """
    timed = {name: Timed([]) for name in ways}
    for number in range(rounds + 1):
        for name in alternate(list(timed), number):
            budget.check()
            before()
            try:
                took, timed[name].peak_gib = meter.time(ways[name])
            except torch.OutOfMemoryError:
                del timed[name]
            else:
                timed[name].seconds.append(took)
        if len(timed) < len(ways):
            meter.forget()
    return {name: Timed(one.seconds[1:], one.peak_gib) for name, one in timed.items()}


def _ratio(timed: Mapping[str, Timed]) -> Record:
    """How many times as long the naive way takes, where both fit."""
    if len(timed) < 2:
        return {}
    pairs = zip(timed["naive"].seconds, timed["shared"].seconds, strict=True)
    return {"times_faster": asdict(MedianInterval.of([a / b for a, b in pairs]))}


class Group:
    """A prompt and completions of random text, and the ways to the log-probs of the latter."""

    def __init__(self, model: OmniModel, shape: Shape) -> None:
        self.model, self.shape = model, shape
        banned = set(model.banned_ids.tolist())
        words = torch.tensor([i for i in range(len(model.tokenizer)) if i not in banned])
        drawn_GS = torch.randint(
            len(words),
            (shape.completions, shape.prompt + shape.tokens),
            generator=torch.Generator().manual_seed(0),
        )
        drawn_GS[:, : shape.prompt] = drawn_GS[0, : shape.prompt]
        rows_GS = words[drawn_GS]
        size = shape.prompt
        prompt = Prompt(rows_GS[0, :size], torch.arange(size).expand(3, -1), torch.tensor(size), {})
        packed = pack([prompt], [rows_GS[:, size:].tolist()], model.pad_token_id, model.family)
        self.packed, self.rows_GS = packed.to(model.device), rows_GS.to(model.device)

    def shared(self) -> Tensor:
        """Log-probs (N,) with the prompt once."""
        logps_N: Tensor = self.model(**self.packed.model_inputs()).logps_N
        return logps_N

    def repeated(self, first: int, rows: int) -> Tensor:
        """Log-probs of some completions, the prompt before each."""
        ids_BS = self.rows_GS[first : first + rows]
        positions = torch.arange(ids_BS.shape[1], device=ids_BS.device).expand(3, rows, -1)
        return self._score(ids_BS, positions, slice(self.shape.prompt - 1, -1))

    def mixed(self) -> Tensor:
        """Log-probs (N,) of the packed row under an ordinary causal mask: wrong."""
        packed = self.packed
        return self._score(
            packed.input_ids_L[None], packed.position_ids_3L[:, None], packed.source_N
        )

    def _score(self, ids_BS: Tensor, positions_3BS: Tensor, sources: slice | Tensor) -> Tensor:
        states_BSH = self.model.decoder(
            input_ids=ids_BS, position_ids=positions_3BS, use_cache=False
        ).last_hidden_state
        states_NH = states_BSH[:, sources].flatten(0, 1)
        targets_N = (
            self.packed.targets_N
            if isinstance(sources, Tensor)
            else ids_BS[:, self.shape.prompt :].flatten()
        )
        return self.model.score(states_NH, targets_N).logps_N


# ---------------------------------------------------------------- parity


@torch.no_grad()
def measure_parity(model: OmniModel, shape: Shape, budget: Budget) -> Record:
    """How far log-probs of the shared prompt are from those of the prompt before each completion.

    Beside it stand two scales: the noise of the number format (the naive rows all in one batch,
    against one by one), and what an error looks like (completions that see their neighbours).
    """
    model.eval()
    group = Group(model, shape)
    ways: dict[str, Callable[[], Tensor]] = {
        "shared": group.shared,
        "noise": lambda: _in_parts(group, budget, shape.completions),
        "error": group.mixed,
    }
    one_by_one_N = _in_parts(group, budget, 1)
    record: Record = {}
    for name, way in ways.items():
        budget.check()
        difference_N = (way() - one_by_one_N).abs()
        if not difference_N.isfinite().all():
            raise FloatingPointError(f"log-probs are not finite ({name})")
        record[name] = {"max": difference_N.max().item(), "mean": difference_N.mean().item()}
    return record


def _in_parts(group: Group, budget: Budget, rows: int) -> Tensor:
    parts = []
    for first in range(0, group.shape.completions, rows):
        budget.check()
        parts.append(group.repeated(first, rows))
    return torch.cat(parts)


# ---------------------------------------------------------------- update


def measure_update(
    model: OmniModel, size: Size, shape: Shape, rounds: int, budget: Budget, *, frozen: bool
) -> Record:
    """Forward and backward of one group, both ways in turns.

    The naive way goes in micro-batches of the size that is fastest of those that fit.
    """
    model.train()
    group, meter = Group(model, shape), Meter(model.device)
    _trial(group, meter, 1, budget)  # warms up
    trials = {rows: _trial(group, meter, rows, budget) for rows in _micro_batches(shape)}
    fits = {rows: took for rows, took in trials.items() if took is not None}
    ways: dict[str, Callable[[], None]] = {"shared": lambda: _backward(group.shared(), shape)}
    best = min(fits, key=lambda rows: fits[rows], default=None)
    if best is not None:
        ways["naive"] = lambda: _all_parts(group, best, budget)
    timed = take_turns(ways, rounds, meter, budget, before=lambda: _forget_gradients(model))
    _forget_gradients(model)
    record: Record = {
        "micro_batches_s": {
            str(rows): OUT_OF_MEMORY if took is None else took for rows, took in trials.items()
        },
        "best_micro_batch": best,
    }
    for name in ("naive", "shared"):
        operations = update_operations(size, shape, shared=name == "shared", frozen=frozen)
        record[name] = (
            _figures(timed[name], shape, operations, meter) if name in timed else OUT_OF_MEMORY
        )
    return record | _ratio(timed)


def _micro_batches(shape: Shape) -> Sequence[int]:
    return [rows for rows in (8, 4, 2, 1) if shape.completions % rows == 0]


def _trial(group: Group, meter: Meter, rows: int, budget: Budget) -> float | None:
    """Seconds of the whole group in micro-batches of this size, by one of them; None: no room."""
    budget.check()
    _forget_gradients(group.model)
    try:
        took, _ = meter.time(lambda: _backward(group.repeated(0, rows), group.shape))
    except torch.OutOfMemoryError:
        took = None
    if took is None:
        meter.forget()  # not within `except`, where the error still holds tensors
        return None
    return took * group.shape.completions / rows


def _all_parts(group: Group, rows: int, budget: Budget) -> None:
    for first in range(0, group.shape.completions, rows):
        budget.check()
        _backward(group.repeated(first, rows), group.shape)


def _backward(logps_N: Tensor, shape: Shape) -> None:
    (-logps_N.sum() / (shape.completions * shape.tokens)).backward()


def _forget_gradients(model: OmniModel) -> None:
    model.zero_grad(set_to_none=True)


def _figures(timed: Timed, shape: Shape, operations: float, meter: Meter) -> Record:
    spread, most = Spread.of(timed.seconds), peak_of(meter.name)
    return {
        "seconds": asdict(spread),
        "completion_tokens_per_s": shape.completions * shape.tokens / spread.median,
        "peak_gib": timed.peak_gib,
        "utilisation": None if most is None else operations / spread.median / most,
    }


# ---------------------------------------------------------------- rollout


def measure_rollout(
    model: OmniModel, shape: Shape, new_tokens: int, rounds: int, budget: Budget
) -> Record:
    """A group of completions by the engine, and by the same engine given the prompt G times.

    Both write `new_tokens` tokens of each completion, fewer than an update reads: what a step
    takes is about the same at each of them.
    """
    sample, prompt_tokens = _sample_of(model, shape.prompt)
    sampling = SamplingConfig(max_new_tokens=new_tokens)
    engine, meter = LocalEngine(model), Meter(model.device)
    rollouts = {
        "naive": _Rollout(engine, [sample] * shape.completions, 1, sampling, budget),
        "shared": _Rollout(engine, [sample], shape.completions, sampling, budget),
    }
    timed = take_turns(rollouts, rounds, meter, budget)
    record: Record = {"prompt_tokens": prompt_tokens, "new_tokens": new_tokens}
    for name, rollout in rollouts.items():
        record[name] = OUT_OF_MEMORY
        if name in timed:
            record[name] = {
                "seconds": asdict(Spread.of(timed[name].seconds)),
                "first_token_s": asdict(Spread.of(rollout.first_token_s[1:])),
                "step_ms": asdict(Spread.of(rollout.step_ms[1:])),
                "peak_gib": timed[name].peak_gib,
            }
    return record | _ratio(timed)


class _Rollout:
    """Generates when called, and keeps when the tokens came."""

    def __init__(
        self,
        engine: LocalEngine,
        samples: Sequence[Sample],
        n: int,
        sampling: SamplingConfig,
        budget: Budget,
    ) -> None:
        self._engine, self._samples, self._n = engine, samples, n
        self._sampling, self._budget = sampling, budget
        self.first_token_s: list[float] = []
        self.step_ms: list[float] = []

    def __call__(self) -> None:
        moments = [time.perf_counter()]

        def on_step(_: Sequence[int]) -> None:
            self._budget.check()
            moments.append(time.perf_counter())

        self._engine.generate(self._samples, self._n, self._sampling, on_step=on_step)
        start, first, *others = moments
        self.first_token_s.append(first - start)
        self.step_ms.append(1e3 * (others[-1] - first) / len(others))


def _sample_of(model: OmniModel, tokens: int) -> tuple[Sample, int]:
    """A question whose prompt has at least so many tokens, and how many it has."""
    words = length = 0
    while (missing := tokens - length) > 0:
        words += missing if words else 1
        sample = Sample(
            id="q",
            question="What does the person intend?" + " voice" * words,
            problem_type=ProblemType.MULTIPLE_CHOICE,
            options=("to comfort", "to tease"),
            answer="A",
            media=(),
        )
        length = len(model.encode(sample).input_ids)
    return sample, length
