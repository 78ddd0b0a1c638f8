"""What fits and what is advised is checked against the memory that it would take."""

from dataclasses import replace

import pytest

from tests.unit.planning.planned import work
from triptych.planning.advice import advise, largest
from triptych.planning.lengths import PromptLength
from triptych.planning.memory import predict_memory
from triptych.planning.plan import Subject
from triptych.planning.sizes import ModelSizes
from triptych.planning.workload import Workload

GIB = 2**30
PROMPT = PromptLength(500, vision=4000, audio=1000, vision_bytes=300 * 2**20, audio_bytes=2**20)


@pytest.fixture(scope="module")
def sizes() -> ModelSizes:
    return Subject.of("Qwen/Qwen2.5-Omni-7B").sizes


@pytest.fixture
def step(sizes: ModelSizes) -> Workload:
    return work(PROMPT, trained=sizes.weights, group=8, completion=512, per_step=32)


def test_one_more_than_the_largest_does_not_fit(sizes: ModelSizes, step: Workload) -> None:
    most = 400 * GIB
    found = largest(sizes, step, most)
    one_more = (
        (replace(step, group=found.group), replace(step, group=found.group + 1)),
        (
            replace(step, completion=found.completion),
            replace(step, completion=found.completion + 1),
        ),
    )
    for fits, does_not in one_more:
        assert predict_memory(sizes, fits).peak <= most < predict_memory(sizes, does_not).peak
    assert found.group > 8
    assert 1 <= found.micro_batch <= 32


def test_nothing_fits_into_nothing(sizes: ModelSizes, step: Workload) -> None:
    found = largest(sizes, step, GIB)
    assert (found.group, found.completion, found.micro_batch) == (0, 0, 0)


def test_changes_end_where_it_fits(sizes: ModelSizes, step: Workload) -> None:
    changes = advise(sizes, replace(step, micro_batch=4), 75 * GIB)
    words = [change.words for change in changes]
    assert words[0] == "groups_per_micro_batch (sft: micro_batch_size): 1"
    assert "gradient_checkpointing: true" in words
    assert [change.fits for change in changes] == [False] * (len(changes) - 1) + [True]
    peaks = [change.peak for change in changes]
    assert peaks == sorted(peaks, reverse=True)
    assert peaks[-1] <= 75 * GIB


def test_whole_weights_are_not_advised_into_bf16(sizes: ModelSizes, step: Workload) -> None:
    """With steps of 1e-6 they would never move."""
    changes = advise(sizes, step, 40 * GIB)
    words = [change.words for change in changes]
    assert words.index("dtype: bfloat16, bf16: false") > words.index("lora.rank: 16")


def test_what_fits_needs_no_change(sizes: ModelSizes, step: Workload) -> None:
    assert advise(sizes, step, 10_000 * GIB) == []


def test_a_rollout_that_is_too_large_reads_fewer_prompts_at_once(
    sizes: ModelSizes, step: Workload
) -> None:
    """As many as there is room for."""
    step = replace(step, trained=1, reference=False, checkpointing=True)
    least, whole = (predict_memory(sizes, replace(step, at_once=at_once)) for at_once in (8, 64))
    assert whole.largest == "rollout"
    most = (least.peak + whole.peak) // 2
    (change,) = advise(sizes, step, most)
    name, _, number = change.words.partition(": ")
    assert name == "rollout_sequences"
    assert 8 < int(number) < 64
    assert change.fits
    assert change.peak == predict_memory(sizes, replace(step, at_once=int(number))).peak
    assert predict_memory(sizes, replace(step, at_once=int(number) + 8)).peak > most
