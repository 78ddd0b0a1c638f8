"""Training an omni scorer: a thinker learns to tell a faithful context from a corrupted one.

A row holds a few of the texts made from one clip's reference, so that nothing but the clip tells
which of them is right. The loss of a row is

    mean over texts  of  cross-entropy(sigmoid(logit), target)
  + mean over pairs with target_i > target_j  of  softplus(logit_j - logit_i)

where a pair weighs target_i - target_j. The first makes a score mean what it says, the second is
what GRPO uses of it: the order of completions of one prompt. To the mean over rows comes

  + mean over tokens of faithful texts  of  -log p(token)

since the head weighs these log-probs: a thinker that does not know how people put things would take
an unusual wording for a wrong one. (Such a loss is also known to keep reward models general; Yang
et al. 2024, arXiv 2406.10216.)

Shapes: T texts of a row, R texts of all rows.
"""

import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, softplus
from transformers import PrinterCallback, Trainer, TrainingArguments

from triptych.data.policy import Ranks
from triptych.data.sample import Sample
from triptych.errors import ConfigError
from triptych.models.omni import OmniModel
from triptych.models.packing import PackedBatch
from triptych.rewards.base import Unscored
from triptych.rewards.guards import clean
from triptych.rewards.scorer.calibration import Calibration
from triptych.rewards.scorer.corruptions import Pair
from triptych.rewards.scorer.evaluation import as_candidate
from triptych.rewards.scorer.omni import OmniScorer, Reading
from triptych.rewards.scorer.omni_config import OmniScorerConfig
from triptych.rewards.scorer.omni_rows import Row

WARMUP = 0.05
"""Share of the steps over which the learning rates rise."""
LOG_EVERY = 10
"""Steps."""


def train_omni_scorer(
    model: OmniModel,
    pairs: Sequence[Pair],
    samples: Mapping[str, Sample],
    config: OmniScorerConfig,
    *,
    name: str = "",
    with_media: bool = True,
    show_progress: bool = False,
    ranks: Ranks | None = None,
) -> OmniScorer:
    """Fine-tune `model` in place into a scorer that is not calibrated yet.

    Equal arguments and model give the same scorer on the same machine.

    Args:
        model: What to begin from: cold-started, or as it was published.
        pairs: Texts for the context stage.
        samples: What was seen and heard and asked, by the sample ids of the pairs.
        config: See `OmniScorerConfig`.
        name: What the model is called in scorer.json.
        with_media: Show the media. Without them the scorer learns what the texts give away by
            themselves, which is the baseline of one that looks and listens.
        show_progress: Show a bar.
        ranks: The processes that share the rows of a step; all get the scorer. The last step is
            filled up with the first rows, since each process needs some.

    Raises:
        ConfigError: no pair can be learned from, one is of another stage, or the processes cannot
            share a batch.
        MediaError: the media of a sample cannot be decoded.
        ModelError: the model has no such media encoder to freeze.
    """
    scorer = OmniScorer(model, name=name, with_media=with_media)
    model.thinker.requires_grad_(not config.head_only)
    model.freeze(config.freeze)
    if config.gradient_checkpointing:
        model.checkpoint_activations()
    with tempfile.TemporaryDirectory(prefix="triptych-scorer-") as folder:
        trainer = _OmniTrainer(
            scorer,
            training_rows(pairs, samples, config, with_media=with_media),
            config,
            Path(folder),
            show_progress,
            ranks or Ranks(),
        )
        trainer.train()
    return scorer.eval()


def calibrate(scorer: OmniScorer, pairs: Sequence[Pair], samples: Mapping[str, Sample]) -> None:
    """Fit the scorer's calibration on pairs that it was not trained on.

    Raises:
        DataError: the scorer has learned nothing.
    """
    logits = scorer.read([as_candidate(pair, samples[pair.sample_id]) for pair in pairs])
    known = [
        (logit, pair.target)
        for logit, pair in zip(logits, pairs, strict=True)
        if not isinstance(logit, Unscored) and math.isfinite(logit)
    ]
    logits_N, targets_N = np.array(known).reshape(-1, 2).T
    scorer.calibration = Calibration.fit(logits_N, targets_N)


class Texts(NamedTuple):
    """Texts of one row, and what they should score."""

    sample: Sample
    texts: tuple[str, ...]
    targets: tuple[float, ...]


def training_rows(
    pairs: Sequence[Pair],
    samples: Mapping[str, Sample],
    config: OmniScorerConfig,
    *,
    with_media: bool = True,
) -> list[Texts]:
    """The rows of the whole run in their order: pass after pass, each with rows drawn afresh.

    The texts of a clip are spread evenly over about as many rows as `texts_per_row` asks for.

    Raises:
        ConfigError: no pair can be learned from, or one is of another stage.
    """
    if other := {pair.stage for pair in pairs} - {OmniScorer.stage}:
        raise ConfigError(
            f"an omni scorer holds contexts against the media; for {', '.join(other)} train a "
            "text scorer (`triptych reward train --stage reasoning`)"
        )
    by_sample: dict[str, list[tuple[str, float]]] = {}
    for pair in pairs:
        if text := clean(pair.text, pair.question, pair.options).strip():
            by_sample.setdefault(pair.sample_id, []).append((text, pair.target))
    if not by_sample:
        raise ConfigError(f"none of {len(pairs)} pairs has a text to learn from")
    rng = Random(config.seed)
    passes = [
        _one_pass(by_sample, samples, config, with_media, rng)
        for _ in range(math.ceil(config.num_epochs))
    ]
    whole = [row for one in passes for row in one]
    return whole[: math.ceil(config.num_epochs * len(passes[0]))]


