"""Tests find differences that are there, and at their level those that are not."""

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triptych.statistics import (
    detectable_difference,
    detectable_difference_unpaired,
    holm,
    mcnemar_test,
    sign_flip_test,
)

CLIPS, QUESTIONS = 30, 4
LABELS = np.repeat(np.arange(CLIPS), QUESTIONS).tolist()


def differences(rng: np.random.Generator, gain: float = 0.0) -> list[float]:
    """Of two runs on clips whose questions rise and fall together."""
    of_clips = np.repeat(rng.normal(size=CLIPS), QUESTIONS)
    return list(gain + of_clips + 0.5 * rng.normal(size=CLIPS * QUESTIONS))


def found(p_value: Callable[[list[float]], float], gain: float, trials: int) -> float:
    """Share of simulated comparisons with p <= 0.05."""
    rng = np.random.default_rng(11)
    return sum(p_value(differences(rng, gain)) <= 0.05 for _ in range(trials)) / trials


def by_clips(values: list[float]) -> float:
    return sign_flip_test(values, LABELS, draws=199).p


def by_questions(values: list[float]) -> float:
    return sign_flip_test(values, draws=199).p


def test_sign_flips_find_nothing_in_19_of_20_where_nothing_is() -> None:
    assert 0.02 <= found(by_clips, gain=0.0, trials=600) <= 0.08


def test_sign_flips_that_ignore_clips_find_what_is_not_there() -> None:
    assert found(by_questions, gain=0.0, trials=200) > 0.2


def test_sign_flips_find_what_is_there() -> None:
    assert found(by_clips, gain=0.7, trials=200) > 0.85


@pytest.mark.slow
@pytest.mark.parametrize(("gain", "least", "most"), [(0.0, 0.04, 0.06), (0.7, 0.9, 1.0)])
def test_size_and_power_of_sign_flips_in_many_trials(
    gain: float, least: float, most: float
) -> None:
    assert least <= found(lambda v: sign_flip_test(v, LABELS, draws=999).p, gain, 4000) <= most


def test_the_detectable_difference_is_found_in_four_of_five() -> None:
    rng = np.random.default_rng(3)
    each = [detectable_difference(differences(rng), LABELS) for _ in range(200)]
    detectable = sum(one for one in each if one) / len(each)
    assert 0.74 <= found(by_clips, detectable, trials=500) <= 0.86


def test_the_unpaired_detectable_difference_is_larger() -> None:
    """What two runs share - easy questions and hard ones - only pairing takes out."""
    rng = np.random.default_rng(4)
    hardness = rng.normal(size=60)
    first, second = (hardness + 0.3 * rng.normal(size=60) for _ in range(2))
    paired = detectable_difference((first - second).tolist())
    unpaired = detectable_difference_unpaired(first.tolist(), second.tolist())
    assert paired is not None
    assert unpaired is not None
    assert unpaired > 2 * paired


def test_four_times_as_many_clips_show_half_the_difference() -> None:
    values = np.random.default_rng(5).normal(size=100).tolist()
    few, many = detectable_difference(values), detectable_difference(values * 4)
    assert few is not None
    assert many == pytest.approx(few / 2, rel=0.03)
    copied = detectable_difference(values * 4, list(range(100)) * 4)
    assert copied == pytest.approx(few, rel=1e-9)


@pytest.mark.parametrize(("power", "alpha"), [(0.9, 0.05), (0.8, 0.01)])
def test_more_certainty_needs_a_larger_difference(power: float, alpha: float) -> None:
    values = np.random.default_rng(5).normal(size=20).tolist()
    usual = detectable_difference(values)
    stricter = detectable_difference(values, power=power, alpha=alpha)
    assert usual is not None
    assert stricter is not None
    assert stricter > 1.1 * usual


