"""From samples to a scorer in its folder, evaluated and described; and its evaluation later on."""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from triptych.data.policy import Ranks
from triptych.data.sample import Sample
from triptych.errors import DataError
from triptych.files import read_json, write_json
from triptych.rewards.scorer.base import Scorer, read_scorer_file
from triptych.rewards.scorer.card import write_card
from triptych.rewards.scorer.config import MINILM, TINY, ScorerConfig
from triptych.rewards.scorer.evaluation import Evaluation, evaluate_scorer
from triptych.rewards.scorer.load import load_scorer
from triptych.rewards.scorer.splits import (
    fingerprint,
    fingerprints,
    make_pairs,
    make_splits,
    with_references,
)
from triptych.settings import plain

SEEN = "seen_references.json"
"""Fingerprints of the references that a scorer was trained or calibrated on."""

_MINILM_ID = "sentence-transformers/all-MiniLM-L6-v2"
_ABOUT = {
    "context": (
        "It reads a reference description of a clip beside the context that a model wrote, and says"
        " from 0 to 1 how good that is: the share of the reference's key elements that it keeps,"
        " less what it contradicts and adds."
    ),
    "reasoning": (
        "It reads a context, the question and its options beside the reasoning and the answer that"
        " a model wrote, and says from 0 to 1 how well they follow from the context."
    ),
}


def build_text_scorer(
    out: Path,
    samples: Sequence[Sample],
    config: ScorerConfig,
    *,
    device: str = "auto",
    show_progress: bool = False,
    ranks: Ranks | None = None,
) -> Evaluation:
    """Train a text scorer and write it with its card. What is evaluated is what was written.

    Args:
        out: an empty folder, or none yet.
        samples: with references.
        config: see `ScorerConfig`.
        device: where it is trained and evaluated.
        show_progress: show a bar while training.
        ranks: the processes that share the training; all of them make this call and get the
            figures, the first one writes.

    Raises:
        ConfigError: there is no such encoder, the samples cannot be split, or the processes cannot
            share a batch.
        DataError: too few samples have a reference, one is too long, or nothing was learned.
    """
    from triptych.rewards.scorer.training import train_text_scorer  # late: it loads Trainer

    splits = make_splits(samples, config.stage, config.held_out_share, config.per_kind, config.seed)
    ranks = ranks or Ranks()
    trained = train_text_scorer(splits, config, device, show_progress=show_progress, ranks=ranks)
    scorer: Scorer = trained
    if ranks.first:
        out.mkdir(parents=True, exist_ok=True)
        trained.save(out)
        seen = fingerprints([*splits.train, *splits.calibration])
        write_json(out / SEEN, {"sha256_begins": seen})
        scorer = load_scorer(out, device)
    evaluation = evaluate_scorer(scorer, splits.held_out, splits.samples, config.seed)
    if not ranks.first:
        return evaluation
    write_card(
        out,
        title=f"A reward model for the {config.stage} stage",
        about=_ABOUT[config.stage],
        base_model=_hub_id(config.encoder),
        stage=config.stage,
        settings=_settings(config),
        trained_on=splits.train,
        evaluation=evaluation,
    )
    return evaluation


def evaluate_on(
    folder: Path, samples: Sequence[Sample], per_kind: int = 1, seed: int = 0, device: str = "auto"
) -> tuple[Evaluation, int]:
    """Evaluate a scorer on the references that it was neither trained nor calibrated on.

    Returns:
        The figures, and how many references were left out since the scorer knows them.

    Raises:
        ConfigError: the folder holds no scorer.
        DataError: no reference is left.
    """
    stage = read_scorer_file(folder)["stage"]
    seen = set(read_json(folder / SEEN)["sha256_begins"]) if (folder / SEEN).exists() else set()
    usable = with_references(samples, stage)
    unseen = [one for one in usable if fingerprint(one.reference.context or "") not in seen]
    if not unseen:
        raise DataError(
            f"the scorer was trained or calibrated on all {len(usable)} references; give others"
        )
    pairs = make_pairs(unseen, stage, per_kind, seed)
    by_id = {sample.id: sample for sample in unseen}
    evaluation = evaluate_scorer(load_scorer(folder, device), pairs, by_id, seed)
    return evaluation, len(usable) - len(unseen)


def _settings(config: ScorerConfig) -> dict[str, Any]:
    """The settings of the training, without those that a command adds (folders, say)."""
    chosen = {field.name: plain(getattr(config, field.name)) for field in fields(ScorerConfig)}
    return {**chosen, "learning_rate": config.peak_learning_rate}


def _hub_id(encoder: str) -> str | None:
    if encoder == MINILM:
        return _MINILM_ID
    return None if encoder == TINY or Path(encoder).exists() else encoder
