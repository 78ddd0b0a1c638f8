"""Training the scorer that looks and listens: its rows, its losses, what is trained and how."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from triptych.data.media import MediaBudget
from triptych.data.sample import Sample
from triptych.errors import ConfigError, DataError, ModelError
from triptych.models import OmniModel
from triptych.models.packing import PackedBatch
from triptych.rewards.scorer.corruptions import Corruption, Pair, context_pairs, reasoning_pairs
from triptych.rewards.scorer.omni import OmniScorer
from triptych.rewards.scorer.omni_config import OmniScorerConfig
from triptych.rewards.scorer.omni_training import (
    calibrate,
    row_loss,
    train_omni_scorer,
    training_rows,
    writing_loss,
)

SHORT = OmniScorerConfig(
    learning_rate=1e-3,
    head_learning_rate=1e-2,
    batch_size=4,
    micro_batch_size=2,
    texts_per_row=4,
    num_epochs=0.25,
)


@pytest.fixture(scope="module")
def clips(samples: list[Sample]) -> list[Sample]:
    """Three clips, by one question each."""
    by_clip = {str(sample.extra["clip"]): sample for sample in samples}
    return list(by_clip.values())[:3]


@pytest.fixture(scope="module")
def by_id(clips: list[Sample]) -> dict[str, Sample]:
    return {sample.id: sample for sample in clips}


@pytest.fixture(scope="module")
def pairs(clips: list[Sample]) -> list[Pair]:
    return list(context_pairs(clips, seed=0))


@pytest.fixture
def load(tiny_folder: Path) -> Callable[[], OmniModel]:
    return lambda: OmniModel.from_pretrained(tiny_folder, budget=MediaBudget(fps=4.0))


def weights(scorer: OmniScorer) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in scorer.named_parameters()}


def changed(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> set[str]:
    """Which parts of a scorer differ: head, or a module of the thinker."""
    parts = {
        "vision": "model.thinker.model.visual.",
        "audio": "model.thinker.model.audio_tower.",
        "text": "model.thinker.model.language_model.",
        "head": "head.",
    }
    different = [name for name in before if not before[name].equal(after[name])]
    return {part for name in different for part, path in parts.items() if name.startswith(path)}


# --- losses -----------------------------------------------------------------------------------


def test_the_loss_of_a_row_by_hand() -> None:
    """Two texts of logit 0 with targets 1 and 0.5: each term is ln 2, whatever the weights."""
    loss = row_loss(torch.zeros(2), torch.tensor([1.0, 0.5]))
    assert loss.item() == pytest.approx(2 * torch.log(torch.tensor(2.0)).item())


def test_the_order_of_a_row_weighs_gaps() -> None:
    logits, targets = torch.tensor([2.0, 0.0, -1.0]), torch.tensor([0.0, 1.0, 0.5])
    of_targets = torch.nn.functional.binary_cross_entropy_with_logits(logits, targets)

    def rises(better: float, worse: float) -> float:
        return float(torch.log1p(torch.exp(torch.tensor(worse - better))))

    pairs = [(1.0, rises(0.0, 2.0)), (0.5, rises(0.0, -1.0)), (0.5, rises(-1.0, 2.0))]
    of_order = sum(gap * loss for gap, loss in pairs) / 2.0
    assert row_loss(logits, targets).item() == pytest.approx(of_targets.item() + of_order)


def test_equal_targets_have_no_order() -> None:
    logits = torch.tensor([3.0, -1.0], requires_grad=True)
    loss = row_loss(logits, torch.tensor([1.0, 1.0]))
    alone = torch.nn.functional.binary_cross_entropy_with_logits(logits, torch.ones(2))
    assert loss.item() == pytest.approx(alone.item())
    loss.backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_only_faithful_texts_are_learned_by_heart(tiny: OmniModel, clips: list[Sample]) -> None:
    scorer = OmniScorer(tiny)
    packed = packed_texts(scorer, clips[0], ["raised brows", "a smile", "a loud voice"])
    with torch.no_grad():
        logps_N = scorer(packed).logps_N
    of_each = logps_N.split(packed.lengths_R.tolist())
    loss = writing_loss(logps_N, packed, torch.tensor([True, False, True]))
    assert loss.item() == pytest.approx(-torch.cat([of_each[0], of_each[2]]).mean().item())
    assert writing_loss(logps_N, packed, torch.tensor([False] * 3)).item() == 0.0


def packed_texts(scorer: OmniScorer, sample: Sample, texts: list[str]) -> PackedBatch:
    from triptych.rewards.scorer.omni_rows import Row

    ids = tuple(scorer.token_ids(text) for text in texts)
    return scorer.pack([Row(scorer.model.encode(sample), ids, ())])


# --- rows -------------------------------------------------------------------------------------


def test_a_pass_shows_every_text_once_with_its_own_target(
    pairs: list[Pair], by_id: dict[str, Sample]
) -> None:
    rows = training_rows(pairs, by_id, replace(SHORT, num_epochs=1))
    shown = Counter(
        (row.sample.id, text, target)
        for row in rows
        for text, target in zip(row.texts, row.targets, strict=True)
    )
    expected = Counter(
        (pair.sample_id, pair.text, pair.target)
        for pair in pairs
        if pair.kind is not Corruption.EMPTY
    )
    assert shown == expected
    assert {len(row.texts) for row in rows} <= {3, 4, 5}
    assert len({row.sample.id for row in rows[:4]}) > 1, "the clips are not mixed"


def test_passes_are_drawn_afresh_and_may_end_early(
    pairs: list[Pair], by_id: dict[str, Sample]
) -> None:
    one = training_rows(pairs, by_id, replace(SHORT, num_epochs=1))
    more = training_rows(pairs, by_id, replace(SHORT, num_epochs=1.5))
    assert more[: len(one)] == one
    assert len(more) == len(one) + len(one) // 2
    assert all(row not in one for row in more[len(one) :])


def test_the_seed_draws_the_rows(pairs: list[Pair], by_id: dict[str, Sample]) -> None:
    assert training_rows(pairs, by_id, SHORT) == training_rows(pairs, by_id, SHORT)
    assert training_rows(pairs, by_id, SHORT) != training_rows(pairs, by_id, replace(SHORT, seed=1))


def test_without_media_the_rows_have_none(pairs: list[Pair], by_id: dict[str, Sample]) -> None:
    rows = training_rows(pairs, by_id, SHORT, with_media=False)
    assert all(row.sample.media == () for row in rows)
    assert all(row.sample.media for row in training_rows(pairs, by_id, SHORT))


def test_nothing_to_learn_from(pairs: list[Pair], by_id: dict[str, Sample]) -> None:
    empty = [pair for pair in pairs if pair.kind is Corruption.EMPTY]
    with pytest.raises(ConfigError, match="none of 3 pairs"):
        training_rows(empty, by_id, SHORT)


def test_reasoning_is_not_its_stage(clips: list[Sample], by_id: dict[str, Sample]) -> None:
    reasoning = list(reasoning_pairs(clips, seed=0))
    with pytest.raises(ConfigError, match=r"reasoning.* text scorer"):
        training_rows(reasoning, by_id, SHORT)


# --- training ---------------------------------------------------------------------------------


def test_everything_is_trained(
    tiny: OmniModel, pairs: list[Pair], by_id: dict[str, Sample]
) -> None:
    before = weights(OmniScorer(tiny))
    after = weights(train_omni_scorer(tiny, pairs, by_id, SHORT))
    assert changed(before, after) == {"vision", "audio", "text", "head"}
    moved = {name: float((after[name] - before[name]).abs().max()) for name in before}
    assert moved["head.word.bias"] > 5e-3, "the head has a learning rate of its own"
    assert max(far for name, far in moved.items() if not name.startswith("head.")) < 5e-3


def test_what_is_frozen_stays(tiny: OmniModel, pairs: list[Pair], by_id: dict[str, Sample]) -> None:
    before = weights(OmniScorer(tiny))
    after = weights(train_omni_scorer(tiny, pairs, by_id, replace(SHORT, freeze=("vision",))))
    assert changed(before, after) == {"audio", "text", "head"}


def test_the_head_alone(tiny: OmniModel, pairs: list[Pair], by_id: dict[str, Sample]) -> None:
    before = weights(OmniScorer(tiny))
    after = weights(train_omni_scorer(tiny, pairs, by_id, replace(SHORT, head_only=True)))
    assert changed(before, after) == {"head"}


def test_the_seed_decides(
    load: Callable[[], OmniModel], pairs: list[Pair], by_id: dict[str, Sample]
) -> None:
    def trained(seed: int) -> dict[str, Tensor]:
        torch.rand(seed + 1)  # whatever was drawn before must not matter
        return weights(train_omni_scorer(load(), pairs, by_id, replace(SHORT, seed=seed)))

    first, again, other = trained(3), trained(3), trained(4)
    assert not changed(first, again)
    assert changed(first, other)


def test_micro_batches_change_nothing(
    load: Callable[[], OmniModel], pairs: list[Pair], by_id: dict[str, Sample]
) -> None:
    """Each row counts the same, however the rows of a step are split: up to the numbers' noise."""
    settings = replace(SHORT, head_only=True)
    whole = weights(train_omni_scorer(load(), pairs, by_id, replace(settings, micro_batch_size=4)))
    parts = weights(train_omni_scorer(load(), pairs, by_id, replace(settings, micro_batch_size=1)))
    for name in whole:
        if name.startswith("head."):
            torch.testing.assert_close(whole[name], parts[name], rtol=1e-3, atol=1e-4)


