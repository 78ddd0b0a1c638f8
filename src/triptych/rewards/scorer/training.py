"""Training a text scorer: an encoder learns how much of a reference a text keeps.

The loss is the cross-entropy of sigmoid(logit) with the target, a share in [0, 1]: unlike a squared
error it does not fade where the model is sure and wrong. transformers.Trainer does the rest.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits
from transformers import PrinterCallback, Trainer, TrainingArguments, set_seed

from triptych.data.policy import Ranks
from triptych.errors import ConfigError, DataError
from triptych.rewards.scorer.base import Candidate, Stage
from triptych.rewards.scorer.calibration import Calibration
from triptych.rewards.scorer.config import ScorerConfig
from triptych.rewards.scorer.corruptions import Pair
from triptych.rewards.scorer.encoders import load_encoder, pick_device
from triptych.rewards.scorer.evaluation import as_candidate
from triptych.rewards.scorer.inputs import Window, two_texts
from triptych.rewards.scorer.splits import Splits
from triptych.rewards.scorer.text import TextScorer, known_outcome, without_tricks

WARMUP = 0.1
"""Share of the steps over which the learning rate rises."""


def train_text_scorer(
    splits: Splits,
    config: ScorerConfig,
    device: str = "auto",
    *,
    show_progress: bool = False,
    ranks: Ranks | None = None,
) -> TextScorer:
    """Train on one part, calibrate on another; the third is not looked at.

    Equal pairs, settings and seed on the same machine give the same scorer. Several processes share
    the pairs of a step, and all get the scorer; the last step of a pass is filled up with pairs of
    its begin, since each of them needs some.

    Raises:
        ConfigError: there is no such encoder, or the processes cannot share a batch.
        DataError: a pair is longer than the encoder takes, or nothing was learned.
    """
    train = _to_read(splits.train, splits, config.stage)
    texts = (text for example in train for text in two_texts(example.candidate, config.stage))
    set_seed(config.seed)
    encoder = load_encoder(config.encoder, texts)
    encoder = replace(encoder, max_length=min(encoder.max_length, config.max_length))
    encoder.model.to(pick_device(device))
    scorer = TextScorer(encoder, config.stage, Calibration(), config.encoder)
    _fit(scorer, train, config, ranks or Ranks(), show_progress=show_progress)
    held = _to_read(splits.calibration, splits, config.stage)
    logits_N = scorer.logits(_whole(scorer, held))
    targets_N = np.array([example.target for example in held])
    return scorer.calibrated(Calibration.fit(logits_N, targets_N))


@dataclass(frozen=True)
class _Example:
    """A text that the model reads, and what it should say."""

    candidate: Candidate
    target: float
    sample_id: str


def _to_read(pairs: Sequence[Pair], splits: Splits, stage: Stage) -> list[_Example]:
    """The pairs as they are read when they are scored, without those that never are."""
    examples = []
    for pair in pairs:
        candidate = without_tricks(as_candidate(pair, splits.samples[pair.sample_id]), stage)
        if known_outcome(candidate, stage) is None:
            examples.append(_Example(candidate, pair.target, pair.sample_id))
    return examples


def _whole(scorer: TextScorer, examples: Sequence[_Example]) -> list[Window]:
    """One window for each example: what is learned from is not read in parts.

    Raises:
        DataError: one does not fit.
    """
    windows = scorer.windows([two_texts(example.candidate, scorer.stage) for example in examples])
    for example, parts in zip(examples, windows, strict=True):
        if len(parts) != 1:
            raise DataError(
                f"sample {example.sample_id!r}: its reference and a text made from it take more "
                f"than the {scorer.encoder.max_length} tokens of the encoder; raise max_length, "
                "name an encoder that takes more, or leave the sample out"
            )
    return [window for (window,) in windows]


def _fit(
    scorer: TextScorer,
    train: Sequence[_Example],
    config: ScorerConfig,
    ranks: Ranks,
    *,
    show_progress: bool,
) -> None:
    """Train the scorer's model in place."""
    windows = _whole(scorer, train)
    rows = [
        {**window.encoded, "labels": example.target}
        for window, example in zip(windows, train, strict=True)
    ]

    def collate(batch: list[dict[str, Any]]) -> dict[str, Any]:
        encoded = [{k: v for k, v in row.items() if k != "labels"} for row in batch]
        labels = torch.tensor([row["labels"] for row in batch], dtype=torch.float32)
        return {**scorer.pad(encoded), "labels": labels.to(scorer.model.device)}

    with tempfile.TemporaryDirectory(prefix="triptych-scorer-") as folder:
        trainer = Trainer(
            model=scorer.model,
            args=_arguments(config, Path(folder), scorer.model.device, ranks, show_progress),
            train_dataset=rows,
            data_collator=collate,
            compute_loss_func=_cross_entropy,
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    scorer.model.eval()


def _cross_entropy(outputs: Any, labels: Tensor, num_items_in_batch: Tensor) -> Tensor:
    """The mean over the pairs of a step, those of other processes among them: Trainer counts the
    pairs, and multiplies by the number of processes, over which gradients are averaged.
    """
    logits = outputs["logits"][:, 0].float()
    return binary_cross_entropy_with_logits(logits, labels, reduction="sum") / num_items_in_batch


def _arguments(
    config: ScorerConfig, folder: Path, device: torch.device, ranks: Ranks, show_progress: bool
) -> TrainingArguments:
    if config.batch_size % ranks.count:
        raise ConfigError(
            f"batch_size is {config.batch_size}; use a multiple of the {ranks.count} processes"
        )
    arguments = TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=config.num_epochs,
        max_steps=config.max_steps or -1,
        per_device_train_batch_size=config.batch_size // ranks.count,
        learning_rate=config.peak_learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=WARMUP,
        weight_decay=config.weight_decay,
        bf16=config.bf16,
        seed=config.seed,
        use_cpu=device.type == "cpu",
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=not show_progress,
        report_to="none",
        remove_unused_columns=False,
        dataloader_pin_memory=False,
    )
    arguments._n_gpu = min(1, arguments.n_gpu)  # no DataParallel: one process drives one device
    return arguments
