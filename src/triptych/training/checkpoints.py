"""Checkpoints on disk: each is whole or not there, and the newest whole one is found.

    RUN/checkpoints/PHASE/
        checkpoint-40/   whole: an ordinary model folder, Trainer's state beside it, manifest.json
        .writing/        the one that is being written; a process that is killed leaves it behind
        .removed-.../    one that is being deleted

All ranks write into `.writing`. When they are done, every file is brought to the disk, the manifest
is added (all files with their sizes), and the folder is renamed. A checkpoint without a manifest,
or one whose files are not what the manifest says, is never resumed from.
"""

import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from triptych.errors import ConfigError, DataError, TriptychError
from triptych.files import read_json, sync_file, write_json

MANIFEST = "manifest.json"
_WRITING = ".writing"
_REMOVED = ".removed-"
_NAME = re.compile(r"checkpoint-(\d+)")
_SAMPLED = 64
"""Values of each weight that go into its fingerprint."""


class CheckpointError(TriptychError):
    """A checkpoint cannot be written, or none of those that are there can be used."""


@dataclass(frozen=True)
class Manifest:
    """What a whole checkpoint says of itself.

    Attributes:
        step: optimizer steps that were made.
        processes: that trained together when it was written.
        files: size in bytes of every file, by its path in the checkpoint.
        began: what a run must have in common with the one that goes on from here: see `Began`.
        pending: what was due at this step and not done any more, because the run was stopped.
    """

    step: int
    processes: int
    files: Mapping[str, int]
    began: Mapping[str, Any] = field(default_factory=dict)
    pending: Sequence[str] = ()

    @classmethod
    def read(cls, checkpoint: Path) -> "Manifest":
        """The manifest of a checkpoint.

        Raises:
            DataError: there is none, or it is damaged.
        """
        record = read_json(checkpoint / MANIFEST)
        try:
            return cls(**record)
        except TypeError as error:
            raise DataError(f"{checkpoint / MANIFEST}: {error}") from error


@dataclass(frozen=True)
class Began:
    """What the place in the data and the reference model depend on.

    Attributes:
        samples: how many samples the run uses.
        per_step: samples of an optimizer step, over all ranks.
        repeats: steps on the same samples.
        seed: of the run.
        weights: fingerprint of the weights that the run began from.
    """

    samples: int
    per_step: int
    repeats: int
    seed: int
    weights: str

    def check(self, manifest: Manifest, checkpoint: Path) -> None:
        """Refuse to go on from a checkpoint of a run that began otherwise.

        Raises:
            ConfigError: the data would be skipped or repeated, or the reference be another model.
        """
        settings = {
            "samples": "usable samples",
            "per_step": "samples a step (prompts_per_step, batch_size)",
            "repeats": "num_iterations",
            "seed": "seed",
        }
        for name, setting in settings.items():
            before, now = manifest.began.get(name), getattr(self, name)
            if before != now:
                raise ConfigError(
                    f"{checkpoint} was written with {setting} = {before}, now it is {now}: data "
                    "would be skipped or repeated; resume with the settings and data that the run "
                    "began with, or start a new run from the checkpoint as its model"
                )
        if manifest.began.get("weights") != self.weights:
            raise ConfigError(
                f"{checkpoint} belongs to a run that began from other weights; pass the model that "
                "the run began from (`model` in its config.yaml), not a checkpoint of it"
            )


