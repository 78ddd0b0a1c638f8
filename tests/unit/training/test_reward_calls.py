"""Rewards that are asked for group by group are those that are asked for at once."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from triptych.data.sample import Reference, Sample
from triptych.errors import ConfigError, TriptychError
from triptych.generation import Completion, StopReason
from triptych.models import OmniModel
from triptych.rewards import RewardError, RewardFunction, RewardTable, Unscored, score
from triptych.stages.prompt import ProblemType
from triptych.training.reward_calls import RewardCalls, _covered

SAMPLES = [
    Sample(
        id=f"q{number}", question=f"What {number}?", problem_type=ProblemType.FREE_FORM,
        options=(), answer=str(number), media=(), reference=Reference(context="A man."),
    )
    for number in range(3)
]  # fmt: skip
GROUPS = [
    [Completion((1,), f"{'word ' * (number + g)}end", StopReason.END, (False,)) for g in range(2)]
    for number in range(3)
]


def words(prompts: Any, completions: Sequence[str], **columns: Any) -> list[float | None]:
    return [1 / len(text.split()) for text in completions]


def answered(
    prompts: Sequence[str], completions: Sequence[str], *, log_unscored: Any, **columns: Any
) -> list[float | None]:
    """By what is known of the sample; of sample q1 the second completion has no score."""
    assert prompts == columns["question"]
    values: list[float | None] = [int(answer) / 10 for answer in columns["answer"]]
    for index, (sample_id, text) in enumerate(zip(columns["sample_id"], completions, strict=True)):
        if sample_id == "q1" and text.count("word") == 2:
            values[index] = None
            log_unscored(index, Unscored.TIMEOUT)
    return values


def later(function: Callable[..., Any], seconds: float = 0.0) -> RewardFunction:
    """The same, async."""

    async def asked(**columns: Any) -> Any:
        await asyncio.sleep(seconds)
        return function(**columns)

    return asked


def at_once(functions: dict[str, RewardFunction]) -> RewardTable:
    repeated = [sample for sample in SAMPLES for _ in range(2)]
    return score(functions, repeated, [one.text for group in GROUPS for one in group])


def by_group(functions: dict[str, RewardFunction], told: Sequence[int]) -> RewardTable:
    with RewardCalls(functions, SAMPLES) as calls:
        for index in told:
            calls.begin(index, GROUPS[index])
        calls.run_sync(GROUPS)
        return calls.table()


@pytest.mark.parametrize("told", [(), (2, 0), (2, 1, 0)])
def test_the_table_is_that_of_one_call(told: Sequence[int]) -> None:
    rewards = {"first": later(answered), "sync": words, "last": later(words), "own": answered}
    table, expected = by_group(rewards, told), at_once(rewards)
    assert table.names == expected.names
    assert table.values_GK == expected.values_GK
    assert table.reasons == expected.reasons == {(3, 0): Unscored.TIMEOUT, (3, 3): Unscored.TIMEOUT}


def test_functions_of_one_kind_alone() -> None:
    kinds: list[dict[str, RewardFunction]] = [{"sync": words}, {"async": later(words)}]
    for rewards in kinds:
        assert by_group(rewards, [0]) == at_once(rewards)


def broken(error: Exception) -> Callable[..., Any]:
    def raising(*, sample_id: Sequence[str], **_: Any) -> list[float]:
        if "q1" in sample_id:
            raise error
        return [0.0] * len(sample_id)

    return raising


def returning(made: Callable[[int], Any]) -> Callable[..., Any]:
    """What `made` makes of the number of completions, where sample q1 is among the samples."""

    def function(*, sample_id: Sequence[str], **_: Any) -> Any:
        return made(len(sample_id)) if "q1" in sample_id else [0.5] * len(sample_id)

    return function


def off_scale(*, sample_id: Sequence[str], **_: Any) -> list[float]:
    return [1.5 if one == "q1" else 0.5 for one in sample_id]


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (broken(TriptychError("the judge is down; start it")), "'judge': the judge is down; start"),
        (broken(KeyError("x")), "sample 'q0', 'q1', 'q2': KeyError: 'x'; return None for"),
        (returning(lambda _: 0.5), "returned float, not a list of rewards"),
        (returning(lambda _: "0.5"), "returned str, not a list of rewards"),
        (off_scale, "sample 'q1': 1.5 is not a number within"),
    ],
)
def test_errors_have_the_words_of_one_call(function: Callable[..., Any], words: str) -> None:
    rewards = {"judge": later(function)}
    with pytest.raises(RewardError) as once:
        at_once(rewards)
    with pytest.raises(RewardError) as by_groups:
        by_group(rewards, [2])
    assert words in str(once.value)
    assert str(by_groups.value) == str(once.value)


def test_too_few_values_for_a_group_are_not_made_up_for_by_another() -> None:
    def shifted(*, sample_id: Sequence[str], **_: Any) -> list[float]:
        return [0.5] * (len(sample_id) + {"q0": -1, "q1": 1}.get(sample_id[0], 0))

    with pytest.raises(RewardError, match="'judge': returned 1 values for 2 completions; return"):
        by_group({"judge": later(shifted)}, [])


def test_the_first_function_that_fails_is_named_and_sync_ones_come_first() -> None:
    failing = broken(TriptychError("no"))
    rewards = {"one": later(failing, 0.02), "two": later(failing), "sync": failing}
    with pytest.raises(RewardError, match="'sync': sample 'q1': no"):
        by_group(rewards, [0, 1])
    del rewards["sync"]
    with pytest.raises(RewardError, match="'one': no"):
        by_group(rewards, [0, 1])


def test_only_what_asks_the_model_is_called_in_what_the_model_needs() -> None:
    inside: list[str] = []

    @contextmanager
    def around() -> Iterator[None]:
        inside.append("begun")
        yield
        inside.append("done")

    class Asking:
        def use_model(self, model: OmniModel) -> None:
            raise AssertionError("it has its model")

        def __call__(self, completions: Sequence[str], **columns: Any) -> list[float]:
            inside.append("asked")
            return [0.5] * len(completions)

    def other(completions: Sequence[str], **columns: Any) -> list[float]:
        inside.append("other")
        return [0.25] * len(completions)

    with RewardCalls({"other": other, "asking": Asking()}, SAMPLES, around) as calls:
        calls.run_sync(GROUPS)
        assert calls.table().values_GK == ((0.25, 0.5),) * 6
    assert inside == ["other", "begun", "asked", "done"]


def test_async_functions_run_beside_and_sync_ones_once() -> None:
    """The reply to the first group arrives while the second is being written."""
    replied, calls_of_sync = threading.Event(), list[int]()

    async def judge(*, completions: Sequence[str], **_: Any) -> list[float]:
        replied.set()
        return [0.5] * len(completions)

    def count(*, completions: Sequence[str], **_: Any) -> list[float]:
        calls_of_sync.append(len(completions))
        return [0.5] * len(completions)

    with RewardCalls({"judge": judge, "count": count}, SAMPLES) as calls:
        calls.begin(0, GROUPS[0])
        assert replied.wait(10)
        calls.run_sync(GROUPS)
        assert len(calls.table()) == 6
    assert calls_of_sync == [6]


def test_what_is_outstanding_is_given_up_with_the_rollout() -> None:
    asked, cancelled = threading.Event(), threading.Event()

    async def judge(**_: Any) -> list[float]:
        asked.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return []

    def interrupted() -> None:
        with RewardCalls({"judge": judge}, SAMPLES) as calls:
            calls.begin(0, GROUPS[0])
            assert asked.wait(10)
            raise KeyboardInterrupt

    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert cancelled.is_set()
    assert threading.active_count() == before


def test_an_engine_that_told_something_else_is_refused() -> None:
    with RewardCalls({"words": words}, SAMPLES) as calls:
        calls.begin(1, GROUPS[0])
        with pytest.raises(ConfigError, match="sample q1: the engine returned other completions"):
            calls.run_sync(GROUPS)


def test_overlapped_time_is_what_passed_before_the_wait() -> None:
    async def judge(*, sample_id: Sequence[str], **_: Any) -> list[float]:
        await asyncio.sleep(0.02 if "q0" in sample_id else 0.3)
        return [0.5] * len(sample_id)

    with RewardCalls({"judge": judge}, SAMPLES) as calls:
        begun = time.perf_counter()
        calls.begin(0, GROUPS[0])
        time.sleep(0.05)
        calls.run_sync(GROUPS)  # which asks about the others
        passed = time.perf_counter() - begun
        calls.table()
    assert 0.02 <= calls.overlapped < passed + 0.1


@pytest.mark.parametrize(
    ("spans", "until", "seconds"),
    [
        ([], 5.0, 0.0),
        ([(1.0, 2.0), (4.0, 9.0)], 5.0, 2.0),
        ([(3.0, 4.0), (1.0, 6.0)], 10.0, 5.0),  # one within the other
        ([(1.0, 3.0), (2.0, 4.0)], 10.0, 3.0),
        ([(6.0, 7.0)], 5.0, 0.0),
    ],
)
def test_spans_are_counted_once(
    spans: list[tuple[float, float]], until: float, seconds: float
) -> None:
    assert _covered(spans, until) == pytest.approx(seconds)
