"""The part of a trainer that knows of other processes.

* Data parallel (DDP): every process holds the whole model.
* FSDP2 and ZeRO-3: the weights are sharded, see `sharding`.

All make the step that a single process makes, up to rounding: the loss counts the tokens of all
processes, and trained media encoders run everywhere in a step if they run anywhere (`TowerDuty`). A
`watchdog` ends a run that cannot go on.
"""

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType, gather_object
from torch import Tensor, nn
from transformers.trainer import OPTIMIZER_NAME, SCHEDULER_NAME

from triptych.models.idle_towers import smallest_media, towers_in
from triptych.models.omni import OmniModel
from triptych.models.packing import PackedBatch
from triptych.training import fsdp2, zero3
from triptych.training.saving import SavingTrainer
from triptych.training.sharding import (
    check_processes,
    exact_weights,
    is_sharded,
    load_optimizer_state,
    optimizer_state,
)
from triptych.training.watchdog import Watchdog


class DistributedTrainer(SavingTrainer):
    """A trainer whose model may be spread over processes. Subclasses set `omni`."""

    omni: OmniModel

    def prepare_processes(self, stuck_seconds: float, at: Callable[[], tuple[str, int]]) -> None:
        """Set up what the rest needs; see `Watchdog`.

        Raises:
            ConfigError: the processes were launched in a way that cannot run.
        """
        check_processes(self.omni, self.accelerator)
        zero3.load_whole_models()
        self.duty = TowerDuty(self.omni, self.accelerator)
        self._watchdog = Watchdog(
            self.run.path / "processes" / self.phase,
            self.accelerator.process_index,
            self.accelerator.num_processes,
            stuck_seconds,
            at,
        )

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch over the other processes while inside. All must enter.

        Raises:
            RankError: another process is gone.
        """
        attempt = gather_object([uuid.uuid4().hex])[0]
        with self._watchdog.watching(attempt):
            yield

    def frozen_models(self) -> Sequence[OmniModel]:
        """Models besides the trained one that a step runs on all processes."""
        return ()

    def shard(self) -> None:
        """Spread the weights over the processes, where FSDP2 is asked for.

        DeepSpeed does it once it knows the optimizer: see `_prepare_for_training`.
        """
        if self.accelerator.distributed_type is DistributedType.FSDP:
            for model in (self.omni, *self.frozen_models()):
                if not is_sharded(model):
                    fsdp2.shard(model, self.accelerator)

    # --- what Trainer calls ------------------------------------------------------------------

    def _prepare_for_training(
        self, max_steps: int, train_dataloader: Any, resume_from_checkpoint: str | None
    ) -> Any:
        if self.accelerator.distributed_type is not DistributedType.DEEPSPEED:
            return super()._prepare_for_training(
                max_steps, train_dataloader, resume_from_checkpoint
            )
        zero3.prepare(self.omni, self.accelerator)
        # Our checkpoints are none of DeepSpeed's, which Trainer would look for.
        prepared = super()._prepare_for_training(max_steps, train_dataloader, None)
        zero3.finish(self.omni, self.model_wrapped)
        for model in self.frozen_models():
            zero3.shard_frozen(model, self.accelerator)
        if resume_from_checkpoint is not None:
            self._load_from_checkpoint(resume_from_checkpoint)
            self._load_optimizer_and_scheduler(resume_from_checkpoint)
        return prepared

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Save an ordinary model folder; the first process writes it."""
        with exact_weights(self.omni, here=self.args.should_save):
            if self.args.should_save:
                with self._writing():
                    self.omni.save_pretrained(output_dir or str(self.args.output_dir))

    def _load_from_checkpoint(
        self, resume_from_checkpoint: str, model: nn.Module | None = None
    ) -> None:
        with exact_weights(self.omni):
            self.omni.load_weights(resume_from_checkpoint)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        # As every other run writes them: whoever resumes need not be sharded, or among as many.
        if not is_sharded(self.omni):
            super()._save_optimizer_and_scheduler(output_dir)
            return
        state = optimizer_state(self.omni, self.optimizer)
        if self.args.should_save:
            with self._writing():
                torch.save(state, Path(output_dir) / OPTIMIZER_NAME)
                torch.save(self.lr_scheduler.state_dict(), Path(output_dir) / SCHEDULER_NAME)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None or not is_sharded(self.omni):
            super()._load_optimizer_and_scheduler(checkpoint)
            return
        folder = Path(checkpoint)
        state = torch.load(folder / OPTIMIZER_NAME, "cpu", mmap=True, weights_only=True)
        load_optimizer_state(self.omni, self.optimizer, state)
        self.lr_scheduler.load_state_dict(torch.load(folder / SCHEDULER_NAME, weights_only=True))


class TowerDuty:
    """Which trained media encoders must run although a micro-batch has no media for them.

    Processes exchange the gradient of every weight that any of them has one for. Where one had a
    video and another only text, the second would have nothing to exchange for the vision encoder:
    it would wait for ever, or add up what does not belong together. So every forward of a step runs
    the encoders that any process has media for in that step, on the smallest media there are where
    it has none, and adds zero times what they give: gradients are zero, neither missing nor other.
    An encoder that nobody has media for gets no gradient, as in a single process.

    DeepSpeed also wants gradients in the same order everywhere. With it, every forward begins with
    the smallest media of each of these encoders: gradients of an encoder are then complete when
    those of its smallest media are, which come last, and in the order of the names.
    """

    def __init__(self, model: OmniModel, accelerator: Accelerator) -> None:
        self._model, self._accelerator = model, accelerator
        self._in_order = accelerator.distributed_type is DistributedType.DEEPSPEED
        self._names = tuple(model.family.towers)
        self._in_use: frozenset[str] = frozenset()
        self._smallest: Mapping[str, tuple[str, Mapping[str, Tensor]]] | None = None

    def begin_step(self, batches: Sequence[PackedBatch], tokens: int) -> Tensor:
        """Learn what the other processes have in this step; every process must call it.

        Args:
            batches: the micro-batches of this process.
            tokens: a number of this process.

        Returns:
            The sum of all processes' numbers, on the training device.
        """
        here = {tower for batch in batches for tower in self._read_by(batch)}
        row = [tokens, *(int(name in here) for name in self._names)]
        device = self._accelerator.device
        sums: Tensor = self._accelerator.reduce(torch.tensor(row, device=device), "sum")
        several = self._accelerator.num_processes > 1
        used = zip(self._names, sums[1:].tolist(), strict=True)
        self._in_use = frozenset(name for name, count in used if several and count)
        return sums[0]

    def idle(self, batch: PackedBatch) -> dict[str, Mapping[str, Tensor]]:
        """What the forward of a micro-batch runs besides its media, by kind of media."""
        run = self._in_use if self._in_order else self._in_use - self._read_by(batch)
        if not run:
            return {}
        if self._smallest is None:
            self._smallest = smallest_media(self._model)
        chosen = (self._smallest[name] for name in sorted(run))
        device = self._accelerator.device
        return {
            kind: {name: tensor.to(device) for name, tensor in features.items()}
            for kind, features in chosen
        }

    def _read_by(self, batch: PackedBatch) -> frozenset[str]:
        return towers_in(self._model.family, batch.features)
