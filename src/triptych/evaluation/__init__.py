"""Measuring: scores per item, means with intervals, one evaluation run."""

from triptych.evaluation.metrics import ItemScore, score_items
from triptych.evaluation.runner import GREEDY, Progress, evaluate
from triptych.evaluation.summary import (
    EvaluationResult,
    Summary,
    compare,
    summarise,
    summary_to_json,
)
from triptych.evaluation.timing import Timing
from triptych.statistics import Interval, bootstrap_difference, bootstrap_interval

__all__ = [
    "GREEDY",
    "EvaluationResult",
    "Interval",
    "ItemScore",
    "Progress",
    "Summary",
    "Timing",
    "bootstrap_difference",
    "bootstrap_interval",
    "compare",
    "evaluate",
    "score_items",
    "summarise",
    "summary_to_json",
]
