"""From samples to a scorer in its folder: splits, evaluation, card. The training is a token one."""

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from triptych.data.media import MediaBudget
from triptych.data.sample import Reference, Sample, read_samples
from triptych.errors import ConfigError, DataError
from triptych.models import OmniModel
from triptych.rewards import Unscored
from triptych.rewards.scorer import Candidate, Stage, load_scorer
from triptych.rewards.scorer.build import evaluate_on
from triptych.rewards.scorer.corruptions import Corruption, Pair, context_pairs
from triptych.rewards.scorer.measures import with_interval
from triptych.rewards.scorer.omni import OmniScorer
from triptych.rewards.scorer.omni_build import (
    COMPARISON,
    build_omni_scorer,
    clips_with_references,
    make_clip_splits,
)
from triptych.rewards.scorer.omni_config import OmniScorerConfig
from triptych.rewards.scorer.omni_evaluation import MediaShown, evaluate_omni_scorer

CONFIG = OmniScorerConfig(
    learning_rate=1e-3,
    head_learning_rate=1e-2,
    batch_size=2,
    micro_batch_size=2,
    num_epochs=0.2,
    held_out_share=0.4,
)


@pytest.fixture(autouse=True)
def _rough_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand resamples of each figure would take longer than all the rest."""
    rough = partial(with_interval, resamples=20)
    for name in ("evaluation", "omni_evaluation"):
        monkeypatch.setattr(f"triptych.rewards.scorer.{name}.with_interval", rough)


@pytest.fixture(scope="module")
def all_samples(clips_folder: Path) -> list[Sample]:
    """Sixteen clips, each with several questions."""
    names = ("cold-start", "rl-biased")
    return [one for name in names for one in read_samples(clips_folder / f"{name}.jsonl")]


@pytest.fixture(scope="module")
def clips(all_samples: list[Sample]) -> list[Sample]:
    return clips_with_references(all_samples, seed=0)


# --- which clips ------------------------------------------------------------------------------


def test_one_sample_a_clip(all_samples: list[Sample], clips: list[Sample]) -> None:
    assert len(clips) == len({sample.media for sample in all_samples}) == 16
    assert len({sample.extra["kind"] for sample in clips}) > 1, "always the same question"
    assert clips_with_references(all_samples, seed=0) == clips
    assert clips_with_references(all_samples, seed=1) != clips


def test_what_cannot_be_learned_from_is_left_out(clips: list[Sample]) -> None:
    blind = clips[0].model_copy(update={"media": ()})
    silent = clips[1].model_copy(update={"reference": Reference(context=" ")})
    assert clips_with_references([blind, silent, *clips[2:4]], seed=0) == clips[2:4]
    with pytest.raises(DataError, match=r"2 clips of 4 samples .* needs 8"):
        make_clip_splits([blind, silent, *clips[2:4]], CONFIG)


@pytest.mark.parametrize(("share", "number"), [(0.1, 1), (0.3, 2)])
def test_too_few_held_out_clips_are_refused_before_training(
    clips: list[Sample], share: float, number: int
) -> None:
    """Each text is scored beside another clip: that takes two to evaluate on."""
    config = replace(CONFIG, held_out_share=share)
    with pytest.raises(ConfigError, match=f"held_out_share: {share} of 8 clips is {number}; hold"):
        make_clip_splits(clips[:8], config)


def test_clips_of_one_description_stay_on_one_side(clips: list[Sample]) -> None:
    twin = clips[1].model_copy(update={"reference": clips[0].reference, "id": "twin"})
    splits = make_clip_splits([clips[0], twin, *clips[2:]], CONFIG)
    parts = (splits.train, splits.calibration, splits.held_out)
    ids = [{pair.sample_id for pair in part} for part in parts]
    assert [clips[0].id in part for part in ids] == ["twin" in part for part in ids]
    media = [{splits.samples[name].media for name in part} for part in ids]
    assert not media[0] & media[1] | media[0] & media[2] | media[1] & media[2]
    assert all(pair.stage == "context" for part in parts for pair in part)


# --- the figures ------------------------------------------------------------------------------


class Oracle:
    """Scores by what it is shown and told: right texts beside their own clip are better."""

    stage: Stage = "context"
    needs_reference = False

    def __init__(self, samples: Sequence[Sample], pairs: Sequence[Pair], blind_to: str) -> None:
        self.context = {sample.media: sample.reference.context for sample in samples}
        self.faults = {(pair.reference, pair.text): pair.elements for pair in pairs}
        self.blind_to = blind_to

    def score(self, candidates: Sequence[Candidate]) -> list[float | Unscored]:
        return [
            0.5
            if self.context[one.media] != one.reference
            else float(set(self.faults[one.reference, one.text]) <= {self.blind_to})
            for one in candidates
        ]


def test_swaps_are_told_apart_by_element_and_only_beside_their_clip(clips: list[Sample]) -> None:
    pairs = [
        pair
        for pair in context_pairs(clips, seed=0)
        if pair.kind in (Corruption.FAITHFUL, Corruption.SWAPPED)
    ]
    by_id = {sample.id: sample for sample in clips}
    oracle = Oracle(clips, pairs, blind_to="brows")
    own = evaluate_omni_scorer(oracle, pairs, by_id)
    values = {name: figure.mean for name, figure in own.swapped.items()}
    assert values == {
        "brows": 0.5,
        "expression_end": 1.0,
        "expression_start": 1.0,
        "loudness_end": 1.0,
        "loudness_start": 1.0,
        "pitch": 1.0,
    }
    other = evaluate_omni_scorer(oracle, pairs, by_id, MediaShown.OTHER)
    assert {figure.mean for figure in other.swapped.values()} == {0.5}


def test_one_clip_has_no_other(clips: list[Sample]) -> None:
    pairs = list(context_pairs(clips[:1], seed=0))
    oracle = Oracle(clips, pairs, blind_to="")
    with pytest.raises(ConfigError, match="one clip"):
        evaluate_omni_scorer(oracle, pairs, {clips[0].id: clips[0]}, MediaShown.OTHER)


# --- the whole --------------------------------------------------------------------------------


@pytest.mark.slow
def test_built_evaluated_and_described(
    all_samples: list[Sample], tiny_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "scorer"
    figures = build_omni_scorer(
        out,
        all_samples,
        CONFIG,
        lambda: OmniModel.from_pretrained(tiny_folder, budget=MediaBudget(fps=4.0)),
        name="some/base",
    )
    scorer = load_scorer(out, "cpu")
    assert isinstance(scorer, OmniScorer)
    splits = make_clip_splits(all_samples, CONFIG)
    again = evaluate_omni_scorer(scorer, splits.held_out, splits.samples, seed=CONFIG.seed)
    assert again == figures.scorer, "what was written is not what was evaluated"
    assert figures.text_only is not None
    assert figures.text_only != figures.scorer != figures.other_media
    written = json.loads((out / COMPARISON).read_text())
    assert written["scorer"]["swapped"]["pitch"]["mean"] == figures.scorer.swapped["pitch"].mean
    card = (out / "README.md").read_text()
    assert "base_model: some/base" in card
    assert "| swapped element | texts | its own clip | other clip | text only |" in card
    assert "| text_only_baseline | True |" in card
    with pytest.raises(DataError, match="references"):
        evaluate_on(out, [splits.samples[splits.train[0].sample_id]], device="cpu")
