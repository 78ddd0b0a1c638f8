"""Every routine beside SciPy or statsmodels, which agree to many digits on known cases."""

from typing import Any

import numpy as np
import pytest

from triptych.statistics import (
    bootstrap_interval,
    detectable_difference,
    detectable_difference_unpaired,
    holm,
    mcnemar_test,
    sign_flip_test,
)
from triptych.statistics.clusters import Clusters
from triptych.statistics.shares import beta_quantile, near_end
from triptych.statistics.student import t_quantile

stats: Any = pytest.importorskip("scipy.stats")


@pytest.mark.parametrize("df", [1, 2, 3, 4, 5, 29, 30, 999, 100_000])
def test_quantiles_of_students_t(df: int) -> None:
    shares = (1e-5, 0.025, 0.3, 0.8, 0.975, 0.9999)
    ours = [t_quantile(p, df) for p in shares]
    assert ours == pytest.approx(stats.t.ppf(shares, df), rel=1e-9)
    assert t_quantile(0.5, df) == pytest.approx(0.0, abs=1e-12)


def test_quantiles_of_beta() -> None:
    """To within 1e-11, for parameters from a thousandth to a hundred thousand."""
    rng = np.random.default_rng(0)
    small, large = 10.0 ** rng.uniform(-3, 1, size=50), 10.0 ** rng.uniform(-3, 5, size=50)
    for a, b in [*zip(small, large, strict=True), *zip(large, small + 1.0, strict=True)]:
        shares = (1e-5, 0.025, 0.5, 0.975)
        ours = [beta_quantile(p, a, b) for p in shares]
        assert ours == pytest.approx(stats.beta.ppf(shares, a, b), abs=1e-11)


@pytest.mark.parametrize("right", [0, 1, 3, 11, 12])
def test_a_share_of_values_that_are_as_good_as_independent(right: int) -> None:
    """Clopper-Pearson with the number of clusters that n - 1 in the standard error leaves."""
    totals = Clusters.of([1.0] * right + [0.0] * (12 - right), None)
    assert totals is not None
    n = 12 if right in (0, 12) else 11
    mean = right / 12
    exact = [
        stats.beta.ppf(0.025, n * mean, n - n * mean + 1) if right else 0.0,
        stats.beta.ppf(0.975, n * mean + 1, n - n * mean) if right < 12 else 1.0,
    ]
    assert near_end(totals, 0.95) == pytest.approx(exact, abs=1e-11)


def test_a_share_of_values_in_clusters() -> None:
    """Korn and Graubard's effective size, with one more cluster to estimate it from."""
    labels = np.repeat(np.arange(15), [1, 2, 3, 4, 5] * 3)
    values = np.isin(np.arange(45), (10, 11, 40, 41)).astype(float)  # two of each of two clips
    totals = Clusters.of(values.tolist(), labels.tolist())
    assert totals is not None
    assert totals.standard_error is not None
    effect = totals.standard_error**2 / (values.mean() * (1 - values.mean())) * 45
    assert 1 < effect < 3
    effect = (2 * effect + 45 / 15) / 3  # two clips tell it; one more, of the mean size, agrees
    n = 45 / effect
    x = n * values.mean()
    exact = stats.beta.ppf(0.025, x, n - x + 1), stats.beta.ppf(0.975, x + 1, n - x)
    assert near_end(totals, 0.95) == pytest.approx(exact, abs=1e-11)


def test_standard_error_of_clusters_of_unequal_size() -> None:
    statsmodels: Any = pytest.importorskip("statsmodels.api")
    rng = np.random.default_rng(0)
    labels = rng.integers(17, size=90)
    values = rng.random(90) + 0.3 * rng.random(17)[labels]
    fit = statsmodels.OLS(values, np.ones(90)).fit(cov_type="cluster", cov_kwds={"groups": labels})
    totals = Clusters.of(values.tolist(), labels.tolist())
    assert totals is not None
    assert totals.mean == pytest.approx(fit.params[0])
    assert totals.standard_error == pytest.approx(fit.bse[0], rel=1e-12)


def test_standard_error_of_independent_values() -> None:
    values = np.random.default_rng(1).random(40)
    totals = Clusters.of(values.tolist(), None)
    assert totals is not None
    assert totals.standard_error == pytest.approx(stats.sem(values), rel=1e-12)