def test_activations_computed_again_are_the_same(
    load: Callable[[], OmniModel], pairs: list[Pair], by_id: dict[str, Sample]
) -> None:
    plain, again = load(), load()
    settings = replace(SHORT, num_epochs=0.1)
    kept = weights(train_omni_scorer(plain, pairs, by_id, settings))
    thrifty = replace(settings, gradient_checkpointing=True)
    recomputed = weights(train_omni_scorer(again, pairs, by_id, thrifty))
    for name in kept:
        torch.testing.assert_close(kept[name], recomputed[name])
    assert any(getattr(part, "gradient_checkpointing", False) for part in again.thinker.modules())
    assert not any(
        getattr(part, "gradient_checkpointing", False) for part in plain.thinker.modules()
    )


def test_an_unknown_tower_is_refused(
    tiny: OmniModel, pairs: list[Pair], by_id: dict[str, Sample]
) -> None:
    with pytest.raises(ModelError, match="no module 'smell'"):
        train_omni_scorer(tiny, pairs, by_id, replace(SHORT, freeze=("smell",)))


def test_calibration_is_fitted_on_logits_and_targets(
    tiny: OmniModel, pairs: list[Pair], by_id: dict[str, Sample]
) -> None:
    """A head that knows one thing: long texts are bad. Vague ones are shorter than they are."""
    scorer = OmniScorer(tiny).eval()
    short = [pair for pair in pairs if pair.kind in (Corruption.FAITHFUL, Corruption.SWAPPED)]
    right = [replace(pair, target=float(len(pair.text) < 100)) for pair in short]
    calibrate(scorer, right, by_id)
    assert scorer.calibration.slope > 0
    wrong = [replace(pair, target=1 - pair.target) for pair in right]
    with pytest.raises(DataError, match="no higher scores"):
        calibrate(scorer, wrong, by_id)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("learning_rate", 0.0),
        ("num_epochs", -1.0),
        ("texts_per_row", 1),
        ("weight_decay", -0.1),
        ("held_out_share", 1.0),
        ("micro_batch_size", 3),
    ],
)
def test_settings_that_cannot_work(setting: str, value: float) -> None:
    with pytest.raises(ConfigError, match=setting):
        OmniScorerConfig(**{setting: value})  # type: ignore[arg-type]