def _one_pass(
    by_sample: Mapping[str, Sequence[tuple[str, float]]],
    samples: Mapping[str, Sample],
    config: OmniScorerConfig,
    with_media: bool,
    rng: Random,
) -> list[Texts]:
    rows = []
    for sample_id, texts in by_sample.items():
        sample = samples[sample_id]
        if not with_media:
            sample = sample.model_copy(update={"media": ()})
        drawn = rng.sample(texts, len(texts))
        count = max(1, round(len(drawn) / config.texts_per_row))
        for part in (drawn[number::count] for number in range(count)):
            rows.append(Texts(sample, *zip(*part, strict=True)))
    rng.shuffle(rows)
    return rows


class _OmniTrainer(Trainer):
    """Trains on rows in the order in which they are given."""

    def __init__(
        self,
        scorer: OmniScorer,
        rows: list[Texts],
        config: OmniScorerConfig,
        folder: Path,
        show_progress: bool,
        ranks: Ranks,
    ) -> None:
        self._scorer, self._config = scorer, config
        super().__init__(
            model=scorer,
            args=_arguments(config, folder, scorer.model.device, show_progress, ranks),
            train_dataset=rows,
            data_collator=self._collate,
            optimizers=(_optimizer(scorer, config), None),
        )
        if not show_progress:
            self.remove_callback(PrinterCallback)

    def _collate(self, rows: list[Texts]) -> dict[str, Any]:
        prompts = self._scorer.model.encoder.encode_all(row.sample for row in rows)
        laid_out = [
            Row(prompt, tuple(map(self._scorer.token_ids, row.texts)), ())
            for prompt, row in zip(prompts, rows, strict=True)
        ]
        return {"packed": self._scorer.pack(laid_out), "targets": [row.targets for row in rows]}

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        packed: PackedBatch = inputs["packed"].to(self.args.device)
        reading: Reading = model(packed)
        targets = [torch.tensor(row, device=self.args.device) for row in inputs["targets"]]
        logits = reading.logits_R.float().split(packed.group_sizes_B)
        losses = [row_loss(*row) for row in zip(logits, targets, strict=True)]
        faithful_R = torch.cat(targets) == 1.0
        return torch.stack(losses).mean() + writing_loss(reading.logps_N, packed, faithful_R)


def row_loss(logits_T: Tensor, targets_T: Tensor) -> Tensor:
    """The loss of the texts of one row; see the head of the module."""
    gaps_TT = targets_T[:, None] - targets_T
    weights_TT = gaps_TT.clamp(min=0)
    order_TT = softplus(logits_T - logits_T[:, None])
    of_order = (weights_TT * order_TT).sum() / weights_TT.sum().clamp(min=1e-6)
    return binary_cross_entropy_with_logits(logits_T, targets_T) + of_order


def writing_loss(logps_N: Tensor, packed: PackedBatch, faithful_R: Tensor) -> Tensor:
    """Mean negative log-prob of the tokens of faithful texts; 0 where there are none."""
    chosen_N = faithful_R.repeat_interleave(packed.lengths_R)
    return -(logps_N * chosen_N).sum() / chosen_N.sum().clamp(min=1)


def _optimizer(scorer: OmniScorer, config: OmniScorerConfig) -> torch.optim.Optimizer:
    """AdamW, with a learning rate of its own for the head."""
    thinker = [p for p in scorer.model.parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": list(scorer.head.parameters()), "lr": config.head_learning_rate},
        {"params": [p for p in thinker if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in thinker if p.ndim <= 1]},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=config.learning_rate,
        betas=(0.9, 0.98),
        weight_decay=0.0,
    )


def _arguments(
    config: OmniScorerConfig,
    folder: Path,
    device: torch.device,
    show_progress: bool,
    ranks: Ranks,
) -> TrainingArguments:
    rows_of_all = config.micro_batch_size * ranks.count
    if config.batch_size % rows_of_all:
        raise ConfigError(
            f"batch_size is {config.batch_size}; use a multiple of {rows_of_all}, "
            f"micro_batch_size for each of {ranks.count} processes"
        )
    arguments = TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=1,
        train_sampling_strategy="sequential",  # the rows come in the order of the run
        per_device_train_batch_size=config.micro_batch_size,
        gradient_accumulation_steps=config.batch_size // rows_of_all,
        lr_scheduler_type="cosine",
        warmup_steps=WARMUP,
        bf16=config.bf16,
        seed=config.seed,
        use_cpu=device.type == "cpu",
        save_strategy="no",
        logging_steps=LOG_EVERY,
        disable_tqdm=not show_progress,
        report_to="none",
        remove_unused_columns=False,
        dataloader_pin_memory=False,
    )
    arguments._n_gpu = min(1, arguments.n_gpu)  # no DataParallel: it would cut packed rows apart
    return arguments
