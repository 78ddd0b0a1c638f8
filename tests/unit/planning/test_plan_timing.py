"""The time of a plan: what adds up, and what it grows with."""

from dataclasses import replace

import pytest

from tests.unit.planning.planned import work
from triptych.errors import ConfigError
from triptych.planning.devices import GPUS, Device, device_named, measure_cpu
from triptych.planning.plan import Subject
from triptych.planning.sizes import ModelSizes
from triptych.planning.timing import predict_time

# Of round figures: 1e12 operations a second whatever the rows, all else free.
PRODUCTS = Device("products", 10**11, ((1, 1e12), (10**9, 1e12)), 1e30, 1e30, 0.0, 1e30)


@pytest.fixture(scope="module")
def sizes() -> ModelSizes:
    return Subject.of("Qwen/Qwen2.5-Omni-7B").sizes


def test_products_are_two_operations_a_weight_and_token(sizes: ModelSizes) -> None:
    step = work(per_step=2, frozen=("vision", "audio"))
    phases = predict_time(sizes, step, PRODUCTS).phases
    row, answers = 500 + 4 * 50, 4 * 50
    layers = sizes.layers * sizes.layer_active
    forward = 2 * (row * layers + answers * sizes.head_weights) / 1e12
    assert phases["reference"] == pytest.approx(2 * forward)
    assert phases["update"] == pytest.approx(2 * 3 * forward, rel=1e-3)


def test_checkpointing_costs_a_forward(sizes: ModelSizes) -> None:
    step = work(frozen=("vision", "audio"))
    plain = predict_time(sizes, step, PRODUCTS).phases["update"]
    again = predict_time(sizes, replace(step, checkpointing=True), PRODUCTS).phases["update"]
    assert 1.25 < again / plain < 1.34


def test_two_iterations_share_a_rollout(sizes: ModelSizes) -> None:
    once = predict_time(sizes, work(), GPUS["h100"]).phases
    twice = predict_time(sizes, work(iterations=2), GPUS["h100"]).phases
    assert twice["rollout"] == pytest.approx(once["rollout"] / 2)
    assert twice["update"] == pytest.approx(once["update"])
    assert "old policy" in twice


def test_faster_devices_are_faster(sizes: ModelSizes) -> None:
    seconds = [predict_time(sizes, work(), GPUS[name]).total for name in ("a100", "h100", "h200")]
    assert seconds == sorted(seconds, reverse=True)


def test_more_devices_share_a_step_and_talk(sizes: ModelSizes) -> None:
    one = predict_time(sizes, work(per_step=8), GPUS["h100"])
    four = predict_time(sizes, work(per_step=8, gpus=4), GPUS["h100"])
    assert four.phases["reference"] == pytest.approx(one.phases["reference"] / 4)
    assert four.phases["communication"] > 0


def test_rates_lie_between_those_that_were_measured() -> None:
    device = Device("x", 1, ((2, 10.0), (4, 30.0)), 1.0, 1.0, 0.0, 1.0)
    assert [device.rate(rows) for rows in (1, 2, 3, 4, 99)] == [5.0, 10.0, 20.0, 30.0, 30.0]


def test_the_cpu_is_measured() -> None:
    sizes = ModelSizes("x", 1, 1, 1, 1, 1, 1, 64, 64, 64, 2, 128, 0, 100, {})
    cpu = measure_cpu(sizes, 64)
    assert cpu.measured
    assert cpu.products[-1][1] > cpu.products[0][1] > 0
    assert 1e8 < cpu.bandwidth < 1e12
    assert 1e-8 < cpu.call < 1e-3


def test_an_unknown_device_is_refused_with_the_known_ones(sizes: ModelSizes) -> None:
    with pytest.raises(ConfigError, match="device h101 is not known; use one of cpu, a100, h100"):
        device_named("h101", sizes)
