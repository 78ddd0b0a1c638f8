"""Training runs for one or several processes, and how they are started.

As a program: ``distributed_runs.py KIND WORK MODEL DATA FOLDER``, one of the processes of a run.
"""

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from replay import ReplayEngine
from torch.distributed.tensor import DTensor
from transformers import TrainerCallback

import triptych
from triptych.data.sample import MediaKind, Sample, read_samples
from triptych.errors import TriptychError
from triptych.generation import SamplingConfig
from triptych.generation.local import LocalEngine
from triptych.models import OmniModel
from triptych.models.adapters import LoraSettings
from triptych.rewards import RewardFunction, rule_rewards
from triptych.runs import RunFolder
from triptych.training.grpo import GRPOConfig, GRPOTrainer
from triptych.training.sft import SFTConfig, SFTTrainer
from triptych.training.trainer import StageTrainer

KINDS = ("ddp", "fsdp2")

FORMATS = {"zero3": torch.float32}
"""Of weights, gradients and the optimizer's state; elsewhere it is double precision: Adam's first
step is the gradient's sign, and noise has one too. DeepSpeed knows none."""
precision = torch.float64


class KeepGradients(TrainerCallback):
    """Writes the gradients of the first optimizer step, whole, to a file."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step:
            return
        gradients = {
            name.removeprefix("module."): gradient
            for name, weight in kwargs["model"].named_parameters()
            if (gradient := _gradient(weight)) is not None
        }
        if any(hasattr(weight, "ds_id") for weight in kwargs["model"].parameters()):
            _clip(gradients, args.max_grad_norm)
        if state.is_world_process_zero:
            torch.save(gradients, self._file)


def _gradient(weight: torch.Tensor) -> torch.Tensor | None:
    """All of it, after it was clipped."""
    if hasattr(weight, "ds_id"):
        from deepspeed.utils import safe_get_full_grad

        whole: torch.Tensor | None = safe_get_full_grad(weight)
        return whole
    if isinstance(weight.grad, DTensor):
        return weight.grad.full_tensor()
    return None if weight.grad is None else weight.grad.clone()


def _clip(gradients: Mapping[str, torch.Tensor], most: float) -> None:
    """DeepSpeed clips what it takes a step with, and keeps what it was."""
    norm = torch.stack([gradient.norm() for gradient in gradients.values()]).norm()
    for gradient in gradients.values():
        gradient.mul_(torch.clamp(most / (norm + 1e-6), max=1))


def mixed(samples: Sequence[Sample]) -> list[Sample]:
    """One sample without media, one with all of its media, with sound or pictures alone, and again.

    Of any four in a row of whatever order one has pictures and one has none.
    """
    kept = ((), tuple(MediaKind), (MediaKind.AUDIO,), (MediaKind.IMAGE, MediaKind.VIDEO))
    return [
        sample.model_copy(
            update={"media": tuple(m for m in sample.media if m.kind in kept[number % len(kept)])}
        )
        for number, sample in enumerate(samples)
    ]


def sft(model: OmniModel, samples: Sequence[Sample], run: RunFolder, **more: Any) -> SFTTrainer:
    settings = {"batch_size": 4, "micro_batch_size": 1, "max_steps": 2, "learning_rate": 1e-3}
    return SFTTrainer(model, samples, SFTConfig(**{**settings, **more}), run)


def grpo(model: OmniModel, samples: Sequence[Sample], run: RunFolder, **more: Any) -> GRPOTrainer:
    settings = {
        "prompts_per_step": 4, "groups_per_micro_batch": 1, "num_generations": 4, "max_steps": 2,
        "learning_rate": 1e-3, "scale": "batch",
    }  # fmt: skip
    config = GRPOConfig(**{**settings, **more})
    return GRPOTrainer(model, samples, rule_rewards(), config, run, engine=ReplayEngine(model))


def fit(trainer: StageTrainer, *, resume: bool = False) -> None:
    folder = trainer.run.path
    trainer.add_callback(KeepGradients(folder / f"{trainer.phase}-gradients.pt"))
    trainer.fit(resume=resume)


def load(model_folder: Path) -> OmniModel:
    return OmniModel.from_pretrained(model_folder).to(precision)


def both(model_folder: Path, data: Path, folder: Path) -> None:
    """SFT, then GRPO, on samples with all kinds of media and with none."""
    model, run = load(model_folder), RunFolder(folder)
    samples = mixed(read_samples(data))
    fit(sft(model, samples, run))
    fit(grpo(load(folder / "models" / "sft"), samples, run))


def rollouts(model_folder: Path, data: Path, folder: Path, bf16: bool = False) -> None:
    """GRPO on what the live model writes, which an evaluation and a reward look at as well.

    A frozen encoder is run ahead, in a thread, a frozen layer is that of the reference as well, and
    activations are computed twice.
    """
    model, run = load(model_folder), RunFolder(folder)
    samples = mixed(read_samples(data))
    rank = int(os.environ.get("RANK", "0"))

    def evaluate(live: OmniModel) -> dict[str, float]:
        asked = samples[: 1 + rank]  # processes need not do the same
        sampling = SamplingConfig(max_new_tokens=6 + rank, temperature=0.0)
        first, *_ = LocalEngine(live).generate(asked, 1, sampling)
        return {"first_ids": float(sum(first[0].token_ids[:6]))}

    config = GRPOConfig(
        prompts_per_step=4, groups_per_micro_batch=1, num_generations=3, max_new_tokens=10,
        max_steps=2, learning_rate=1e-3, weights={"format": 1.0, "answer": 0.5}, num_iterations=2,
        freeze=("vision", "layers.0"), gradient_checkpointing=True, eval_steps=1, save_steps=1,
        bf16=bf16,
    )  # fmt: skip
    rewards: dict[str, RewardFunction] = {
        "format": letters,
        "answer": AsksAboutMedia(model, samples),
    }
    fit(GRPOTrainer(model, samples, rewards, config, run, evaluate=evaluate))


def half_rollouts(model_folder: Path, data: Path, folder: Path) -> None:
    """The same in bfloat16."""
    rollouts(model_folder, data, folder, bf16=True)


class AsksAboutMedia:
    """A reward that has the model write, for samples that have media: processes differ in that."""

    def __init__(self, model: OmniModel, samples: Sequence[Sample]) -> None:
        self.use_model(model)
        self._samples = {sample.id: sample for sample in samples}

    def use_model(self, model: OmniModel) -> None:
        self._engine = LocalEngine(model)

    def __call__(self, sample_id: Sequence[str], **columns: Any) -> list[float | None]:
        return [self._asked(self._samples[key]) for key in sample_id]

    def _asked(self, sample: Sample) -> float | None:
        if not sample.media:
            return None
        sampling = SamplingConfig(max_new_tokens=2, temperature=0.0)
        ((written,),) = self._engine.generate([sample], 1, sampling)
        return written.token_ids[0] % 8 / 8


def letters(prompts: Any, completions: Any, **columns: Any) -> list[float | None]:
    """A reward that tells the random completions of an untrained model apart."""
    return [sum(map(str.isalpha, text)) / (1 + len(text)) for text in completions]


def adapter(model_folder: Path, data: Path, folder: Path) -> None:
    """SFT, then GRPO, of an adapter; the reference is the model without it."""
    run, lora = RunFolder(folder), LoraSettings(rank=4)
    samples = mixed(read_samples(data))
    for make in (sft, grpo):
        torch.manual_seed(0)  # adapters are drawn
        fit(make(load(model_folder), samples, run, lora=lora))


class Stop(TrainerCallback):
    """Ends training after the first step."""

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        control.should_training_stop = True


def begin(model_folder: Path, data: Path, folder: Path) -> None:
    """The first of two steps, and a checkpoint."""
    trainer = sft(load(model_folder), mixed(read_samples(data)), RunFolder(folder), save_steps=1)
    trainer.add_callback(Stop())
    fit(trainer)


def go_on(model_folder: Path, data: Path, folder: Path) -> None:
    """The second step, from the checkpoint."""
    trainer = sft(load(model_folder), mixed(read_samples(data)), RunFolder(folder), save_steps=1)
    fit(trainer, resume=True)


def half(model_folder: Path, data: Path, folder: Path) -> None:
    """A step in bfloat16; what reaches the loss is written down."""
    trainer = sft(
        OmniModel.from_pretrained(model_folder), mixed(read_samples(data)), RunFolder(folder),
        bf16=True, max_steps=1,
    )  # fmt: skip
    formats: list[str] = []
    trainer.omni.register_forward_hook(
        lambda module, inputs, output: formats.append(str(output.logps_N.dtype))
    )
    fit(trainer)
    (folder / "formats").write_text(" ".join(sorted(set(formats))))


def endless(model_folder: Path, data: Path, folder: Path) -> None:
    """Steps of SFT until someone ends it."""
    samples = mixed(read_samples(data))
    with ended_as_the_command_is():
        fit(sft(load(model_folder), samples, RunFolder(folder), max_steps=100_000))


@contextmanager
def ended_as_the_command_is() -> Iterator[None]:
    try:
        yield
    except TriptychError as error:
        sys.exit(f"Error: {error}")


WORK: dict[str, Callable[[Path, Path, Path], None]] = {
    work.__name__: work
    for work in (both, rollouts, half_rollouts, adapter, begin, go_on, half, endless)
}


def start_apart(work: str, log: Path, *paths: Path) -> list[subprocess.Popen[bytes]]:
    """Do one kind of WORK in two processes that no launcher watches, as on two machines."""
    common = {**_environment({}), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    common["MASTER_PORT"] = str(_free_port())
    command = [sys.executable, __file__, "ddp", work, *map(str, paths)]
    processes = []
    for rank in ("0", "1"):
        with log.with_suffix(f".{rank}").open("wb") as file:
            own = {**common, "RANK": rank, "LOCAL_RANK": rank}
            processes.append(subprocess.Popen(command, env=own, stdout=file, stderr=file))
    return processes


def launch(
    processes: int, kind: str, work: str, *paths: Path, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Do one kind of WORK in several processes, as torchrun starts them."""
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes),
        "--master-port", str(_free_port()), __file__, kind, work, *map(str, paths),
    ]  # fmt: skip
    done = subprocess.run(
        command, env=_environment(environment or {}), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-6000:]
    return done


def _environment(more: dict[str, str]) -> dict[str, str]:
    places = [str(Path(triptych.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    own = {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(places)}
    return {**os.environ, **own, **more}


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def main(kind: str, work: str, *paths: str) -> None:
    global precision
    precision = FORMATS.get(kind, precision)
    torch.set_num_threads(1)
    if kind != "ddp":
        import sharded_on_cpu

        sharded_on_cpu.allow(kind)
    WORK[work](*map(Path, paths))


if __name__ == "__main__":
    main(*sys.argv[1:])
