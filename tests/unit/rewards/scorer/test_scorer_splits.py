import pytest

from triptych.data.sample import Reference, Sample
from triptych.errors import ConfigError, DataError
from triptych.rewards.scorer.splits import fingerprint, fingerprints, make_splits, with_references


def test_no_reference_and_no_clip_is_on_two_sides(questions: list[Sample]) -> None:
    splits = make_splits(questions, "context", 0.4, 1, seed=0)
    sides = [splits.train, splits.calibration, splits.held_out]
    references = [{pair.reference for pair in side} for side in sides]
    media = [
        {item.path for pair in side for item in splits.samples[pair.sample_id].media}
        for side in sides
    ]
    for sets in (references, media):
        assert all(sets)
        assert sum(map(len, sets)) == len(set().union(*sets))
    assert 20 <= len(references[0]) <= 28
    assert {pair.stage for side in sides for pair in side} == {"context"}


def test_splits_follow_the_seed(questions: list[Sample]) -> None:
    one, same, other = (make_splits(questions, "context", 0.4, 1, seed) for seed in (0, 0, 1))
    assert one == same
    assert one.train != other.train


def test_questions_about_one_clip_give_its_context_once(questions: list[Sample]) -> None:
    again = [
        sample.model_copy(update={"id": f"{sample.id}-again", "question": "And what is heard?"})
        for sample in questions
    ]
    assert len(with_references([*questions, *again], "context")) == len(questions)
    assert len(with_references([*questions, *again], "reasoning")) == 2 * len(questions)


@pytest.mark.parametrize(
    ("stage", "reference", "field"),
    [
        ("context", Reference(reasoning="So it is."), r"reference\.context"),
        ("context", Reference(context=" "), r"reference\.context"),
        ("reasoning", Reference(context="A smile."), r"reference\.reasoning"),
    ],
)
def test_data_without_references_are_refused_with_count_and_field(
    questions: list[Sample], stage: str, reference: Reference, field: str
) -> None:
    bare = [sample.model_copy(update={"reference": reference}) for sample in questions]
    with pytest.raises(DataError, match=f"none of 40 samples has a .*{field}"):
        make_splits(bare, stage, 0.3, 1, 0)  # type: ignore[arg-type]


def test_too_few_references_are_refused(questions: list[Sample]) -> None:
    with pytest.raises(DataError, match="7 of 7 samples"):
        make_splits(questions[:7], "context", 0.3, 1, 0)
    with pytest.raises(ConfigError, match="held_out_share"):
        make_splits(questions[:10], "context", 0.05, 1, 0)


def test_fingerprints_tell_references_without_their_text(questions: list[Sample]) -> None:
    splits = make_splits(questions, "context", 0.4, 1, seed=0)
    known = fingerprints(splits.train)
    assert known == sorted(set(known))
    assert {fingerprint(pair.reference) for pair in splits.train} == set(known)
    assert not {fingerprint(pair.reference) for pair in splits.held_out} & set(known)
