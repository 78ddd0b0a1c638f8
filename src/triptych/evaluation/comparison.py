"""Runs on the same questions, compared: differences, tests, and what these could have shown.

The unit is the clip: intervals resample whole clips, and tests flip whole clips. All tests of one
comparison are one family, so that a table of many rows claims no more than a table of one. Rows in
which nothing differs are no tests: flipping signs can show nothing there, whatever the truth, so
leaving them out of the family makes no false claim likelier (Tarone 1990).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from triptych.evaluation.pairing import Paired, Pairing
from triptych.statistics import (
    Interval,
    McNemar,
    SignFlips,
    bootstrap_difference,
    detectable_difference,
    holm,
    mcnemar_test,
    sign_flip_test,
)

ALPHA = 0.05
"""Probability of any false claim in a comparison."""
POWER = 0.8
"""Probability that a detectable difference is found."""

_DRAWS = 9_999
_LESS_IS_BETTER = ("truncated", "refused")
# Neither more nor less of these is better by itself; single elements of the context neither.
_NEITHER = ("tokens", "forced", "context_irrelevant")


class Verdict(StrEnum):
    """What may be said of a run beside its baseline."""

    BETTER = "better"
    WORSE = "worse"
    HIGHER = "higher"
    """Of a metric of which more is neither better nor worse by itself."""
    LOWER = "lower"
    """As HIGHER."""
    NOT_TOLD_APART = "cannot be told apart"
    SAME = "the same on every question"
    TOO_FEW = "too few clips to tell"
    """Even if every clip spoke for the same run, it would not do for so many tests; or only a
    difference as large as all that scores can differ by would do."""


@dataclass(frozen=True)
class Row:
    """One metric of two runs on the same questions.

    Attributes:
        paired: the two scores of each question.
        difference: mean of the run less mean of the baseline, with its 95% interval, which other
            rows do not widen.
        test: of a difference of zero, by itself.
        p_holm: its p-value, adjusted for all rows of the comparison in which something differs.
        detectable: the true difference that a comparison of so many rows finds with probability
            `POWER`; None where the clips do not tell.
        mcnemar: for scores of 0 and 1 only. It ignores that questions share clips.
    """

    paired: Paired
    difference: Interval
    test: SignFlips
    p_holm: float
    detectable: float | None
    mcnemar: McNemar | None
    verdict: Verdict

    def to_json(self) -> dict[str, Any]:
        """The row as plain values."""
        two = self.paired
        return {
            "baseline": two.baseline,
            "run": two.run,
            "group": two.group,
            "metric": two.metric,
            "n": len(two.first),
            "clusters": two.num_clusters,
            "unscored": two.unscored,
            "baseline_mean": two.first_mean,
            "mean": two.second_mean,
            "difference": self.difference.to_dict(),
            "higher": sum(one > 0 for one in two.differences),
            "lower": sum(one < 0 for one in two.differences),
            "p": self.test.p,
            "p_exact": self.test.exact,
            "sign_patterns": self.test.patterns,
            "p_holm": self.p_holm,
            "verdict": str(self.verdict),
            "detectable": self.detectable,
            "mcnemar_ignoring_clusters": vars(self.mcnemar) if self.mcnemar else None,
        }


def compare_runs(pairing: Pairing, seed: int = 0) -> list[Row]:
    """Compare what was paired, row by row.

    Args:
        pairing: of `pair_runs`. All that it holds is one family of tests.
        seed: of the intervals, and of sign patterns where they are drawn.
    """
    num_tests = count_tests(pairing)
    # The smallest p-value that so many sign patterns can give is half of what the tests demand.
    draws = max(_DRAWS, round(2 * num_tests / ALPHA) - 1)
    tests = [sign_flip_test(two.differences, two.clusters, draws, seed) for two in pairing.paired]
    adjusted = iter(holm([t.p for two, t in zip(pairing.paired, tests, strict=True) if two.differ]))
    return [
        _row(two, test, next(adjusted) if two.differ else 1.0, num_tests, seed)
        for two, test in zip(pairing.paired, tests, strict=True)
    ]


def count_tests(pairing: Pairing) -> int:
    """The size of the family: rows in which something differs, 1 where nothing does."""
    return max(1, sum(two.differ for two in pairing.paired))


def _row(two: Paired, test: SignFlips, p_holm: float, num_tests: int, seed: int) -> Row:
    difference = bootstrap_difference(two.second, two.first, two.clusters, seed=seed)
    assert difference is not None  # what is paired holds a question at least
    # At the level that a difference must reach if it is the only one: no promise too much.
    detectable = detectable_difference(
        two.differences, two.clusters, power=POWER, alpha=ALPHA / num_tests
    )
    binary = {*two.first, *two.second} <= {0.0, 1.0}
    return Row(
        paired=two,
        difference=difference,
        test=test,
        p_holm=p_holm,
        detectable=detectable,
        mcnemar=mcnemar_test(two.first, two.second) if binary else None,
        verdict=_verdict(two, difference.mean, p_holm, num_tests, detectable),
    )


def _verdict(
    two: Paired, difference: float, p_holm: float, num_tests: int, detectable: float | None
) -> Verdict:
    if p_holm <= ALPHA:
        return _direction(two.metric, difference)
    if not two.differ:
        return Verdict.SAME
    if num_tests * 2.0 ** (1 - two.num_clusters) > ALPHA:
        return Verdict.TOO_FEW
    if detectable is not None and detectable >= _range([*two.first, *two.second]):
        return Verdict.TOO_FEW
    return Verdict.NOT_TOLD_APART


def _range(scores: Sequence[float]) -> float:
    """The most that two scores can differ by: 1, or what is seen where they are no shares."""
    return max(1.0, max(scores) - min(scores))


def _direction(metric: str, difference: float) -> Verdict:
    if metric in _NEITHER or metric.startswith("context."):
        return Verdict.HIGHER if difference > 0 else Verdict.LOWER
    better = difference < 0 if metric in _LESS_IS_BETTER else difference > 0
    return Verdict.BETTER if better else Verdict.WORSE