def test_bootstrap_ends_are_scipys_at_the_expanded_level() -> None:
    values = np.random.default_rng(2).random(12)
    tail = stats.norm.cdf(np.sqrt(12 / 11) * stats.t.ppf(0.025, 11))
    expected = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=20_000,
        confidence_level=1 - 2 * tail,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    interval = bootstrap_interval(values.tolist(), resamples=20_000)
    assert interval is not None
    assert (interval.low, interval.high) == pytest.approx(tuple(expected), abs=0.006)


@pytest.mark.parametrize("seed", range(4))
def test_exact_sign_flips(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sums = np.round(rng.normal(0.4, 1.0, size=9), 1)
    expected = stats.permutation_test(
        (sums,), np.mean, permutation_type="samples", n_resamples=np.inf
    ).pvalue
    # Clusters of two questions with the same sums: only the sums matter.
    halves = np.repeat(sums / 2, 2).tolist()
    test = sign_flip_test(halves, np.repeat(np.arange(9), 2).tolist())
    assert test.exact
    assert test.p == pytest.approx(expected, rel=1e-12)


def test_drawn_sign_flips() -> None:
    values = np.random.default_rng(6).normal(0.25, 1.0, size=60)
    expected = stats.permutation_test(
        (values,), np.mean, permutation_type="samples", n_resamples=20_000, rng=0
    ).pvalue
    test = sign_flip_test(values.tolist(), draws=20_000)
    assert not test.exact
    assert test.p == pytest.approx(expected, abs=0.01)
    assert test.p == pytest.approx(stats.ttest_1samp(values, 0.0).pvalue, abs=0.01)


@pytest.mark.parametrize(("both", "only_first", "only_second"), [(5, 9, 2), (0, 0, 7), (3, 4, 4)])
def test_exact_mcnemar(both: int, only_first: int, only_second: int) -> None:
    tables: Any = pytest.importorskip("statsmodels.stats.contingency_tables")
    expected = tables.mcnemar([[both, only_first], [only_second, 1]], exact=True).pvalue
    first = [1.0] * (both + only_first) + [0.0] * (only_second + 1)
    second = [1.0] * both + [0.0] * only_first + [1.0] * only_second + [0.0]
    found = mcnemar_test(first, second)
    assert (found.only_first, found.only_second) == (only_first, only_second)
    assert found.p == pytest.approx(expected, rel=1e-10)


def test_mcnemar_of_very_many_items() -> None:
    first = [1.0] * 30_600 + [0.0] * 30_000
    found = mcnemar_test(first, [1.0 - one for one in first])
    assert found.p == pytest.approx(stats.binomtest(30_000, 60_600).pvalue, rel=1e-6)


def test_holm() -> None:
    multitest: Any = pytest.importorskip("statsmodels.stats.multitest")
    rng = np.random.default_rng(0)
    for count in (1, 2, 7, 40):
        p_values = np.round(rng.random(count) ** 4, 2).tolist()  # with ties and zeros
        expected = multitest.multipletests(p_values, method="holm")[1]
        assert holm(p_values) == pytest.approx(expected.tolist(), rel=1e-12)
    assert holm([]) == []


def test_detectable_difference_has_its_power() -> None:
    """statsmodels computes it from the noncentral t; the sum of two quantiles is close to that."""
    power: Any = pytest.importorskip("statsmodels.stats.power")
    values = np.random.default_rng(3).normal(size=25)
    effect = power.TTestPower().solve_power(nobs=25, alpha=0.05, power=0.8)
    expected = effect * values.std(ddof=1)
    assert detectable_difference(values.tolist()) == pytest.approx(expected, rel=0.01)


def test_unpaired_detectable_difference_has_its_power() -> None:
    power: Any = pytest.importorskip("statsmodels.stats.power")
    one, other = np.random.default_rng(4).normal(size=(2, 40))
    # Equal variances are what statsmodels knows.
    other = other * one.std(ddof=1) / other.std(ddof=1)
    effect = power.TTestIndPower().solve_power(nobs1=40, alpha=0.05, power=0.8)
    expected = effect * one.std(ddof=1)
    found = detectable_difference_unpaired(one.tolist(), other.tolist())
    assert found == pytest.approx(expected, rel=0.01)


def test_unpaired_degrees_of_freedom_are_welchs() -> None:
    one, other = [0.0, 1.0, 4.0, 2.0], [0.0, 9.0, 30.0, 4.0, 12.0, 1.0]
    test = stats.ttest_ind(one, other, equal_var=False)
    error = abs((np.mean(one) - np.mean(other)) / test.statistic)
    df = int(test.df)
    expected = (stats.t.ppf(0.975, df) + stats.t.ppf(0.8, df)) * error
    assert detectable_difference_unpaired(one, other) == pytest.approx(expected, rel=1e-9)
