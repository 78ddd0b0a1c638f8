"""The page of an audit: what it says, and that no figure of it is denied."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.report.conftest import completion, interval, rollout, write_lines
from tests.unit.report.pages import Page
from triptych.data.sample import Sample
from triptych.report import build_report


def figures(accuracy: float, kept: float | None) -> dict[str, Any]:
    share = None if kept is None else {"mean": kept, "low": kept - 0.1, "high": kept + 0.1, "n": 9}
    return {
        "n": 9,
        "accuracy": {"mean": accuracy, "low": 0.1, "high": 0.9, "n": 9},
        "difference": {"mean": accuracy - 0.8, "low": -0.5, "high": -0.125, "n": 9},
        "chance": 0.25,
        "kept": share,
        "left_out": 4,
        "unanswered": {},
    }


@pytest.fixture
def audit() -> dict[str, Any]:
    return {
        "metric": "answer.alone",
        "items": 9,
        "clips": 7,
        "conditions": {
            "full": figures(0.8, 1.0),
            "deaf": {**figures(0.5, 0.45), "unanswered": {"timeout": 2}},
            "swapped_audio": figures(0.2, -0.125),
            "text_only": {"n": 0, "left_out": 13, "unanswered": {}},
        },
        "shortcut_index": {
            "media": {"audio": figures(0.2, -0.125)["kept"], "video": None},
            "shortcut": None,
            "least_needed": None,
        },
        "hallucinated_perception": {
            "deaf": {"described": interval([1, 0]), "unchanged": None, "without_context": 3}
        },
        "option_position": {"unread": 5},
        "verdicts": ["It listens: <b>80%</b> is gone."],
    }


@pytest.fixture
def audit_folder(tmp_path: Path, questions: list[Sample], audit: dict[str, Any]) -> Path:
    folder = tmp_path / "audit"
    folder.mkdir()
    (folder / "results.json").write_text(json.dumps({"audit": audit}))
    for trial, score in (("deaf", 0.0), ("full", 1.0), ("permuted-1", 1.0)):
        lines = [
            {
                **rollout(sample, completion(sample), None),
                "rewards": {},
                "scores": {"answer.alone": score},
            }
            for sample in questions[:4]
        ]
        write_lines(folder / "predictions" / f"{trial}.jsonl", lines)
    return folder


def page(folder: Path) -> Page:
    return Page(build_report(folder).read_text(encoding="utf-8"))


def test_the_figures_of_an_audit_and_what_they_allow_to_be_said(audit_folder: Path) -> None:
    words = page(audit_folder).words
    for expected in (
        "9 questions about 7 clips; accuracy is the mean of answer.alone",
        "It listens: <b>80%</b> is gone.",
        "deaf: 2 questions were not answered (timeout)",
        # questions, left out, accuracy, chance, difference, kept
        "full 9 4 0.800 0.100 to 0.900 0.250 deaf",
        "deaf 9 4 0.500 0.100 to 0.900 0.250 −0.300 −0.500 to −0.125 0.450 0.350 to 0.550",
        "text only 0 13 not measured",
        "audio −0.125 −0.225 to −0.025 video at chance largest at chance",
        "deaf 0.500 0.000 to 1.000 not measured 3",
        "audit / option position / unread5",
    ):
        assert expected in words, expected
    assert "No evaluation was found" not in words
    assert "No baselines" not in words


def test_answers_are_right_or_wrong_by_their_own_score(audit_folder: Path) -> None:
    shown = page(audit_folder)
    cards = [attrs["class"] or "" for attrs in shown.having("rollout")]
    assert sum("is-right" in card for card in cards) == 8
    assert sum("is-wrong" in card for card in cards) == 4
    assert "unscored" not in shown.text


def test_conditions_stand_side_by_side_but_for_permuted_options(audit_folder: Path) -> None:
    html = build_report(audit_folder).read_text(encoding="utf-8")
    compared = Page(html[html.index('<section id="compared">') : html.index('<section id="run">')])
    assert "permuted" not in compared.text
    assert compared.words.index("full right") < compared.words.index("deaf wrong")


def test_an_audit_beside_an_evaluation(audit_folder: Path, audit: dict[str, Any]) -> None:
    evaluation = {"model": {"balanced": {"answer": interval([0.0, 1.0])}}}
    results = {"audit": audit, "evaluation": evaluation}
    (audit_folder / "results.json").write_text(json.dumps(results))
    words = page(audit_folder).words
    assert "Every arm" not in words  # the title of the table is not shown
    assert "Shortcut index" in words
    assert "No baselines were recorded" in words


@pytest.mark.parametrize(
    "broken",
    [
        {"conditions": [], "verdicts": "none"},
        {"conditions": {"full": 3}, "shortcut_index": {"media": {"audio": {"mean": "x"}}}},
        {"shortcut_index": None, "hallucinated_perception": {"deaf": None}},
    ],
)
def test_a_damaged_audit_is_shown_as_far_as_it_goes(
    audit_folder: Path, broken: dict[str, Any]
) -> None:
    (audit_folder / "results.json").write_text(json.dumps({"audit": broken}))
    assert "The figures allow nothing to be said" in page(audit_folder).words