def weights_fingerprint(model: nn.Module) -> str:
    """Names, shapes and some values of the weights: tells models apart without reading them whole.

    An adapter that changes nothing yet (its lora_B is zero) does not count: it is drawn anew
    whenever a run starts.
    """
    digest = hashlib.sha256()
    weights = dict(model.named_parameters())
    new = not any(bool(weight.any()) for name, weight in weights.items() if "lora_B." in name)
    for name, weight in weights.items():
        if new and "lora_" in name:
            continue
        values = weight.detach().flatten()
        some = values[:: max(1, len(values) // _SAMPLED)][:_SAMPLED].contiguous().cpu()
        digest.update(f"{name} {tuple(weight.shape)} {weight.dtype}".encode())
        digest.update(some.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def step_of(checkpoint: Path) -> int:
    """The step that a checkpoint was written after."""
    return int(checkpoint.name.rpartition("-")[2])


@dataclass(frozen=True)
class Found:
    """What there is to go on from.

    Attributes:
        checkpoint: the newest whole one; None where none was ever finished.
        passed_over: newer ones, each with what is wrong with it.
    """

    checkpoint: Path | None
    passed_over: Mapping[Path, str]

    def line(self, phase: str) -> str:
        """One line that says where a run goes on, and why not later."""
        told = [f"{path.name} passed over ({why})" for path, why in self.passed_over.items()]
        where = "no checkpoint was finished: begins anew"
        if self.checkpoint is not None:
            where = f"goes on after step {step_of(self.checkpoint)}, from {self.checkpoint}"
        return f"{phase}: {'; '.join([where, *told])}"


def damage(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint, in words that name the file; None if it is whole."""
    if not (checkpoint / MANIFEST).is_file():
        return f"{MANIFEST} is missing: it was never finished"
    try:
        manifest = Manifest.read(checkpoint)
    except DataError as error:
        return f"{MANIFEST} is damaged: {error}"
    for name, size in manifest.files.items():
        file = checkpoint / name
        if not file.is_file():
            return f"{name} is missing"
        if (present := file.stat().st_size) != size:
            return f"{name} has {present} bytes, {size} were written"
    return None


class CheckpointFolder:
    """The checkpoints of one phase of a run.

    Args:
        path: where they are.
        keep: how many of the newest ones stay, beside the best one.
    """

    def __init__(self, path: Path, keep: int = 1) -> None:
        self.path, self.keep = Path(path), keep

    @property
    def writing(self) -> Path:
        """The folder of the checkpoint that is being written."""
        return self.path / _WRITING

    def of_step(self, step: int) -> Path:
        """The checkpoint of a step, whether it is there or not."""
        return self.path / f"checkpoint-{step}"

    def all(self) -> list[Path]:
        """All that are there, whole or not, the newest first."""
        there = self.path.iterdir() if self.path.is_dir() else ()
        named = [path for path in there if _NAME.fullmatch(path.name) and path.is_dir()]
        return sorted(named, key=step_of, reverse=True)

    def newest(self) -> Path | None:
        """The newest whole checkpoint, if there is one."""
        return next((path for path in self.all() if damage(path) is None), None)

    def find(self) -> Found:
        """The newest whole checkpoint.

        Raises:
            CheckpointError: there are checkpoints, and all of them are damaged.
        """
        wrong: dict[Path, str] = {}
        for checkpoint in self.all():
            fault = damage(checkpoint)
            if fault is None:
                return Found(checkpoint, wrong)
            wrong[checkpoint] = fault
        if wrong:
            told = "; ".join(f"{path.name}: {why}" for path, why in wrong.items())
            raise CheckpointError(
                f"{self.path}: no checkpoint can be used: {told}. Bring the files back, or remove "
                "the folder to begin anew"
            )
        return Found(None, {})

    def begin(self) -> None:
        """Make room for the next one: what killed processes left behind goes."""
        self.path.mkdir(parents=True, exist_ok=True)
        for path in self.path.iterdir():
            if path.name == _WRITING or path.name.startswith(_REMOVED):
                shutil.rmtree(path)
        self.writing.mkdir()

    def finish(
        self, step: int, processes: int, began: Began, *, pending: Sequence[str] = ()
    ) -> Path:
        """Turn what was written into the checkpoint of a step.

        Raises:
            CheckpointError: a rank's files are not there.
        """
        written = self.writing / f"checkpoint-{step}"
        files = {
            path.relative_to(written).as_posix(): path.stat().st_size for path in files_of(written)
        }
        for rank in range(processes):
            name = "rng_state.pth" if processes == 1 else f"rng_state_{rank}.pth"
            if name not in files:
                raise CheckpointError(
                    f"{written}: {name} is missing: process {rank} writes somewhere else; put the "
                    "run folder on a file system that all machines share"
                )
        manifest = Manifest(step, processes, files, asdict(began), list(pending))
        write_json(written / MANIFEST, asdict(manifest))
        checkpoint = self.of_step(step)
        replace_folder(written, checkpoint)
        self.writing.rmdir()
        return checkpoint

    def rotate(self, best_step: int | None) -> None:
        """Delete old ones. The newest whole ones stay, and the best one."""
        whole = [path for path in self.all() if damage(path) is None]
        stay = {*whole[: self.keep], *(path for path in whole if step_of(path) == best_step)}
        for path in self.all():
            # Newer than what is whole there is nothing but what was passed over.
            if path not in stay:
                remove_folder(path)


def files_of(folder: Path) -> Iterator[Path]:
    """All files in a folder and those below it, in a fixed order."""
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def sync_folder(folder: Path) -> None:
    """Bring all files below a folder to the disk, and the folders that name them."""
    for path in (*folder.rglob("*"), folder):
        sync_file(path)


def replace_folder(written: Path, place: Path) -> None:
    """Put a folder, which is on the disk already, into its place; what was there goes."""
    if place.exists():
        remove_folder(place)
    written.rename(place)
    sync_file(place.parent)


def remove_folder(folder: Path) -> None:
    """Delete a folder that nobody should find half deleted."""
    hidden = folder.with_name(f"{_REMOVED}{folder.name}-{os.getpid()}")
    folder.rename(hidden)
    shutil.rmtree(hidden)
