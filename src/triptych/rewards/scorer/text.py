"""A reward model that reads: an encoder with one output over a reference and a text.

The folder of a scorer is one of transformers, with three files more: scorer.json, the model card,
and the figures of its evaluation.

Shapes: N windows; a batch is (rows, tokens).
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from triptych.errors import DataError
from triptych.rewards.answer import known_type
from triptych.rewards.base import Unscored
from triptych.rewards.conclusion import conclusion
from triptych.rewards.guards import clean
from triptych.rewards.reading import read_answer
from triptych.rewards.scorer.base import Candidate, Stage, read_scorer_file, write_scorer_file
from triptych.rewards.scorer.calibration import Calibration
from triptych.rewards.scorer.encoders import (
    Encoder,
    compute_in_bfloat16,
    has_bfloat16,
    load_encoder,
    pick_device,
    quiet,
)
from triptych.rewards.scorer.inputs import PairTokenizer, Window, two_texts

_log = logging.getLogger(__name__)

Precision: TypeAlias = Literal["auto", "float32", "bfloat16"]
"""The number format that a scorer computes in; auto takes bfloat16 where the machine has
instructions for it."""

KIND = "text"
TOKENS_PER_BATCH = 16_384
"""Padding included; a single window may be longer."""
TOKENS_PER_BATCH_ON_CPU = 1_024
"""A core is busy with so many; more of them only bring lengths together that differ more."""


class TextScorer:
    """An encoder that scores texts of one stage.

    Args:
        encoder: one output, and how long its inputs may be.
        stage: the stage of the texts.
        calibration: from logits to scores.
        name: what the encoder was before it was trained.
    """

    needs_reference = True

    def __init__(
        self, encoder: Encoder, stage: Stage, calibration: Calibration, name: str = ""
    ) -> None:
        self.encoder, self.stage, self.calibration, self.name = encoder, stage, calibration, name
        self.model: PreTrainedModel = encoder.model.eval()
        self.windows = PairTokenizer(encoder.tokenizer, encoder.max_length).windows

    @classmethod
    def load(cls, folder: Path, device: str = "auto", precision: Precision = "auto") -> Self:
        """The scorer in a folder.

        Raises:
            ConfigError: the folder holds none.
            DataError: scorer.json is broken.
        """
        settings = read_scorer_file(folder)
        calibration = Calibration.from_dict(settings.get("calibration"))
        if not isinstance(max_length := settings.get("max_length"), int):
            raise DataError(f"{folder}: scorer.json: max_length: {max_length!r} is no whole number")
        encoder = replace(load_encoder(folder, with_head=True), max_length=max_length)
        place = pick_device(device)
        encoder.model.to(place)
        if precision == "bfloat16" or (precision == "auto" and has_bfloat16(place)):
            compute_in_bfloat16(encoder.model)
        return cls(encoder, settings["stage"], calibration, str(settings.get("encoder", "")))

    def calibrated(self, calibration: Calibration) -> "TextScorer":
        """The same model with another calibration."""
        return TextScorer(self.encoder, self.stage, calibration, self.name)

    def save(self, folder: Path) -> None:
        """Write the scorer; scorer.json last."""
        with quiet():
            self.model.save_pretrained(folder)
        self.encoder.tokenizer.save_pretrained(folder)
        write_scorer_file(
            folder,
            kind=KIND,
            stage=self.stage,
            calibration=self.calibration.to_dict(),
            encoder=self.name,
            max_length=self.encoder.max_length,
        )

    def score(self, candidates: Sequence[Candidate]) -> list[float | Unscored]:
        """See `Scorer.score`. Equal candidates are read once and score the same.

        Zero without reading: a blank text; reasoning from a blank context; reasoning that states
        another conclusion than the answer that is given. Unscored: a context without a reference,
        and what is too long even for windows (see `inputs`).
        """
        cleaned = [without_tricks(candidate, self.stage) for candidate in candidates]
        known = [known_outcome(candidate, self.stage) for candidate in cleaned]
        texts = [two_texts(candidate, self.stage) for candidate in cleaned]
        pairs = zip(texts, known, strict=True)
        unread = list(dict.fromkeys(both for both, outcome in pairs if outcome is None))
        read = dict(zip(unread, self._read(unread), strict=True))
        return [
            read[both] if outcome is None else outcome
            for both, outcome in zip(texts, known, strict=True)
        ]

    def _read(self, texts: Sequence[tuple[str, str]]) -> list[float | Unscored]:
        windows = self.windows(texts)
        logits_N = self.logits([window for parts in windows for window in parts])
        scores = iter(self.calibration.scores(logits_N).tolist())
        outcomes: list[float | Unscored] = []
        for (first, _), parts in zip(texts, windows, strict=True):
            if parts:
                mean = sum(window.weight * next(scores) for window in parts)
                outcomes.append(min(1.0, mean))  # weights may add up to a hair above 1
            else:
                _log.warning(
                    "no score: reference and question leave no room for a text within the "
                    "encoder's %d tokens: %.80s...",
                    self.encoder.max_length,
                    first,
                )
                outcomes.append(Unscored.FAILED)
        return outcomes

    @torch.inference_mode()
    def logits(self, windows: Sequence[Window]) -> NDArray[np.float64]:
        """(N,) what the model says of each window, in their order."""
        logits_N = np.zeros(len(windows))
        for rows in batches([len(window) for window in windows], self.tokens_per_batch):
            inputs = self.pad([windows[row].encoded for row in rows])
            logits_N[rows] = self.model(**inputs).logits[:, 0].double().cpu().numpy()
        return logits_N

    @property
    def tokens_per_batch(self) -> int:
        """The most tokens of a batch on this device, padding included."""
        on_cpu = self.model.device.type == "cpu"
        return TOKENS_PER_BATCH_ON_CPU if on_cpu else TOKENS_PER_BATCH

    def pad(self, encoded: list[dict[str, list[int]]]) -> dict[str, Any]:
        """A batch for the model, on its device."""
        padded = self.encoder.tokenizer.pad(encoded, return_tensors="pt")
        return {name: values.to(self.model.device) for name, values in padded.items()}


def batches(lengths: Sequence[int], most_tokens: int) -> Iterator[list[int]]:
    """Rows of like lengths together, the longest first: too little memory then shows at once.

    Args:
        lengths: tokens of each row.
        most_tokens: of a batch, padded to its longest row; a longer row is a batch by itself.
    """
    batch: list[int] = []
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        if batch and lengths[batch[0]] * (len(batch) + 1) > most_tokens:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def without_tricks(candidate: Candidate, stage: Stage) -> Candidate:
    """The candidate with its text as it is scored: see `guards.clean`.

    Reasoning may say again what was asked, and must say what it concludes.
    """
    if stage == "reasoning":
        return replace(candidate, text=clean(candidate.text))
    return replace(candidate, text=clean(candidate.text, candidate.question, candidate.options))


def known_outcome(candidate: Candidate, stage: Stage) -> float | Unscored | None:
    """The outcome that needs no model; None where the model has to read."""
    if not candidate.reference.strip():
        return Unscored.NO_REFERENCE if stage == "context" else 0.0
    if not candidate.text.strip():
        return 0.0
    if stage == "reasoning" and _contradicts_its_answer(candidate):
        return 0.0
    return None


def _contradicts_its_answer(candidate: Candidate) -> bool:
    """Whether the reasoning states a conclusion that is not the answer, or contradicts itself.

    Unknown where the type of the problem is.
    """
    if not candidate.problem_type:
        return False
    kind = known_type(candidate.problem_type)
    stated = conclusion(candidate.text, kind, candidate.options)
    if stated is None:
        return False
    answer = read_answer(candidate.answer, kind, candidate.options)
    return stated.spoils(answer)
