import asyncio
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from triptych.data.sample import Media, MediaKind, Reference, Sample
from triptych.errors import DataError, TriptychError
from triptych.rewards import (
    REWARD_NAMES,
    RewardError,
    RewardFunction,
    RewardTable,
    Unscored,
    completion_text,
    rule_rewards,
    sample_columns,
    score,
    score_group,
)
from triptych.rewards.columns import as_media
from triptych.stages.format import DEFAULT_FORMAT


def make_sample(name: str, answer: str = "yes") -> Sample:
    return Sample(
        id=name,
        question="Is the person sincere?",
        problem_type="yes_no",  # type: ignore[arg-type]
        answer=answer,
        media=(Media(kind=MediaKind.VIDEO, path=Path("a.mp4")),),
        reference=Reference(context="The voice is rising."),
        extra={"kind": "sincerity"},
    )


FIRST, SECOND = make_sample("first"), make_sample("second", "no")
GOOD = DEFAULT_FORMAT.render(
    {
        "context": "The voice is rising.",
        "think": "the rising voice is a happy one, so yes.",
        "answer": "yes",
    }
)


def brevity(prompts: Any, completions: Any, **_: Any) -> list[float | None]:
    return [None if not text else 1.0 / len(text) for text in completions]


def test_the_rule_rewards_of_a_group() -> None:
    table = score_group(
        rule_rewards(), FIRST, [GOOD, "", GOOD.replace("<answer>yes", "<answer>no")]
    )

    assert table.names == REWARD_NAMES
    assert len(table) == 3
    assert table.row(0)["context"] == table.row(0)["answer"] == table.row(0)["format"] == 1.0
    assert table.row(1) == dict.fromkeys(REWARD_NAMES, 0.0)
    assert table.row(2)["reasoning"] == table.row(2)["answer"] == 0.0
    assert table.unscored_counts() == dict.fromkeys(REWARD_NAMES, 0)
    assert table.unscored_reasons() == {}


def test_unscored_is_none_in_the_table_nan_in_the_tensor_and_counted_by_reason() -> None:
    bare = FIRST.model_copy(update={"reference": Reference()})

    table = score({"brevity": brevity, **rule_rewards()}, [FIRST, bare], ["", GOOD])

    assert table.values_GK[0][0] is None
    assert table.unscored_counts() == {
        "brevity": 1,
        "context": 1,
        "reasoning": 1,
        "answer": 0,
        "format": 0,
    }
    assert table.unscored_reasons() == {
        "brevity": {Unscored.UNEXPLAINED: 1},
        "context": {Unscored.NO_REFERENCE: 1},
        "reasoning": {Unscored.NO_REFERENCE: 1},
    }
    rewards_GK = table.tensor()
    assert rewards_GK.dtype == torch.float32
    assert rewards_GK.isnan().tolist() == [[True, *[False] * 4], [False, True, True, False, False]]


def test_a_function_sees_one_value_of_every_column_per_completion() -> None:
    seen: dict[str, Any] = {}

    def spy(**given: Any) -> list[float]:
        seen.update(given)
        return [0.5] * 3

    score({"spy": spy}, [FIRST, FIRST, SECOND], ["a", "b", "c"])

    assert seen["prompts"] == [FIRST.question] * 3
    assert seen["completions"] == ["a", "b", "c"]
    assert seen["sample_id"] == ["first", "first", "second"]
    assert seen["answer"] == ["yes", "yes", "no"]
    assert seen["problem_type"] == ["yes_no"] * 3
    assert type(seen["problem_type"][0]) is str
    assert seen["options"] == [()] * 3
    assert seen["reference"][0] == FIRST.reference.model_dump()
    assert seen["reference"][0] is seen["reference"][1]
    assert seen["extra"][2] == {"kind": "sincerity"}
    columns = {"prompts", "completions", "log_unscored", *sample_columns([FIRST])}
    assert set(seen) == columns
    score({"spy": spy}, [FIRST] * 3, ["a", "b", "c"], prompts=["x", "y", "z"])
    assert seen["prompts"] == ["x", "y", "z"]


def test_async_functions_run_together_and_beside_sync_ones() -> None:
    order: list[str] = []

    def waiting(name: str) -> Callable[..., Any]:
        async def judge(completions: Any, log_unscored: Any, **_: Any) -> list[float | None]:
            order.append(f"{name} begins")
            await asyncio.sleep(0.01)
            order.append(f"{name} ends")
            log_unscored(1, Unscored.FAILED)
            return [0.25, None]

        return judge

    class Judge:
        async def __call__(self, **_: Any) -> list[float]:
            return [0.75, 0.5]

    functions: dict[str, RewardFunction] = {
        "a": waiting("a"),
        "short": brevity,
        "b": waiting("b"),
        "object": Judge(),
    }
    table = score(functions, [FIRST, SECOND], ["x", "yy"])

    assert order[:2] == ["a begins", "b begins"]
    assert table.names == ("a", "short", "b", "object")
    assert table.values_GK == ((0.25, 1.0, 0.25, 0.75), (None, 0.5, None, 0.5))
    assert table.unscored_reasons() == {"a": {Unscored.FAILED: 1}, "b": {Unscored.FAILED: 1}}


def test_scoring_works_inside_a_running_event_loop() -> None:
    async def judge(**_: Any) -> list[float]:
        return [0.5]

    async def notebook() -> RewardTable:
        return score({"judge": judge}, [FIRST], ["x"])

    assert asyncio.run(notebook()).values_GK == ((0.5,),)


