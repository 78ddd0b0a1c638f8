"""One real run beside its plan, in a process that does nothing else; see `benchmarks.plan`."""

import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import torch
from transformers import TrainerCallback

from benchmarks.harness import resident_mib
from triptych.data.media import MediaBudget
from triptych.data.sample import Sample
from triptych.models import OmniModel
from triptych.models.families import family_for
from triptych.models.tiny import TinyConfig, build_processor, build_thinker, build_tokenizer
from triptych.planning.devices import measure_cpu
from triptych.planning.lengths import Lengths, prompt_length
from triptych.planning.memory import predict_memory
from triptych.planning.sizes import model_sizes
from triptych.planning.timing import predict_time
from triptych.planning.workload import Workload
from triptych.runs import RunFolder
from triptych.training import timeline
from triptych.training.grpo import GRPOConfig, GRPOTrainer


@dataclass(frozen=True)
class Case:
    """A configuration.

    Attributes:
        hidden: hidden size, in heads of 64.
        layers: of the decoder.
        clips: of a prompt; each has about 40 tokens.
        prompts: of a step.
        micro_batch: prompts of a forward.
        group: completions of a prompt.
        tokens: of a completion; none ends before.
        checkpointing: of activations.
        frozen: both media encoders.
        reference: there is one.
        tower: width of the media encoders.
    """

    hidden: int
    layers: int
    clips: int
    prompts: int
    micro_batch: int
    group: int
    tokens: int
    checkpointing: bool = False
    frozen: bool = True
    reference: bool = True
    tower: int = 64

    @property
    def towers(self) -> tuple[str, ...]:
        return ("vision", "audio") if self.frozen else ()

    def model(self) -> OmniModel:
        """Random weights; no token ends a completion."""
        heads = self.hidden // 64
        config = TinyConfig(
            hidden_size=self.hidden, num_layers=self.layers, num_heads=heads,
            num_key_value_heads=heads, tower_size=self.tower,
        )  # fmt: skip
        tokenizer = build_tokenizer()
        model = OmniModel(
            build_thinker(tokenizer, config, seed=0),
            build_processor(tokenizer, config),
            family_for("qwen2_5_omni_thinker"),
            budget=MediaBudget(fps=8.0),
        )
        model.end_token_ids = ()
        return model

    def config(self, steps: int) -> GRPOConfig:
        return GRPOConfig(
            max_steps=steps,
            prompts_per_step=self.prompts,
            groups_per_micro_batch=self.micro_batch,
            num_generations=self.group,
            max_new_tokens=self.tokens,
            learning_rate=1e-5,
            beta=0.04 if self.reference else 0.0,
            gradient_checkpointing=self.checkpointing,
            freeze=self.towers,
            weights={"format": 1.0},
            scheme="uniform",  # type: ignore[arg-type]
            prefetch_steps=0,
        )

    def workload(self, lengths: Lengths, trained: int) -> Workload:
        return Workload(
            kind="grpo",
            lengths=lengths,
            per_step=self.prompts,
            micro_batch=self.micro_batch,
            group=self.group,
            completion=self.tokens,
            expected=self.tokens,
            trained=trained,
            reference=self.reference,
            checkpointing=self.checkpointing,
            frozen=self.towers,
            on_cpu=True,
        )


def _every_second(prompts: Any, completions: Any, **columns: Any) -> list[float | None]:
    return [float(index % 2) for index, _ in enumerate(completions)]


def _lengths(model: OmniModel, samples: list[Sample]) -> Lengths:
    found = [
        prompt_length(prompt, model.thinker, model.family)
        for prompt in model.encoder.encode_all(samples)
    ]
    return Lengths.of(found, len(samples), exact=True)


class _Watch(TrainerCallback):
    """CPU time and highest memory at the end of each step."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.peak = 0.0
        self._begun = time.process_time()

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self._begun = time.process_time()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        now = time.process_time()
        self.seconds.append(now - self._begun)
        self._begun = now
        lines = Path("/proc/self/status").read_text().splitlines()
        self.peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 2**10


def _train(
    model: OmniModel, samples: list[Sample], case: Case, steps: int
) -> tuple[_Watch, dict[str, float]]:
    watch = _Watch()
    with TemporaryDirectory(prefix="triptych-plan-") as folder:
        run = RunFolder.create(Path(folder) / "run")
        trainer = GRPOTrainer(model, samples, {"format": _every_second}, case.config(steps), run)
        trainer.add_callback(watch)
        trainer.fit()
        lines = [line for line in run.metrics() if "seconds/step" in line][1:]
    phases = {
        name.removeprefix("seconds/"): sum(line[name] for line in lines) / len(lines)
        for name in (lines[0] if lines else ())
        if name.startswith("seconds/")
    }
    return watch, phases


WARM_UP = Case(64, 1, 1, 1, 1, 2, 2)


def run_case(case: Case, samples: list[Sample], steps: int) -> dict[str, Any]:
    """Plan a case, run it, and say both: MiB and CPU seconds of a step."""
    torch.set_num_threads(1)
    vars(timeline)["time"] = SimpleNamespace(perf_counter=time.process_time)
    _train(WARM_UP.model(), samples[:1], WARM_UP, 1)  # what the libraries keep for themselves
    before = resident_mib()
    Path("/proc/self/clear_refs").write_text("5")  # forget the highest mark
    model = case.model()
    samples = samples[: case.prompts * steps]
    lengths = _lengths(model, samples)
    watch, phases = _train(model, samples, case, steps)
    sizes = model_sizes("tiny", model.thinker, model.family)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    work = case.workload(lengths, trained)
    memory = predict_memory(sizes, work)
    planned = predict_time(sizes, work, measure_cpu(sizes, lengths.mean.tokens))
    return {
        "prompt": lengths.mean.tokens,
        "measured_mib": watch.peak - before,
        "planned_mib": memory.peak / 2**20,
        "planned_by_phase_mib": {name: memory.of(name) / 2**20 for name in memory.phases},
        "planned_parts_mib": {
            name: size / 2**20
            for name, size in {**memory.resident, **memory.phases[memory.largest]}.items()
        },
        "measured_s": sum(watch.seconds[1:]) / max(1, len(watch.seconds) - 1),
        "planned_s": planned.total,
        "measured_by_phase_s": phases,
        "planned_by_phase_s": dict(planned.phases),
    }
