"""How many rewards of a step may be missing does not depend on which process asked for them."""

from typing import Any

import pytest
import torch

from triptych.rewards.base import RewardError, RewardTable, Unscored
from triptych.training import step_rewards
from triptych.training.step_rewards import refuse_unscored_step

EQUAL_N1K = torch.full((2, 1, 2), 0.5)


def of_process(missing: int, reason: Unscored = Unscored.UNAVAILABLE) -> RewardTable:
    """Two groups of two completions, of which some have no context reward."""
    values = [[None if number < missing else 0.5, 1.0] for number in range(4)]
    return RewardTable(("context", "format"), values, {(g, 0): reason for g in range(missing)})


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What all processes give, in their order."""
    given: list[Any] = []
    monkeypatch.setattr(step_rewards, "gather_object", lambda mine: given)
    return given


@pytest.mark.parametrize("missing", [(4, 0), (0, 4), (2, 2)])
@pytest.mark.parametrize("rank", [0, 1])
def test_it_is_the_share_of_the_step(
    missing: tuple[int, int], rank: int, processes: list[Any]
) -> None:
    processes += [(of_process(number), EQUAL_N1K) for number in missing]
    table, weights_N1K = processes[rank]
    refuse_unscored_step(table, weights_N1K, 0.5)
    message = r"'context': 4 of 8 .* \(unavailable 4\), more than max_unscored_share = 0.4;"
    with pytest.raises(RewardError, match=message):
        refuse_unscored_step(table, weights_N1K, 0.4)


def test_reasons_and_weights_stay_with_their_completions(processes: list[Any]) -> None:
    """The second process has no weight for the context of its first group."""
    weights_N1K = torch.tensor([[[0.0, 1.0]], [[1.0, 1.0]]])
    processes += [
        (of_process(1, Unscored.NOT_APPLICABLE), EQUAL_N1K),
        (of_process(4, Unscored.FAILED), weights_N1K),
    ]
    message = r"'context': 2 of 6 .* \(failed 2\)"
    with pytest.raises(RewardError, match=message):
        refuse_unscored_step(of_process(1), EQUAL_N1K, 0.3)
    refuse_unscored_step(of_process(1), EQUAL_N1K, 0.4)


def test_one_process_is_judged_by_itself() -> None:
    refuse_unscored_step(of_process(2), EQUAL_N1K, 0.5)
    with pytest.raises(RewardError, match="3 of 4"):
        refuse_unscored_step(of_process(3), EQUAL_N1K, 0.5)
