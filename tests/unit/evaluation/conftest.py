"""An evaluation of eleven questions, and what it leaves when nothing interrupts it."""

from pathlib import Path

import pytest

from tests.unit.evaluation.interrupting import Engine, run
from triptych.data.sample import Sample, read_samples
from triptych.evaluation import EvaluationResult


@pytest.fixture(scope="module")
def questions(clips_folder: Path) -> list[Sample]:
    return read_samples(clips_folder / "rl-biased.jsonl")[:11]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "predictions" / "model.jsonl"


@pytest.fixture(scope="module")
def whole(
    questions: list[Sample], tmp_path_factory: pytest.TempPathFactory
) -> tuple[bytes, EvaluationResult]:
    """The predictions and the result of an evaluation that nothing interrupted."""
    out = tmp_path_factory.mktemp("whole") / "model.jsonl"
    result = run(Engine(), questions, out)
    assert sorted(path.name for path in out.parent.iterdir()) == [
        "model.jsonl", "model.jsonl.settings.json", "model.jsonl.timing.json",
    ]  # fmt: skip
    return out.read_bytes(), result