@pytest.mark.parametrize(
    ("values", "labels"),
    [([], None), ([0.5], None), ([0.0, 1.0], ["c", "c"]), ([0.0] * 9, None), ([0.1] * 9, None)],
)
def test_no_variance_promises_nothing(values: list[float], labels: list[str] | None) -> None:
    assert detectable_difference(values, labels) is None
    assert detectable_difference_unpaired(values, [0.0, 1.0, 0.5], labels) is None
    assert detectable_difference_unpaired([0.0, 1.0, 0.5], values, None, labels) is None


# --- exact values ------------------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 6)), min_size=1, max_size=16))
def test_exact_p_is_the_share_of_all_sign_patterns(items: list[tuple[int, int]]) -> None:
    sums: dict[int, int] = {}
    for value, label in items:
        sums[label] = sums.get(label, 0) + value
    of_clips = list(sums.values())
    totals = [
        abs(sum(sign * one for sign, one in zip(signs, of_clips, strict=True)))
        for signs in product((1, -1), repeat=len(of_clips))
    ]
    expected = sum(total >= abs(sum(of_clips)) for total in totals) / len(totals)
    # Thirds cannot be written exactly: equal sums must count as equal all the same.
    test = sign_flip_test([value / 3 for value, _ in items], [label for _, label in items])
    assert test.exact
    assert test.p == pytest.approx(expected, rel=1e-12)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=13))
def test_with_a_clip_for_each_question_sign_flips_are_mcnemars(
    answers: list[tuple[bool, bool]],
) -> None:
    first, second = ([float(pair[i]) for pair in answers] for i in (0, 1))
    flips = sign_flip_test([a - b for a, b in zip(first, second, strict=True)])
    assert flips.p == pytest.approx(mcnemar_test(first, second).p, rel=1e-10)


def test_all_patterns_while_they_are_no_more_than_the_draws() -> None:
    clips = [1.0] * 8
    assert sign_flip_test(clips, draws=128).exact
    assert sign_flip_test(clips, draws=128).p == 2 / 2**8
    drawn = sign_flip_test(clips, draws=127)
    assert (drawn.exact, drawn.patterns) == (False, 127)


def test_a_drawn_p_is_never_zero() -> None:
    assert sign_flip_test([1.0] * 50, draws=99).p == 0.01


def test_clips_without_a_difference_change_nothing() -> None:
    clips = [1.0, 2.0, -1.0, 3.0]
    assert sign_flip_test(clips + [0.0] * 40) == sign_flip_test(clips)
    assert sign_flip_test([0.0] * 5).p == 1.0


def test_signs_do_not_depend_on_how_many_are_held_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).normal(0.3, size=12).tolist()
    whole = sign_flip_test(values)
    drawn = sign_flip_test(values * 3, draws=3000)
    monkeypatch.setattr("triptych.statistics.paired._SIGNS_AT_ONCE", 12 * 70)
    assert sign_flip_test(values) == whole
    assert sign_flip_test(values * 3, draws=3000).p == pytest.approx(drawn.p, abs=0.02)


def test_equal_arguments_give_an_equal_p() -> None:
    values = np.random.default_rng(6).normal(0.2, size=40).tolist()
    assert sign_flip_test(values, seed=1) == sign_flip_test(values, seed=1)
    assert sign_flip_test(values, seed=1) != sign_flip_test(values, seed=2)


def test_holm_keeps_order_and_never_passes_one() -> None:
    assert holm([0.03, 0.01, 0.04]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sign_flip_test([]), "no differences"),
        (lambda: sign_flip_test([1.0], draws=0), "draws"),
        (lambda: sign_flip_test([float("nan")]), "finite"),
        (lambda: sign_flip_test([1.0], ["a", "b"]), "1 values but 2"),
        (lambda: mcnemar_test([1.0], [1.0, 0.0]), "paired"),
        (lambda: mcnemar_test([1.0], [0.5]), "neither 0 nor 1"),
        (lambda: holm([0.5, 1.5]), "no p-value"),
        (lambda: detectable_difference([0.0, 1.0], power=1.0), "power"),
        (lambda: detectable_difference_unpaired([0.0, 1.0], [0.0, 1.0], alpha=0.0), "alpha"),
    ],
)
def test_wrong_arguments_are_named(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
