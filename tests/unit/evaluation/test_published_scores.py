"""The published metric: as published, but for the mistakes that are listed."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from triptych.data.readers import read_dataset
from triptych.data.sample import Media, MediaKind, ProblemType, Sample
from triptych.evaluation import published_scores
from triptych.evaluation.published_scores import PublishedType, published_score, published_type

FIXTURE = json.loads((Path(__file__).parent / "data" / "published_scores.json").read_text("utf-8"))
MISTAKES = {
    "no answer", "spaces", "repeats", "parts of words", "both", "thousands", "gold", "no metric",
}  # fmt: skip
VIDEO = Media(kind=MediaKind.VIDEO, path=Path("a.mp4"))


class Item(NamedTuple):
    problem_type: str
    completion: str
    solution: str
    published: float
    expected: float | None
    mistake: str


ITEMS = [Item(*item) for item in FIXTURE["items"]]


def sample(kind: ProblemType, answer: str, **extra: Any) -> Sample:
    options = ("happy", "sad", "angry") if kind.startswith("multi") else ()
    return Sample(
        id="q", question="?", problem_type=kind, options=options, answer=answer, media=(VIDEO,),
        extra=extra,
    )  # fmt: skip


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    """The reference solutions, read as the records of a data set are."""
    records = []
    for item in ITEMS:
        record: dict[str, Any] = {
            "problem": "?",
            "problem_type": item.problem_type,
            "path": "a.mp4",
        }
        if item.problem_type in ("multiple choice", "emer_ov_mc"):
            letters = zip("ABCDEF", FIXTURE["options"], strict=True)
            record["options"] = [f"{letter}. {option}" for letter, option in letters]
        records.append({**record, "solution": item.solution, "data_type": "video"})
    path = tmp_path_factory.mktemp("published") / "qa.json"
    path.write_text(json.dumps(records), encoding="utf-8")
    dataset = read_dataset(path, form="humanomni")
    assert dataset.problems == ()
    return list(dataset.samples)


def test_a_thousand_completions_score_as_published_but_for_the_mistakes(
    asked: list[Sample],
) -> None:
    assert len(asked) == len(ITEMS) == 1000
    for item, one in zip(ITEMS, asked, strict=True):
        assert published_score(one, item.completion) == pytest.approx(item.expected, abs=1e-6), item
        if not item.mistake:
            assert item.expected == pytest.approx(item.published, abs=1e-6), item
        else:
            assert item.expected != pytest.approx(item.published, abs=1e-6), item


def test_every_mistake_occurs_and_is_listed_where_it_is_explained() -> None:
    assert {item.mistake for item in ITEMS} == MISTAKES | {""}
    for mistake in MISTAKES:
        assert f"\n* **{mistake}**" in (published_scores.__doc__ or "")


def test_all_types_occur_right_and_wrong() -> None:
    for kind in PublishedType:
        found = {item.expected for item in ITEMS if item.problem_type == kind}
        wanted = {None} if kind in (PublishedType.OCR, PublishedType.FREE_FORM) else {0.0, 1.0}
        assert wanted <= found, kind


CHOICE, SELECT = ProblemType.MULTIPLE_CHOICE, ProblemType.MULTI_SELECT
YES_NO, NUMBER = ProblemType.YES_NO, ProblemType.NUMERICAL


@pytest.mark.parametrize(
    ("kind", "gold", "answer", "score"),
    [
        # What is strict there stays so.
        (CHOICE, "B", "B", 1),
        (CHOICE, "B", "b", 0),
        (CHOICE, "B", "B. sad", 0),
        (SELECT, "A,C", "C,A", 1),
        (SELECT, "A,C", "A", pytest.approx(2 / 3)),
        (SELECT, "A,C", "a,c", 0),
        (NUMBER, "3.0", "3", 0),
        (NUMBER, "3.14", "3.141", 1),
        (NUMBER, "3", "three", 0),
        # The mistakes.
        (SELECT, "A,C", "A, C", 1),
        (SELECT, "A", "A,A", 1),
        (SELECT, "A,C", "A,C,", 1),
        (SELECT, "A", ",", 0),
        (YES_NO, "no", "I cannot know", 0),
        (YES_NO, "yes", "He closes his eyes", 0),
        (YES_NO, "yes", "Yes and no", 0),
        (YES_NO, "no", "No, he lies.", 1),
        (NUMBER, "1250", "1,250", 1),
        (NUMBER, "1250", "1,250.0", 0),
    ],
)
def test_examples_of_the_list(kind: ProblemType, gold: str, answer: str, score: object) -> None:
    assert published_score(sample(kind, gold), f"<answer>{answer}</answer>") == score


@pytest.mark.parametrize("text", ["B", "The answer is B.", "<answer>B", "<answer> </answer>B", ""])
def test_without_an_answer_the_score_is_zero_whatever_was_written(text: str) -> None:
    assert published_score(sample(CHOICE, "B"), text) == 0.0


def test_the_first_answer_counts() -> None:
    text = "<think><answer>A</answer></think><answer>B</answer>"
    assert published_score(sample(CHOICE, "A"), text) == 1.0
    assert published_score(sample(CHOICE, "B"), text) == 0.0


@pytest.mark.parametrize(
    ("answer", "score"),
    [("100", 1.0), ("105.1", 0.9), ("80", 0.6), ("40", 0.0), ("-100", 0.0), ("nan", 0.0)],
)
def test_a_regression_counts_the_thresholds_that_it_keeps(answer: str, score: float) -> None:
    asked = sample(ProblemType.REGRESSION, "100")
    text = f"<answer>{answer}</answer>"
    assert published_score(asked, text) == pytest.approx(score)


def test_text_to_be_read_off_or_made_up_has_no_score() -> None:
    for kind in (ProblemType.OCR, ProblemType.FREE_FORM):
        assert published_score(sample(kind, "EXIT"), "<answer>EXIT</answer>") is None


def test_the_type_is_that_of_the_record_where_it_tells_more() -> None:
    written = sample(SELECT, "A,C", problem_type="multiple choice")
    assert published_type(written) is PublishedType.MULTIPLE_CHOICE
    assert published_score(written, "<answer>A,C</answer>") == 1.0
    assert published_score(written, "<answer>A</answer>") == 0.0
    assert published_type(sample(SELECT, "A,C")) is PublishedType.EMOTIONS
    assert published_type(sample(ProblemType.FREE_FORM, "x", problem_type="emer_ov")) is (
        PublishedType.FREE_FORM
    )
