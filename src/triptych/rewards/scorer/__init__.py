"""Trained reward models: they learn from references what a good text of a stage keeps of them."""

from triptych.rewards.scorer.base import Candidate, Scorer, Stage
from triptych.rewards.scorer.load import load_scorer
from triptych.rewards.scorer.reward import scorer_reward

__all__ = ["Candidate", "Scorer", "Stage", "load_scorer", "scorer_reward"]
