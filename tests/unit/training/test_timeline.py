"""Phases and the rest make the step."""

import time

import pytest
import torch

from triptych.training.timeline import OVERLAPPED, TOTAL, Timeline


def test_a_lap_is_its_phases_and_the_rest() -> None:
    timeline = Timeline(torch.device("cpu"))
    with timeline.clock(TOTAL), timeline.clock("data"):
        time.sleep(0.02)  # before the first step
    timeline.start()
    begun = time.perf_counter()
    for _ in range(2):
        with timeline.clock("rollout"):
            time.sleep(0.02)
        timeline.begin("update")
        time.sleep(0.01)
        timeline.end("update")
        time.sleep(0.01)
    timeline.seconds[OVERLAPPED] += 5.0
    lap, whole = timeline.lap(2), time.perf_counter() - begun
    assert lap.keys() == {"data", "rollout", "update", OVERLAPPED, "other", "step"}
    assert lap["data"] == 0
    assert lap["rollout"] >= 0.02
    assert lap["update"] >= 0.01
    assert lap["other"] >= 0.01
    assert lap[OVERLAPPED] == 2.5
    assert lap["step"] == pytest.approx(lap["rollout"] + lap["update"] + lap["other"])
    assert 0.04 <= lap["step"] <= whole / 2
    assert timeline.lap(1)["rollout"] == 0
    assert timeline.seconds["data"] >= 0.02


def test_a_phase_ends_with_an_error() -> None:
    timeline = Timeline(torch.device("cpu"))
    with pytest.raises(ValueError, match="no"), timeline.clock("data"):
        raise ValueError("no")
    assert timeline.seconds["data"] > 0
