import math
from collections.abc import Mapping

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from triptych.errors import ConfigError
from triptych.rewards import DEFAULT_WEIGHTS, REWARD_NAMES, apply_gate, combine, weight_vector

NAN = math.nan


def test_default_weights_sum_to_one_in_the_order_of_the_names() -> None:
    assert tuple(DEFAULT_WEIGHTS) == REWARD_NAMES
    assert weight_vector(REWARD_NAMES).tolist() == pytest.approx([0.25, 0.25, 0.35, 0.15])
    assert sum(DEFAULT_WEIGHTS.values()) == pytest.approx(1.0)


def test_the_mean_is_weighted_and_renormalised_over_what_was_scored() -> None:
    weights_K = weight_vector(REWARD_NAMES)
    rewards_GK = torch.tensor(
        [[1, 0, 1, 1], [NAN, 0, 1, 1], [NAN, NAN, NAN, 1], [NAN, NAN, NAN, NAN], [1, 1, 1, 1]]
    )

    combined_G = combine(rewards_GK, weights_K)

    assert combined_G[:3].tolist() == pytest.approx([0.75, 0.5 / 0.75, 1.0])
    assert combined_G[3].isnan()
    assert combined_G[4] == 1.0
    assert combine(rewards_GK.expand(2, 5, 4), weights_K).shape == (2, 5)


def test_a_reward_without_weight_leaves_nothing_to_average() -> None:
    assert combine(torch.tensor([1.0, NAN]), torch.tensor([0.0, 1.0])).isnan()
    assert combine(torch.tensor([0.0, 1.0]), torch.tensor([0.0, 1.0])) == 1.0


@given(
    st.lists(st.none() | st.floats(0, 1, width=32), min_size=4, max_size=4),
    st.lists(st.floats(0.125, 1, width=32), min_size=4, max_size=4),
)
@settings(deadline=None, max_examples=100)
def test_the_mean_lies_within_what_was_scored(
    rewards: list[float | None], weights: list[float]
) -> None:
    scored = [reward for reward in rewards if reward is not None]
    row = torch.tensor([NAN if reward is None else reward for reward in rewards])

    value = combine(row, torch.tensor(weights)).item()

    if scored:
        assert min(scored) - 1e-6 <= value <= max(scored) + 1e-6
    else:
        assert math.isnan(value)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"a": 1.0}, "none given for reward 'b'"),
        ({"a": 1.0, "b": 1.0, "c": 1.0}, "'c' is no reward here; known: a, b"),
        ({"a": 1.0, "b": -1.0}, "b: -1.0 is not a number from 0"),
        ({"a": 1.0, "b": NAN}, "b: nan is not a number from 0"),
        ({"a": 0.0, "b": 0.0}, "all are zero"),
    ],
)
def test_bad_weights_are_named(weights: Mapping[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        weight_vector(("a", "b"), weights)


@pytest.mark.parametrize(
    ("rewards", "gated"),
    [
        ([0.5, 0.5, 1.0, 1.0], [0.5, 0.5, 1.0, 1.0]),
        ([0.4, 1.0, 1.0, 1.0], [0.4, 0.0, 0.0, 1.0]),
        ([1.0, 0.4, 1.0, 1.0], [1.0, 0.4, 0.0, 1.0]),
        ([0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]),
        ([NAN, 1.0, 1.0, 1.0], [NAN, 1.0, 1.0, 1.0]),
        ([1.0, NAN, 1.0, 1.0], [1.0, NAN, 1.0, 1.0]),
        ([0.2, NAN, 1.0, 1.0], [0.2, NAN, 0.0, 1.0]),
        ([0.2, 1.0, NAN, NAN], [0.2, 0.0, NAN, NAN]),
    ],
)
def test_the_gate_takes_credit_from_what_builds_on_nothing(
    rewards: list[float], gated: list[float]
) -> None:
    rewards_GK = torch.tensor([rewards])

    torch.testing.assert_close(apply_gate(rewards_GK), torch.tensor([gated]), equal_nan=True)
    torch.testing.assert_close(rewards_GK, torch.tensor([rewards]), equal_nan=True)


def test_the_gate_finds_its_columns_by_name_at_any_threshold() -> None:
    rewards = torch.tensor([1.0, 0.5, 0.9])
    names = ("answer", "context", "reasoning")

    assert apply_gate(rewards, names).tolist() == pytest.approx([1.0, 0.5, 0.9])
    assert apply_gate(rewards, names, threshold=0.5).tolist() == [0.0, 0.5, 0.0]
    with pytest.raises(ConfigError, match="gate: there is no reward 'reasoning'"):
        apply_gate(rewards, ("answer", "context", "format"))
