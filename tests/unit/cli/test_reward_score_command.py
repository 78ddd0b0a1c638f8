"""`triptych reward score`: which lines of completions it reads."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from triptych.cli.reward import ScoreConfig, score
from triptych.data.sample import Sample, read_samples
from triptych.errors import DataError
from triptych.rewards import scorer as scorers
from triptych.rewards.scorer import Candidate, Stage


class Half:
    """A scorer that is always undecided."""

    stage: Stage = "context"
    needs_reference = False

    def score(self, candidates: Sequence[Candidate]) -> list[float]:
        return [0.5] * len(candidates)


@pytest.fixture
def config(tmp_path: Path, clips_folder: Path, monkeypatch: pytest.MonkeyPatch) -> ScoreConfig:
    monkeypatch.setattr(scorers, "load_scorer", lambda *_: Half())
    return ScoreConfig(
        scorer=tmp_path,
        data=clips_folder / "test-balanced.jsonl",
        completions=tmp_path / "completions.jsonl",
        out=tmp_path / "scores.jsonl",
    )


@pytest.fixture
def sample(config: ScoreConfig) -> Sample:
    return read_samples(config.data)[0]


def scores_of(config: ScoreConfig, record: dict[str, Any]) -> dict[str, Any]:
    config.completions.write_text(json.dumps(record) + "\n", encoding="utf-8")
    score(config)
    (line,) = map(json.loads, config.out.read_text(encoding="utf-8").splitlines())
    return dict(line)


@pytest.mark.parametrize("field", ["sample_id", "id", "custom_id"])
def test_an_id_has_the_names_that_it_has_for_the_score_command(
    config: ScoreConfig, sample: Sample, field: str
) -> None:
    text = "<context>smiles</context><think>so</think><answer>A</answer>"
    found = scores_of(config, {field: sample.id, "text": text})
    assert found == {"sample_id": sample.id, "scores": [0.5], "unscored": [None]}


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"text": "x"}, r"completions\.jsonl:1: sample_id: missing; give each line the id"),
        ({"id": "gone", "text": "x"}, r"completions\.jsonl:1: id: 'gone' is not in the data"),
    ],
)
def test_a_line_that_fits_no_sample_is_named(
    config: ScoreConfig, record: dict[str, Any], said: str
) -> None:
    with pytest.raises(DataError, match=said):
        scores_of(config, record)
    assert not config.out.exists()
