"""Weights that change with the step and with the source of a sample."""

import math
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from triptych.errors import ConfigError
from triptych.rewards import DEFAULT_WEIGHTS, REWARD_NAMES, weight_vector
from triptych.rewards.weights import RewardWeights, read_weight, weight_at

NAMES = ("context", "answer")


def test_fixed_weights_are_those_of_weight_vector_at_every_step() -> None:
    weights = RewardWeights(REWARD_NAMES, DEFAULT_WEIGHTS)
    assert weights.varying() == ()
    for step in (0, 7, 10**6):
        at_step_N1K = weights.at(step, ["emer", "other"])
        assert at_step_N1K.shape == (2, 1, 4)
        assert at_step_N1K.dtype == torch.float32
        assert torch.equal(at_step_N1K, weight_vector(REWARD_NAMES).expand(2, 1, 4))


def test_a_schedule_goes_in_straight_lines_and_stays_at_its_ends() -> None:
    schedule = {10: 0.5, 20: 0.25, 40: 1.0}
    for step, expected in (
        (0, 0.5), (10, 0.5), (14, 0.4), (15, 0.375), (20, 0.25), (30, 0.625), (40, 1.0), (99, 1.0),
    ):  # fmt: skip
        assert weight_at(schedule, step) == pytest.approx(expected), step
    assert weight_at({5: 0.3}, 0) == weight_at({5: 0.3}, 9) == 0.3


@given(
    st.dictionaries(st.integers(0, 500), st.floats(0, 2), min_size=1, max_size=5),
    st.integers(0, 600),
)
@settings(deadline=None, max_examples=100)
def test_the_order_of_a_schedule_is_that_of_its_steps(
    schedule: dict[int, float], step: int
) -> None:
    backwards = dict(sorted(schedule.items(), reverse=True))
    assert weight_at(backwards, step) == weight_at(schedule, step)
    assert min(schedule.values()) - 1e-9 <= weight_at(schedule, step)
    assert weight_at(schedule, step) <= max(schedule.values()) + 1e-9
    read = read_weight({str(key): value for key, value in backwards.items()})
    assert isinstance(read, dict)
    assert list(read) == sorted(schedule)


def test_a_source_has_its_own_weights_and_the_rest_of_the_common_ones() -> None:
    weights = RewardWeights(
        NAMES,
        {"context": {0: 0.5, 100: 0.0}, "answer": 0.35},
        {"emer": {"context": 0.9}, "quiz": {"answer": {0: 0.1, 100: 0.3}}},
    )
    sources = ["emer", "quiz", "unheard of"]
    at_50 = weights.at(50, sources)[:, 0].tolist()
    assert at_50 == [
        pytest.approx([0.9, 0.35]),
        pytest.approx([0.25, 0.2]),
        pytest.approx([0.25, 0.35]),
    ]
    assert weights.varying() == NAMES
    assert RewardWeights(NAMES, {"answer": {0: 1.0}, "context": 0.5}).varying() == ("answer",)


def test_whether_a_reward_ever_counts() -> None:
    weights = RewardWeights(
        ("a", "b", "c", "d"),
        {"a": 0.0, "b": {0: 0.0, 9: 0.1}, "c": 1.0, "d": 0.0},
        {"emer": {"d": 0.5}},
    )
    assert [weights.ever_counts(name) for name in "abcd"] == [False, True, True, True]


@pytest.mark.parametrize(
    ("weights", "of_source", "message"),
    [
        ({"context": 1.0}, {}, r"^weights: none given for reward 'answer'; set it"),
        ({"context": {0: 1}, "answer": 0, "x": 0}, {}, r"^weights: 'x' is no reward here"),
        ({"context": {0: 1, 9: -1}, "answer": 0}, {}, r"^weights: context: -1 is not a number"),
        ({"context": math.inf, "answer": 0}, {}, r"^weights: context: inf is not a number"),
        ({"context": {}, "answer": 0}, {}, r"^weights: context: a schedule needs a step"),
        ({"context": {-5: 1}, "answer": 0}, {}, r"^weights: context: -5 is no step"),
        ({"context": {0.5: 1}, "answer": 0}, {}, r"^weights: context: 0.5 is no step"),
        ({"context": {True: 1}, "answer": 0}, {}, r"^weights: context: True is no step"),
        ({"context": "much", "answer": 0}, {}, r"^weights: context: 'much' is no weight"),
        ({"context": True, "answer": 0}, {}, r"^weights: context: True is no weight"),
        (
            {"context": {0: 1, 50: 0, 90: 1}, "answer": {50: 0, 60: 1}},
            {},
            r"^weights at step 50: all are zero",
        ),
        (
            {"context": 1, "answer": 1},
            {"emer": {"contxt": 1}},
            r"^source_weights\.emer: 'contxt' is no reward here; known: context, answer",
        ),
        (
            {"context": 1, "answer": 0},
            {"emer": {"context": 0}},
            r"^source_weights\.emer: all are zero",
        ),
    ],
)
def test_weights_that_cannot_be_are_named(
    weights: Mapping[str, Any], of_source: Mapping[str, Mapping[str, Any]], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        RewardWeights(NAMES, weights, of_source)


def test_weights_for_a_source_that_is_not_there_list_those_that_are() -> None:
    weights = RewardWeights(NAMES, dict.fromkeys(NAMES, 1.0), {"emre": {"context": 0.5}})
    with pytest.raises(ConfigError, match=r"no sample is from 'emre'; .* emer \(2\), quiz \(1\);"):
        weights.check_sources(["emer", "quiz", "emer"])
    with pytest.raises(ConfigError, match=r"s0 \(1\).* and 2 more;"):
        weights.check_sources([f"s{number}" for number in range(12)])
    weights.check_sources(["emre"])
    RewardWeights(NAMES, dict.fromkeys(NAMES, 1.0)).check_sources([])
