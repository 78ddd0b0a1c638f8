"""Samples without their clips, and a scorer that has read nothing."""

from random import Random

import pytest
import torch

from triptych.data.clips.cues import all_cues
from triptych.data.clips.questions import intention_questions
from triptych.data.sample import Sample
from triptych.rewards.scorer.calibration import Calibration
from triptych.rewards.scorer.corruptions import Stage
from triptych.rewards.scorer.encoders import load_encoder
from triptych.rewards.scorer.text import TextScorer


@pytest.fixture(scope="session")
def questions() -> list[Sample]:
    """Questions about 40 clips, no two of which have the same reference."""
    rng = Random(0)
    chosen = rng.sample(list(all_cues()), 40)
    return [
        sample
        for number, cues in enumerate(chosen)
        for sample in intention_questions(f"clip-{number}", cues, 1, rng)
    ]


def untrained(questions: list[Sample], stage: Stage) -> TextScorer:
    """The tiny encoder with random weights: it tells any two texts apart."""
    references = [sample.reference for sample in questions]
    torch.manual_seed(0)
    texts = [f"{reference.context} {reference.reasoning}" for reference in references]
    return TextScorer(load_encoder("tiny", texts), stage, Calibration(2.0, 0.5), "tiny")


@pytest.fixture(scope="session")
def context_scorer(questions: list[Sample]) -> TextScorer:
    return untrained(questions, "context")


@pytest.fixture(scope="session")
def reasoning_scorer(questions: list[Sample]) -> TextScorer:
    return untrained(questions, "reasoning")
