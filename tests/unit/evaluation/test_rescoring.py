"""Plain answers, and scoring that is cut short; all else is seen by `triptych score`."""

import json
import os
from pathlib import Path
from typing import NoReturn

import pytest

from triptych.data.sample import Element, ProblemType, Reference, Sample
from triptych.errors import DataError
from triptych.evaluation import rescoring
from triptych.evaluation.precomputed import Precomputed, Written
from triptych.evaluation.published_scores import published_score
from triptych.evaluation.rescoring import Rescorer, plain_answer, turns_of
from triptych.evaluation.summary import EvaluationResult

FEELINGS = ("happy", "angry", "sad", "calm")


def question(kind: str = "multiple_choice", name: str = "q") -> Sample:
    return Sample(
        id=name,
        question="What does she feel?",
        problem_type=ProblemType(kind),
        options=FEELINGS if kind in ("multiple_choice", "multi_select") else (),
        answer={"multi_select": "A,C", "yes_no": "no", "numerical": "5"}.get(kind, "B"),
        media=(),
        reference=Reference(elements=(Element(name="mouth", phrases=("shouts",)),)),
    )


def run(rescorer: Rescorer, texts: list[str], out: Path) -> EvaluationResult:
    samples = [question(name=f"q{number}") for number in range(len(texts))]
    written = {one.id: [Written(text)] for one, text in zip(samples, texts, strict=True)}
    found = Precomputed(written, {}, ())
    return rescorer.run(turns_of(samples, found), samples, found, out, lambda _: None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("B", "B"),
        ("(B) angry", "(B) angry"),  # as it is, where it can be read
        ("Based on the video, the correct answer is (B) angry.", "B"),
        ("The answer is B because she shouts.", "B"),
        ("Answer: B\nExplanation: she shouts, and (D) would need a soft voice.", "B"),
        ("B is correct.", "B"),
        ("The answer is option B.", "B"),
        ("It is B", "B"),
        ("**B**\n\nShe shouts.", "B"),
        ("B, because she shouts.", "B"),
        ("The answer is B (angry), since she shouts.", "B"),
        ("She shouts. Therefore, the best option is B.", "B"),
        ("The correct option is (B). Options A, C and D do not match.", "B"),
        ("(A) needs a smile and (C) tears.", "(A) needs a smile and (C) tears."),
        ("A or B", "A or B"),
    ],
)
def test_a_plain_answer_is_what_it_finally_states(text: str, expected: str) -> None:
    assert plain_answer(text, question()) == expected


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("multi_select", "The correct options are A and C, as she smiles.", "A,C"),
        ("yes_no", "No, there is a yes in her voice, but no smile.", "No"),
        ("yes_no", "It may seem yes at first. So the answer is no.", "no"),
        ("numerical", "There are 2 men and 3 women, so the answer is 5.", "5.00"),
        ("numerical", "There are 2 men and 3 women.", "There are 2 men and 3 women."),
        ("free_form", "So the answer is a dog.", "So the answer is a dog."),
    ],
)
def test_plain_answers_by_problem_type(kind: str, text: str, expected: str) -> None:
    assert plain_answer(text, question(kind)) == expected


def test_plain_answers_are_scored_as_answers_alone(tmp_path: Path) -> None:
    said = "The answer is B because she shouts."
    rescorer = Rescorer(plain=True, groups={}, published=published_score)
    metrics = run(rescorer, ["B", said], tmp_path / "model.jsonl").summary["all"]
    assert metrics["answer"].mean == metrics["answer.alone"].mean == 1.0
    assert metrics["answer.published"].mean == 0.5  # that metric wants the letter alone
    assert not [name for name in metrics if name.startswith("context")]
    lines = [json.loads(line) for line in (tmp_path / "model.jsonl").read_text().splitlines()]
    assert [line["text"] for line in lines] == ["B", said]
    assert [line["bodies"]["answer"] for line in lines] == ["B", "B"]


def test_an_answer_stage_is_read_strictly(tmp_path: Path) -> None:
    text = "<answer>The answer is B because she shouts.</answer>"
    for plain in (True, False):
        rescorer = Rescorer(plain=plain, groups={}, published=None)
        metrics = run(rescorer, [text], tmp_path / f"{plain}.jsonl").summary["all"]
        assert metrics["answer"].mean == 0.0


class Killed(Rescorer):
    def _score(self, *_: object) -> NoReturn:
        os._exit(9)


def test_a_killed_worker_is_one_error_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rescoring, "_CHUNK", 1)
    rescorer = Killed(plain=False, groups={}, published=None, workers=2)
    with pytest.raises(DataError, match=r"memory does not suffice; try fewer, --workers 1"):
        run(rescorer, ["B", "B"], tmp_path / "predictions" / "model.jsonl")
    assert not list(tmp_path.iterdir())
