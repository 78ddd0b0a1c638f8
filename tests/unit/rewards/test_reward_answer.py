from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triptych.errors import DataError
from triptych.rewards.answer import answer_reward, answer_score
from triptych.rewards.base import Unscored
from triptych.stages.format import DEFAULT_FORMAT
from triptych.stages.prompt import ProblemType

FEELINGS = ("happy", "calm", "sad", "angry")


def reward(
    answer: str,
    gold: str | None,
    problem_type: str = "multiple_choice",
    options: tuple[str, ...] | None = FEELINGS,
    think: str = "It follows.",
    **more: Any,
) -> float | None:
    text = f"<context>A smile.</context><think>{think}</think><answer>{answer}</answer>"
    (value,) = answer_reward(
        ["What?"], [text], problem_type=[problem_type], answer=[gold], options=[options], **more
    )
    return value


@pytest.mark.parametrize(
    ("problem_type", "answer", "gold", "expected"),
    [
        ("multiple_choice", "B", "B", 1.0),
        ("multiple_choice", "(b)", "B", 1.0),
        ("multiple_choice", "calm", "B", 1.0),
        ("multiple_choice", "A", "B", 0.0),
        ("multiple_choice", "A or B", "B", 0.0),
        ("multiple_choice", "Bravo", "B", 0.0),
        ("multi_select", "B, D", "B,D", 1.0),
        ("multi_select", "DB", "B,D", 1.0),
        ("multi_select", "B", "B,D", 2 / 3),
        ("multi_select", "A,B,C,D", "B,D", 2 / 3),
        ("multi_select", "B,C", "B,D", 0.5),
        ("multi_select", "A,C", "B,D", 0.0),
        ("yes_no", "No.", "no", 1.0),
        ("yes_no", "know", "no", 0.0),
        ("yes_no", "yes or no", "no", 0.0),
        ("numerical", "3.0", "3", 1.0),
        ("numerical", "1,234", "1234", 1.0),
        ("numerical", "3.004", "3", 1.0),
        ("numerical", "3.01", "3", 0.0),
        ("numerical", "-3", "3", 0.0),
        ("numerical", "3 or 4", "3", 0.0),
        ("ocr", "Stop  HERE", "stop here", 1.0),
        ("ocr", "stop there", "stop here", 0.5),
        ("ocr", "one two three four five", "stop", 0.0),
        ("ocr", "\u5fae\u7b11", "\u5fae\u4ed6", 0.5),
        ("free_form", "The dog barks.", "the dog barks", 1.0),
        ("free_form", "a cat", "the dog barks", 0.0),
        ("free_form", "the dog", "the dog barks", 0.8),
        (
            "free_form",
            "\u0441\u043e\u0431\u0430\u043a\u0430",
            "\u0421\u043e\u0431\u0430\u043a\u0430!",
            1.0,
        ),
        ("regression", "9", "10", 0.9),
        ("regression", "10.0", "10", 1.0),
        ("regression", "-9", "-10", 0.9),
        ("regression", "30", "10", 0.0),
        ("regression", "- 9", "-10", 0.9),
        ("regression", "\\boxed{9}", "10", 0.9),
        ("regression", "0", "0", 1.0),
        ("regression", "0.1", "0", 0.0),
        ("regression", "ten", "10", 0.0),
    ],
)
def test_right_and_wrong_by_problem_type(
    problem_type: str, answer: str, gold: str, expected: float
) -> None:
    assert reward(answer, gold, problem_type) == pytest.approx(expected)


@pytest.mark.parametrize("problem_type", ProblemType)
@pytest.mark.parametrize("answer", ["", " ", "\n", "\u200b", "."])
def test_an_answer_without_content_is_wrong_never_right(
    problem_type: ProblemType, answer: str
) -> None:
    gold = {"multiple_choice": "A", "multi_select": "A,B", "yes_no": "no"}.get(problem_type, "0")
    assert reward(answer, gold, problem_type) == 0.0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "B",
        "<context>A smile.</context><think>So (B).</think>",
        "<context>A smile.</context><think>So (B).</think><answer>",
    ],
)
def test_a_missing_answer_stage_is_wrong(text: str) -> None:
    assert answer_reward(
        [""], [text], problem_type=["multiple_choice"], answer=["B"], options=[FEELINGS]
    ) == [0.0]


