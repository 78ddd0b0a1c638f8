"""A run that was asked to stop goes on as if it had not been, evaluations and the best one too."""

import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from triptych.data.sample import Sample
from triptych.errors import Preempted
from triptych.models import OmniModel
from triptych.runs import RunFolder
from triptych.training.checkpoints import CheckpointFolder, Manifest
from triptych.training.sft import SFTConfig, SFTTrainer

STEPS = 6


class Quality:
    """An evaluation that is best at step 4, and takes a signal at some evaluation if told to."""

    def __init__(self, trainer: "list[SFTTrainer]", signal_at: int | None = None) -> None:
        self.trainer, self.signal_at = trainer, signal_at

    def __call__(self, model: OmniModel) -> dict[str, float]:
        step = self.trainer[0].state.global_step
        if step == self.signal_at:
            signal.raise_signal(signal.SIGTERM)
        return {"quality": {0: 0.0, 2: 0.5, 4: 0.9, 6: 0.1}[step]}


def trainer_of(
    model: OmniModel, samples: list[Sample], run: RunFolder, *,
    signal_in_step: int | None = None, signal_in_evaluation: int | None = None,
) -> SFTTrainer:  # fmt: skip
    holder: list[SFTTrainer] = []
    config = SFTConfig(
        batch_size=2, micro_batch_size=1, max_steps=STEPS, learning_rate=1e-3, log_every=3,
        save_steps=5, keep_checkpoints=1, eval_steps=2, best_metric="quality",
    )  # fmt: skip
    trainer = SFTTrainer(
        model, samples, config, run, evaluate=Quality(holder, signal_in_evaluation)
    )
    holder.append(trainer)
    works = trainer.compute_loss

    def compute_loss(*args: Any, **keywords: Any) -> Any:
        if trainer.state.global_step + 1 == signal_in_step and not trainer.stop.received:
            signal.raise_signal(signal.SIGUSR1)
        return works(*args, **keywords)

    trainer.compute_loss = compute_loss  # type: ignore[method-assign]
    return trainer


def lines(run: RunFolder) -> list[dict[str, Any]]:
    return [{k: v for k, v in line.items() if "seconds" not in k} for line in run.metrics()]


@pytest.fixture(scope="module")
def whole(
    tiny_folder: Path, samples: list[Sample], tmp_path_factory: pytest.TempPathFactory
) -> RunFolder:
    run = RunFolder.create(tmp_path_factory.mktemp("stopped") / "whole")
    result = trainer_of(OmniModel.from_pretrained(tiny_folder), samples, run).fit()
    assert (result.best_step, result.best_metric) == (4, 0.9)
    return run


@pytest.mark.parametrize(
    ("stop", "step", "pending"),
    [
        ({"signal_in_step": 4}, 4, ["evaluation"]),
        ({"signal_in_evaluation": 4}, 4, []),
        ({"signal_in_step": 6}, 6, ["evaluation"]),
    ],
    ids=["in_step", "in_evaluation", "in_last_step"],
)
def test_stopped_where_an_evaluation_is_due(
    stop: dict[str, int], step: int, pending: list[str], whole: RunFolder, tiny_folder: Path,
    samples: list[Sample], tmp_path: Path,
) -> None:  # fmt: skip
    def load() -> OmniModel:
        return OmniModel.from_pretrained(tiny_folder)

    run = RunFolder.create(tmp_path / "run")
    name = "SIGUSR1" if "signal_in_step" in stop else "SIGTERM"
    with pytest.raises(Preempted, match=rf"^{name}: stopped after step {step} of 6; .*complete$"):
        trainer_of(load(), samples, run, **stop).fit()
    assert not (run.path / "models").exists()
    folder = CheckpointFolder(run.path / "checkpoints" / "sft")
    newest = folder.newest()
    assert newest == folder.of_step(step)
    assert Manifest.read(newest).pending == pending

    moved = RunFolder(run.path.rename(tmp_path / "moved"))  # with its best checkpoint
    again = trainer_of(load(), samples, moved).fit(resume=True)
    assert (again.steps, again.best_step, again.best_metric) == (STEPS, 4, 0.9)
    weights = Path("models", "sft", "model.safetensors")
    assert (moved.path / weights).read_bytes() == (whole.path / weights).read_bytes()
    assert lines(moved) == lines(whole)
    folder = CheckpointFolder(moved.path / "checkpoints" / "sft")
    assert [path.name for path in folder.all()] == ["checkpoint-6", "checkpoint-4"]


def test_a_best_checkpoint_that_is_lost_is_told_of(
    whole: RunFolder, tiny_folder: Path, samples: list[Sample], tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    run = RunFolder(shutil.copytree(whole.path, tmp_path / "run"))
    shutil.rmtree(run.path / "checkpoints" / "sft" / "checkpoint-4")
    trainer = trainer_of(OmniModel.from_pretrained(tiny_folder), samples, run)
    result = trainer.fit(resume=True)
    told = " ".join(capfd.readouterr().err.split())
    assert "checkpoint-4, is lost (manifest.json is missing" in told
    assert result.best_step is None
