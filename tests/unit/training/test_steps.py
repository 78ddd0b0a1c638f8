"""Which samples a step sees."""

from collections import Counter
from itertools import product

import pytest
from accelerate.data_loader import BatchSamplerShard
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import BatchSampler

from triptych.errors import ConfigError
from triptych.training.steps import StepLayout, StepSampler, place_seed


def steps_of(num_samples: int, layout: StepLayout, seed: int = 0) -> list[list[int]]:
    indices = list(StepSampler(num_samples, layout, seed))
    size = layout.per_step
    return [indices[i : i + size] for i in range(0, len(indices), size)]


@given(
    num_samples=st.integers(1, 12),
    steps=st.integers(1, 9),
    per_step=st.integers(1, 7),
    repeats=st.integers(1, 3),
)
@settings(deadline=None, max_examples=100)
def test_every_step_is_full_repeats_are_alike_and_no_sample_is_ahead(
    num_samples: int, steps: int, per_step: int, repeats: int
) -> None:
    layout = StepLayout(steps, per_step, 1, repeats)
    found = steps_of(num_samples, layout)
    assert [len(step) for step in found] == [per_step] * steps
    assert len(StepSampler(num_samples, layout, 0)) == steps * per_step
    for number, step in enumerate(found):
        assert step == found[number - number % repeats]
    seen = Counter(index for step in found[::repeats] for index in step)
    counts = [seen[index] for index in range(num_samples)]
    assert max(counts) - min(counts) <= 1


def test_order_depends_on_the_seed_and_the_pass_alone() -> None:
    layout = StepLayout(6, 4, 2)
    first = steps_of(8, layout, seed=1)
    assert first == steps_of(8, layout, seed=1)
    assert first != steps_of(8, layout, seed=2)
    assert first[:2] != first[2:4]  # two passes, two orders
    assert first[:3] == steps_of(8, StepLayout(3, 4, 1), seed=1)


def test_accumulation_fills_the_step_over_all_processes() -> None:
    assert StepLayout(1, 12, 2).accumulation(3) == 2
    with pytest.raises(ConfigError, match=r"12 samples a step .* 5 on 2 .* multiple of 10"):
        StepLayout(1, 12, 5).accumulation(2)


def test_passes_count_a_repeated_step_once() -> None:
    layout = StepLayout(9, 4, 2, repeats=3)
    assert [layout.passes(step, 8) for step in (0, 1, 3, 4, 9)] == [0, 0.5, 0.5, 1.0, 1.5]


@pytest.mark.parametrize(("processes", "micro_batch"), [(1, 1), (1, 4), (2, 2), (4, 1), (3, 4)])
def test_ranks_share_a_step_as_the_data_loader_deals_it_out(
    processes: int, micro_batch: int
) -> None:
    sampler = StepSampler(24, StepLayout(2, 12, micro_batch), seed=0)
    batches = BatchSampler(sampler, micro_batch, drop_last=False)
    steps = steps_of(24, sampler._layout)
    for rank in range(processes):
        own = list(BatchSamplerShard(batches, processes, rank))
        places = sampler._layout.places(rank, processes)
        assert len(places) == sampler._layout.accumulation(processes)
        expected = [[step[place] for place in part] for step in steps for part in places]
        assert own == expected


def test_seeds_differ_from_place_to_place() -> None:
    seeds = {place_seed(*where) for where in product(range(3), range(9), range(9))}
    assert len(seeds) == 3 * 9 * 9
    assert all(0 <= seed < 2**63 for seed in seeds)