@pytest.mark.parametrize(
    ("problem_type", "gold"),
    [
        ("multiple_choice", "Z"),
        ("multiple_choice", ""),
        ("multiple_choice", None),
        ("multi_select", "A,?"),
        ("yes_no", "maybe"),
        ("numerical", "three"),
        ("regression", "nan"),
        ("ocr", " "),
        ("free_form", "!"),
    ],
)
def test_a_gold_answer_that_cannot_be_read_is_unscored_not_wrong(
    problem_type: str, gold: str | None
) -> None:
    reasons: list[tuple[int, Unscored]] = []

    value = reward("A", gold, problem_type, log_unscored=lambda *reason: reasons.append(reason))

    assert value is None
    assert reasons == [(0, Unscored.UNREADABLE_GOLD)]


@pytest.mark.parametrize(
    ("think", "answer", "gold", "problem_type", "expected"),
    [
        ("The smile means happy (A).", "A", "A", "multiple_choice", 1.0),
        ("The smile means happy (A).", "B", "B", "multiple_choice", 0.0),
        ("The smile means happy (A).", "B", "A", "multiple_choice", 0.0),
        ("The smile.", "B", "B", "multiple_choice", 1.0),
        # letter and text disagree: only the letter counts against the answer
        ("The smile means happy (B).", "B", "B", "multiple_choice", 1.0),
        ("The smile means happy (B).", "A", "A", "multiple_choice", 0.0),
        ("happy (A) and calm (B)", "A,B", "A,B", "multi_select", 1.0),
        ("happy (A)", "A,B", "A,B", "multi_select", 0.0),
        ("They agree, so yes.", "no", "no", "yes_no", 0.0),
        ("They agree, so yes.", "yes", "yes", "yes_no", 1.0),
        ("So 4.", "3", "3", "numerical", 0.0),
        ("So 3.", "3.0", "3", "numerical", 1.0),
        ("So 9.", "10", "10", "regression", 0.0),
        ("So it reads GO.", "stop", "stop", "ocr", 1.0),
    ],
)
def test_an_answer_against_its_own_reasoning_is_wrong_even_if_right(
    think: str, answer: str, gold: str, problem_type: str, expected: float
) -> None:
    assert reward(answer, gold, problem_type, think=think) == expected


def test_it_follows_trls_calling_convention() -> None:
    body = {"context": "A smile.", "think": "It fits.", "answer": "A"}
    chat = [{"role": "assistant", "content": DEFAULT_FORMAT.render(body)}]

    values = answer_reward(
        prompts=[[{"role": "user", "content": "?"}]] * 2,
        completions=[chat, chat],
        completion_ids=[[1], [2]],
        problem_type=["multiple_choice", "yes_no"],
        answer=["A", "yes"],
        options=[["happy", "calm"], None],
        trainer_state=object(),
        log_extra=None,
    )

    assert values == [1.0, 0.0]
    assert answer_reward(["?"], [chat], problem_type=["multiple_choice"], answer=["A"]) == [1.0]


def test_an_unknown_problem_type_and_a_short_column_are_named() -> None:
    with pytest.raises(DataError, match=r"problem_type: 'riddle' is unknown; use one of multiple"):
        reward("A", "A", "riddle")
    with pytest.raises(DataError, match="column 'answer' has 1 values for 2 completions"):
        answer_reward(["", ""], ["", ""], problem_type=["ocr", "ocr"], answer=["x"])
    with pytest.raises(DataError, match="'three' cannot be read as an answer of type numerical"):
        answer_score("3", "three", ProblemType.NUMERICAL)


def test_the_score_alone_knows_no_reasoning() -> None:
    assert answer_score("B", "B", ProblemType.MULTIPLE_CHOICE, FEELINGS) == 1.0
    assert answer_score("", "B", ProblemType.MULTIPLE_CHOICE, FEELINGS) == 0.0


@given(st.text(max_size=60), st.sampled_from(ProblemType), st.sampled_from(["A", "yes", "3"]))
@settings(deadline=None, max_examples=80)
def test_any_answer_scores_within_bounds(answer: str, kind: ProblemType, gold: str) -> None:
    value = reward(answer, gold, kind)

    assert value is None or 0.0 <= value <= 1.0
