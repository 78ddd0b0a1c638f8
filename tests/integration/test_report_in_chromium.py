"""The report of a real evaluation, in a real browser."""

import json
from pathlib import Path

import pytest
from chromium import CHROMIUM, render

from triptych.data.sample import read_samples
from triptych.evaluation import evaluate, summary_to_json
from triptych.generation.engine import SamplingConfig
from triptych.generation.local import LocalEngine
from triptych.models import OmniModel
from triptych.report import build_report

SAMPLING = SamplingConfig(max_new_tokens=8, temperature=0.0)


@pytest.fixture
def report(tiny: OmniModel, clips_folder: Path, tmp_path: Path) -> Path:
    """Two evaluations of an untrained model, which writes nonsense, and their report."""
    questions = read_samples(clips_folder / "test-balanced.jsonl")[:12]
    summaries = {}
    for arm in ("cold_start", "stage_credit"):
        out = tmp_path / "predictions" / f"{arm}.jsonl"
        result = evaluate(LocalEngine(tiny), questions, SAMPLING, out=out)
        summaries[arm] = summary_to_json(result.summary)
    (tmp_path / "results.json").write_text(json.dumps({"evaluation": summaries}))
    return build_report(tmp_path)


def test_an_untrained_model_is_wrong_and_truncated(report: Path) -> None:
    figures = json.loads((report.parent / "results.json").read_text())["evaluation"]["cold_start"]
    assert figures["balanced"]["answer"]["mean"] == 0.0
    assert figures["balanced"]["format"]["mean"] == 0.0
    assert figures["balanced"]["truncated"]["mean"] > 0.5
    assert figures["balanced"]["context_relevant"]["mean"] == 0.0


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium on the PATH")
def test_the_report_in_chromium(report: Path, tmp_path: Path) -> None:
    dom = render(report, tmp_path / "profile")
    assert dom.count('<table class="results">') >= 3
    assert dom.count('<article class="card rollout ') == 20
    assert dom.count('src="data:image/jpeg;base64,') >= 20 * 8