def test_a_function_that_raises_is_named_with_its_sample() -> None:
    def fragile(completions: Any, **_: Any) -> list[float]:
        if "bad" in completions:
            raise ZeroDivisionError("no words")
        return [1.0] * len(completions)

    with pytest.raises(
        RewardError, match=r"reward 'fragile': sample 'second': ZeroDivisionError: no words; return"
    ) as raised:
        score({"fragile": fragile}, [FIRST, SECOND, FIRST], ["a", "bad", "c"])
    assert isinstance(raised.value.__cause__, ZeroDivisionError)
    assert isinstance(raised.value, TriptychError)


def test_a_function_that_fails_only_on_the_whole_batch_names_its_samples() -> None:
    def small_batches(completions: Any, **_: Any) -> list[float]:
        assert len(completions) == 1, "too many"
        return [1.0]

    samples = [make_sample(f"q{i}") for i in range(5)]
    with pytest.raises(RewardError, match=r"sample 'q0', 'q1', 'q2' and 2 more: AssertionError"):
        score({"small": small_batches}, samples, ["x"] * 5)


def test_an_error_that_says_what_to_do_is_not_added_to() -> None:
    def strict(prompts: Any, completions: Any, *, sample_id: Any, **_: Any) -> list[float]:
        if "second" in sample_id:
            raise DataError("reference: broken; correct it")
        return [1.0] * len(completions)

    async def down(prompts: Any, completions: Any, **_: Any) -> list[float]:
        raise TriptychError("the judge is down; start it")

    for function, message in (
        (strict, "reward 'mine': sample 'second': reference: broken; correct it"),
        (down, "reward 'mine': the judge is down; start it"),
    ):
        with pytest.raises(RewardError) as caught:
            score({"mine": function}, [FIRST, SECOND], [GOOD, GOOD])
        assert str(caught.value) == message


def test_an_async_function_that_raises_is_named_too() -> None:
    async def judge(**_: Any) -> list[float]:
        raise ConnectionError("refused")

    with pytest.raises(
        RewardError, match="reward 'judge': sample 'first': ConnectionError: refused"
    ):
        score({"judge": judge}, [FIRST], ["x"])


@pytest.mark.parametrize("value", [math.nan, math.inf, -0.1, 1.1, "0.5", "high", [0.5], {}])
def test_a_value_that_is_no_reward_is_named(value: Any) -> None:
    with pytest.raises(
        RewardError, match=r"reward 'odd': sample 'second': .* is not a number within"
    ):
        score({"odd": lambda **_: [0.5, value]}, [FIRST, SECOND], ["a", "b"])


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ([0.5], "returned 1 values for 2 completions"),
        ([0.5] * 3, "returned 3 values for 2 completions"),
        (None, "returned NoneType, not a list"),
        (0.5, "returned float, not a list"),
        ("ab", "returned str, not a list"),
        ({0: 0.5, 1: 0.5}, "returned dict, not a list"),
    ],
)
def test_a_result_that_is_no_list_of_rewards_is_named(result: Any, message: str) -> None:
    with pytest.raises(RewardError, match=f"reward 'odd': {message}"):
        score({"odd": lambda **_: result}, [FIRST, SECOND], ["a", "b"])


@pytest.mark.parametrize(
    "result",
    [(0, 1), [False, True], np.array([0.0, 1.0]), [np.float32(0), 1], torch.tensor([0.0, 1.0])],
)
def test_numbers_of_any_kind_become_floats(result: Any) -> None:
    table = score({"any": lambda **_: result}, [FIRST, SECOND], ["a", "b"])

    assert table.values_GK == ((0.0,), (1.0,))
    assert all(type(row[0]) is float for row in table.values_GK)


def test_lengths_must_agree() -> None:
    with pytest.raises(DataError, match="1 samples and 1 prompts for 2 completions; repeat"):
        score(rule_rewards(), [FIRST], ["a", "b"])
    with pytest.raises(DataError, match="2 samples and 1 prompts for 2 completions"):
        score(rule_rewards(), [FIRST, FIRST], ["a", "b"], prompts=["?"])


def test_nothing_to_score() -> None:
    table = score(rule_rewards(), [], [])

    assert len(table) == 0
    assert table.tensor().shape == (0, 4)
    assert score({}, [FIRST], ["a"]).tensor().shape == (1, 0)


@pytest.mark.parametrize(
    "completion",
    [
        "text",
        [{"role": "assistant", "content": "text"}],
        [{"role": "assistant", "content": [{"type": "text", "text": "text"}, {"type": "image"}]}],
        [{"content": "te"}, {"content": "xt"}],
    ],
)
def test_completions_are_texts_or_chat_messages(completion: Any) -> None:
    assert completion_text(completion) == "text"


@pytest.mark.parametrize("completion", [None, 3, [3], [{"role": "assistant"}], [{"content": None}]])
def test_other_completions_are_refused(completion: Any) -> None:
    with pytest.raises(DataError, match="is neither a string nor a list of chat messages"):
        completion_text(completion)


def test_media_come_as_plain_values_and_are_read_back() -> None:
    (plain,) = sample_columns([FIRST])["media"]
    assert plain == [{"kind": "video", "path": "a.mp4", "start": None, "end": None}]
    assert as_media(plain) == as_media(FIRST.media) == FIRST.media
    assert as_media(None) == ()


@pytest.mark.parametrize("value", [[{"kind": "smell", "path": "a"}], ["a.mp4"], [3], 5])
def test_media_that_are_none_are_refused(value: Any) -> None:
    with pytest.raises(DataError, match=r"media: .*pass a list of \{\"kind\": \"video\""):
        as_media(value)
