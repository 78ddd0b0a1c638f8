"""The hand-written prose references and their paraphrases."""

import itertools
import json
from collections import Counter
from pathlib import Path

import pytest

from triptych.data.sample import Sample, read_samples
from triptych.rewards.conclusion import conclusion
from triptych.rewards.reading import read_answer
from triptych.rewards.scorer.corruptions.measure import Measure
from triptych.rewards.vagueness import vagueness
from triptych.rewards.words import read_text
from triptych.stages.prompt import ProblemType

GOLDEN = Path(__file__).parents[3] / "golden" / "rewards"


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    return read_samples(GOLDEN / "prose.jsonl")


@pytest.fixture(scope="module")
def paraphrases() -> list[dict[str, str]]:
    """Per line a sample's context in quite other words, and the same with one attribute wrong."""
    lines = (GOLDEN / "paraphrases.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def test_they_are_many_whole_and_not_vague(samples: list[Sample]) -> None:
    assert len(samples) >= 40
    for sample in samples:
        assert 40 <= read_text(sample.reference.context or "").num_words <= 130, sample.id
        assert sample.reference.reasoning
        assert vagueness(sample.reference) is None


def test_no_two_are_made_from_one_pattern(samples: list[Sample]) -> None:
    runs = [
        {words[i : i + 5] for i in range(len(words) - 4)}
        for sample in samples
        for words in [read_text(sample.reference.context or "").words]
    ]
    for first, second in itertools.combinations(runs, 2):
        assert len(first & second) <= 1


def test_their_reasoning_concludes_their_answer(samples: list[Sample]) -> None:
    for sample in samples:
        if sample.problem_type is ProblemType.FREE_FORM:
            continue
        found = conclusion(sample.reference.reasoning or "", sample.problem_type, sample.options)
        wanted = read_answer(sample.answer, sample.problem_type, sample.options)
        assert found is not None, sample.id
        assert (found.value, found.coherent) == (wanted, True), sample.id


def test_no_letter_is_the_answer_most_of_the_time(samples: list[Sample]) -> None:
    letters = Counter(s.answer for s in samples if s.problem_type is ProblemType.MULTIPLE_CHOICE)
    assert set(letters) == set("ABCD")
    assert max(letters.values()) <= 0.35 * letters.total()


def test_paraphrases_belong_to_samples_and_go_wrong_in_one_place(
    samples: list[Sample], paraphrases: list[dict[str, str]]
) -> None:
    ids = [entry["sample_id"] for entry in paraphrases]
    assert len(set(ids)) == len(ids) >= 20
    assert {*ids} <= {sample.id for sample in samples}
    for entry in paraphrases:
        right, wrong = entry["faithful"].split(), entry["swapped"].split()
        start = next(i for i, (a, b) in enumerate(zip(right, wrong, strict=False)) if a != b)
        end = next(
            i for i, (a, b) in enumerate(zip(right[::-1], wrong[::-1], strict=False)) if a != b
        )
        assert len(right) - start - end <= 6, entry["sample_id"]


def test_words_alone_hardly_see_a_free_paraphrase(
    samples: list[Sample], paraphrases: list[dict[str, str]]
) -> None:
    """Why they are kept apart: to tell them as faithful takes meaning, and elements are words."""
    references = {sample.id: sample.reference for sample in samples}
    targets = [
        Measure(references[entry["sample_id"]]).read(entry["faithful"]).target
        for entry in paraphrases
    ]
    assert sum(targets) / len(targets) < 0.3
