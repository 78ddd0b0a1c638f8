"""Uncertainty: intervals, tests of two runs on the same questions, and what they could detect.

Several questions are asked about one clip, and their outcomes rise and fall together. Treating
them as independent makes an interval too narrow and a test too eager, so whole clips are
resampled and whole clips change sides. Whatever Triptych says of uncertainty is computed here.
"""

from triptych.statistics.detectable import (
    detectable_difference,
    detectable_difference_unpaired,
)
from triptych.statistics.intervals import (
    Interval,
    Measure,
    bootstrap_difference,
    bootstrap_interval,
    bootstrap_intervals,
    bootstrap_measure,
)
from triptych.statistics.multiple import holm
from triptych.statistics.paired import (
    McNemar,
    SignFlips,
    mcnemar_test,
    sign_flip_test,
)

__all__ = [
    "Interval",
    "McNemar",
    "Measure",
    "SignFlips",
    "bootstrap_difference",
    "bootstrap_interval",
    "bootstrap_intervals",
    "bootstrap_measure",
    "detectable_difference",
    "detectable_difference_unpaired",
    "holm",
    "mcnemar_test",
    "sign_flip_test",
]
