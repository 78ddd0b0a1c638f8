"""A disk that fills up while a checkpoint is written, and memory that does not suffice."""

import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from triptych.data.sample import Sample
from triptych.models import OmniModel
from triptych.runs import RunFolder
from triptych.training.checkpoints import CheckpointError, CheckpointFolder, damage
from triptych.training.grpo import GRPOTrainer
from triptych.training.memory import OutOfMemory
from triptych.training.sft import SFTConfig, SFTTrainer

Build = Callable[..., GRPOTrainer]


def sft(model: OmniModel, samples: list[Sample], run: RunFolder, **settings: Any) -> SFTTrainer:
    defaults: dict[str, Any] = {
        "batch_size": 2, "micro_batch_size": 2, "max_steps": 3, "save_steps": 1,
        "learning_rate": 1e-3,
    }  # fmt: skip
    config = SFTConfig(**{**defaults, **settings})
    return SFTTrainer(model, samples, config, run)


def of_run(run: RunFolder, phase: str) -> CheckpointFolder:
    return CheckpointFolder(run.path / "checkpoints" / phase)


@contextmanager
def no_file_longer_than(size: int) -> Iterator[None]:
    """Longer ones fail in the middle, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_one_error_and_the_former_checkpoint_stays(
    tiny_folder: Path, samples: list[Sample], run: RunFolder
) -> None:
    """The weights do not fit; then they do, but not what the optimizer keeps of them."""
    sft(OmniModel.from_pretrained(tiny_folder), samples, run, max_steps=1).fit()
    checkpoints = of_run(run, "sft")
    size = (checkpoints.of_step(1) / "model.safetensors").stat().st_size
    for limit in (size // 2, size + size // 2):
        trainer = sft(OmniModel.from_pretrained(tiny_folder), samples, run)
        message = (
            r"sft: step 2: cannot be saved to .* \(.*\); make room .*: checkpoint-1 is intact$"
        )
        with no_file_longer_than(limit), pytest.raises(CheckpointError, match=message):
            trainer.fit(resume=True)
        assert [path.name for path in checkpoints.path.iterdir()] == ["checkpoint-1"]
        assert damage(checkpoints.of_step(1)) is None
    assert sft(OmniModel.from_pretrained(tiny_folder), samples, run).fit(resume=True).steps == 3
    assert checkpoints.newest() == checkpoints.of_step(3)


@pytest.mark.parametrize("name", ["optimizer.pt", "trainer_state.json", "manifest.json"])
def test_whichever_file_does_not_fit(
    name: str, tiny: OmniModel, samples: list[Sample], run: RunFolder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    trainer = sft(tiny, samples, run)
    begin = CheckpointFolder.begin

    def begin_without_room(folder: CheckpointFolder) -> None:
        begin(folder)
        if trainer.state.global_step == 2:  # a folder is in the way of the file
            (folder.writing / "checkpoint-2" / name / "full").mkdir(parents=True)

    monkeypatch.setattr(CheckpointFolder, "begin", begin_without_room)
    with pytest.raises(CheckpointError, match=r"sft: step 2: .*checkpoint-1 is intact$"):
        trainer.fit()
    assert [path.name for path in of_run(run, "sft").path.iterdir()] == ["checkpoint-1"]


def test_a_model_that_cannot_be_saved_leaves_the_one_before(
    tiny: OmniModel, samples: list[Sample], run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = sft(tiny, samples, run)
    before = trainer.fit().model_path / "model.safetensors"
    content = before.read_bytes()

    def no_room(folder: Path) -> None:
        (Path(folder) / "half").parent.mkdir()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tiny, "save_pretrained", no_room)
    with pytest.raises(CheckpointError, match=r"No space left on device.*checkpoint-3 is intact"):
        trainer.fit(resume=True)
    assert before.read_bytes() == content
    assert [path.name for path in before.parent.parent.iterdir()] == ["sft"]


def out_of_memory(*_: object, **__: object) -> Any:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore of it.")


@pytest.mark.parametrize(
    ("phase", "advice"),
    [
        ("rollout", "4 prompts at once, 4 completions of up to 1024 tokens each): CUDA out of "
                    "memory. Tried to allocate 2.00 GiB. Set rollout_sequences below 16, or "
                    "max_new_tokens below 1024, or media.max_frames"),
        ("update", "micro-batches of 2 groups, 4 completions of up to 1024 tokens each): CUDA out "
                   "of memory. Tried to allocate 2.00 GiB. Set gradient_checkpointing to true, or "
                   "groups_per_micro_batch below 2, or num_generations below 4"),
        ("reference", "or beta to 0 (no reference model)"),
    ],
)  # fmt: skip
def test_memory_that_does_not_suffice_is_one_error_that_says_what_needs_less(
    phase: str, advice: str, tiny: OmniModel, samples: list[Sample], run: RunFolder,
    replay_trainer: Build, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    trainer = replay_trainer(tiny, samples, max_steps=3, save_steps=1)
    places = {
        "rollout": (trainer.engine, "generate"),
        "update": (trainer, "compute_loss"),
        "reference": (trainer, "_fixed_logps"),
    }
    owner, name = places[phase]
    works = getattr(owner, name)

    def fails_later(*args: Any, **keywords: Any) -> Any:
        if trainer.state.global_step < 2:
            return works(*args, **keywords)
        if phase == "reference":
            with trainer.clock("reference"):
                out_of_memory()
        return out_of_memory()

    monkeypatch.setattr(owner, name, fails_later)
    with pytest.raises(OutOfMemory) as error:
        trainer.fit()
    said = str(error.value)
    doing = {"rollout": "writing completions", "update": "computing gradients",
             "reference": "scoring completions under the reference model"}[phase]  # fmt: skip
    assert said.startswith(f"grpo: step 3: out of memory while {doing} (")
    assert advice in said
    intact = of_run(run, "grpo").of_step(2)
    assert said.endswith(f"then go on by --resume: {intact} is intact")
    assert damage(intact) is None
    monkeypatch.setattr(owner, name, works)
    shutil.rmtree(run.path / "models", ignore_errors=True)
    assert trainer.fit(resume=True).steps == 3


def test_of_a_cold_start_too(tiny: OmniModel, samples: list[Sample], run: RunFolder) -> None:
    trainer = sft(tiny, samples, run, gradient_checkpointing=True)
    trainer.compute_loss = out_of_memory  # type: ignore[method-assign]
    message = (
        r"sft: step 1: out of memory while computing gradients \(micro-batches of 2 samples\): "
        r".* Set micro_batch_size below 2, or media\..*: there is no checkpoint yet$"
    )
    with pytest.raises(OutOfMemory, match=message):
        trainer.fit()
