"""Tiny models that answer yes or no at once, from both media of a clip or from one of them."""

from collections.abc import Sequence
from pathlib import Path

import torch

from triptych.data.media import MediaBudget
from triptych.data.sample import MediaKind, Sample
from triptych.models import OmniModel
from triptych.models.packing import pack
from triptych.models.tiny import TinyConfig, build_tiny

SIZES = TinyConfig(hidden_size=64, num_layers=2, tower_size=32, tower_layers=1)


def train_to_answer(folder: Path, batches: Sequence[Sequence[Sample]]) -> OmniModel:
    """From random weights, one optimizer step for each batch."""
    model = OmniModel.from_pretrained(build_tiny(folder, 0, SIZES), budget=MediaBudget(fps=2.0))
    ids = {word: model.tokenizer(f"<answer>{word}</answer>")["input_ids"] for word in ("yes", "no")}
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.05, len(batches))
    for batch in batches:
        packed = pack(
            [model.encode(sample) for sample in batch],
            [[ids[sample.answer]] for sample in batch],
            model.pad_token_id,
            model.family,
        )
        loss = -model(**packed.model_inputs()).logps_N.mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return model.eval()


def only(sample: Sample, kind: MediaKind) -> Sample:
    """The sample with its media of one kind."""
    return sample.model_copy(update={"media": tuple(m for m in sample.media if m.kind is kind)})
