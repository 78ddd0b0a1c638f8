"""A split whose sides share no clip and no reference."""

import itertools
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triptych.data.sample import Media, MediaKind, ProblemType, Reference, Sample
from triptych.errors import ConfigError
from triptych.rewards.scorer.corruptions import split


def sample(number: int, clips: tuple[int, ...] = (), context: str | None = None) -> Sample:
    return Sample(
        id=f"s{number}",
        question="Why?",
        problem_type=ProblemType.YES_NO,
        answer="yes",
        media=tuple(Media(kind=MediaKind.VIDEO, path=Path(f"{clip}.mp4")) for clip in clips),
        reference=Reference(context=context),
    )


sets = st.lists(
    st.tuples(
        st.lists(st.integers(0, 9), max_size=2),
        st.sampled_from([None, "", "She smiles.", "she  smiles", "He frowns.", "It rains."]),
    ),
    min_size=1,
    max_size=24,
).map(lambda rows: [sample(i, tuple(clips), context) for i, (clips, context) in enumerate(rows)])


def ties(sample: Sample) -> set[object]:
    words = (sample.reference.context or "").lower().strip(".").split()
    return {item.path for item in sample.media} | ({" ".join(words)} if words else set())


def groups_of(samples: list[Sample]) -> list[set[str]]:
    """What hangs together: labels that are passed on until nothing changes."""
    tied = [ties(sample) for sample in samples]
    labels = list(range(len(samples)))
    changed = True
    while changed:
        before = list(labels)
        for i, j in itertools.combinations(range(len(samples)), 2):
            if tied[i] & tied[j]:
                labels[i] = labels[j] = min(labels[i], labels[j])
        changed = labels != before
    return [
        {sample.id for sample, label in zip(samples, labels, strict=True) if label == wanted}
        for wanted in dict.fromkeys(labels)
    ]


@given(samples=sets, share=st.floats(0.05, 0.95), seed=st.integers(0, 5))
@settings(max_examples=150, deadline=None)
def test_nothing_is_on_both_sides(samples: list[Sample], share: float, seed: int) -> None:
    if len(groups_of(samples)) < 2:
        with pytest.raises(ConfigError, match="so none can be held out"):
            split(samples, share, seed)
        return
    train, held_out = split(samples, share, seed)
    assert train
    assert held_out
    assert sorted([*train, *held_out], key=lambda s: s.id) == sorted(samples, key=lambda s: s.id)
    for ids in groups_of(samples):
        assert ids <= {s.id for s in train} or ids <= {s.id for s in held_out}


def test_what_hangs_together_through_others_stays_together() -> None:
    chain = [sample(0, (1,)), sample(1, (1, 2)), sample(2, (2,), "A."), sample(3, (), "a")]
    others = [sample(i, (i,)) for i in range(4, 12)]
    for seed in range(10):
        sides = split([*chain, *others], 0.4, seed)
        assert any(set(s.id for s in chain) <= {s.id for s in side} for side in sides)


def test_the_share_is_met_and_drawn_by_the_seed() -> None:
    samples = [sample(i, (i // 3,)) for i in range(300)]
    held = [frozenset(s.id for s in split(samples, 0.2, seed)[1]) for seed in range(3)]
    assert [len(ids) for ids in held] == [60, 60, 60]
    assert len(set(held)) == 3


def test_the_order_of_the_samples_makes_no_difference() -> None:
    samples = [sample(i, (i // 2,)) for i in range(40)]
    shuffled = Random(0).sample(samples, len(samples))
    for one, other in zip(split(samples, 0.3, 1), split(shuffled, 0.3, 1), strict=True):
        assert {s.id for s in one} == {s.id for s in other}


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, 2.0, float("nan")])
def test_a_share_out_of_range_is_refused(share: float) -> None:
    with pytest.raises(ConfigError, match="held_out_share"):
        split([sample(0), sample(1)], share, 0)


@pytest.mark.parametrize("samples", [[], [sample(0)], [sample(0, (1,)), sample(1, (1,))]])
def test_what_cannot_be_split_is_refused(samples: list[Sample]) -> None:
    with pytest.raises(ConfigError, match="none can be held out"):
        split(samples, 0.5, 0)
