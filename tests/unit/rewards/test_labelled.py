"""Labelled completions become pairs; what is wrong with a line is named with its place."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from triptych.errors import DataError
from triptych.rewards.labelled import read_pairs

NAMES = ("context", "answer")


def write(folder: Path, *records: Any) -> Path:
    path = folder / "labelled.jsonl"
    lines = [one if isinstance(one, str) else json.dumps(one) for one in records]
    path.write_text("\n".join(lines), encoding="utf-8")  # the last line has no newline
    return path


def line(sample: str, label: Any, context: Any = 0.5, answer: Any = 1.0, **more: Any) -> Any:
    rewards = {"context": context, "answer": answer}
    return {"sample_id": sample, "rewards": rewards, "label": label, **more}


def test_pairs_are_of_one_sample_and_the_better_comes_first(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        line("a", 1, 0.1, None),
        line("b", 0.0, 0.2),
        "",
        line("a", 3, 0.3),
        line("b", 0.0, 0.4),
        line("a", 2, 0.5),
        line("c", True, 0.6),
        line("c", False, 0.7),
    )
    pairs = read_pairs(path, NAMES)
    contexts = pairs.rewards_P2K[..., 0].tolist()
    assert contexts == [[0.3, 0.1], [0.5, 0.1], [0.3, 0.5], [0.6, 0.7]]
    assert len(pairs) == 4
    assert pairs.clusters == ("a", "a", "a", "c")
    assert (pairs.num_samples, pairs.num_unlabelled) == (2, 0)
    assert pairs.rewards_P2K[:, 1, 1].isnan().tolist() == [True, True, False, False]
    assert pairs.rewards_P2K.dtype == torch.float64


def test_a_column_is_found_by_its_name(tmp_path: Path) -> None:
    first, second = line("a", 1, context=0.1, answer=0.9), line("a", 0, context=0.2, answer=0.8)
    second["rewards"] = dict(reversed(second["rewards"].items()))
    pairs = read_pairs(write(tmp_path, first, second), ("answer", "context"))
    assert pairs.rewards_P2K.tolist() == [[[0.9, 0.1], [0.8, 0.2]]]


def test_samples_of_one_clip_are_one_cluster(tmp_path: Path) -> None:
    media = ["clips/1.mp4", "clips/1.wav"]
    path = write(
        tmp_path,
        *(line(sample, label, media=media) for sample in "ab" for label in (0, 1)),
        *(line("c", label, media=[]) for label in (0, 1)),
    )
    assert read_pairs(path, NAMES).clusters == ("clips/1.mp4", "clips/1.mp4", "c")


def test_lines_without_a_label_are_counted_and_group_may_name_the_sample(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        {"group": 7, "rewards": {"context": 0.1, "answer": 1}, "label": 1},
        {"group": 7, "rewards": {"context": 0.2, "answer": 0}, "label": 0.5},
        {"group": 7, "rewards": {"context": 0.2, "answer": 0}, "label": None},
        {"group": 8},
    )
    pairs = read_pairs(path, NAMES)
    assert (len(pairs), pairs.num_unlabelled) == (1, 2)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ("{", r":2: not JSON \("),
        ("[]", ":2: a JSON list, not an object"),
        (line("a", "good"), ":2: label: 'good' is no number; higher is better"),
        ('{"sample_id": "a", "rewards": {}, "label": NaN}', ":2: not JSON"),
        ({"sample_id": "a", "label": 1}, ":2: rewards: must be an object of rewards by name"),
        (
            {"sample_id": "a", "label": 1, "rewards": {"context": 0}},
            ":2: rewards: no 'answer'; add it .* or give weights to context alone",
        ),
        (
            {"sample_id": "a", "label": 1, "rewards": {"context": 0, "answer": 0, "x": 1}},
            ":2: rewards: 'x' has no weight",
        ),
        (line("a", 1, answer=1.5), r":2: rewards\.answer: 1\.5 is neither a number within"),
        (line("a", 1, answer="1"), r":2: rewards\.answer: '1' is neither"),
        (line("a", 1, answer=True), r":2: rewards\.answer: True is neither"),
        ({"label": 1, "rewards": {"context": 0, "answer": 0}}, ":2: sample_id: missing"),
        (line("a", 0), "no sample has two completions with different labels; label several"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, record: Any, message: str) -> None:
    path = write(tmp_path, line("a", 0), record)
    with pytest.raises(DataError, match=message):
        read_pairs(path, NAMES)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.jsonl: No such file"):
        read_pairs(tmp_path / "none.jsonl", NAMES)
    (tmp_path / "latin.jsonl").write_bytes(b'{"label": "\xe9"}')
    with pytest.raises(DataError, match=r"latin\.jsonl: not UTF-8"):
        read_pairs(tmp_path / "latin.jsonl", NAMES)
