import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triptych.endpoint.reply import BadReplyError, Reply
from triptych.rewards.judge import CONTEXT, REASONING
from triptych.rewards.judge.reply import read_score


def score(text: str) -> float:
    return read_score(Reply(text), CONTEXT)


@pytest.mark.parametrize(
    "text",
    [
        '{"score": 3}',
        '\n {"score":3}\n',
        '{"score": 3.0, "why": "one {thing} is missing"}',
        '```json\n{"score": 3}\n```',
        'Here you are: {"score": 3}. I hope that helps {you}!',
        'The set {a, b} is named.\n{"score": 3}',
        '{"score": 3}\n\n{"score": 3}',
        '<think>At first {"score": 5}, but no.</think>{"score": 3}',
        'It says {"name": "smile"}, so {"score": 3}',
    ],
)
def test_the_object_is_found_in_whatever_stands_around_it(text: str) -> None:
    assert score(text) == 0.6


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("", "empty"),
        ("<think>{}</think>", "empty"),
        ("Three points.", "no JSON object"),
        ("3", "no JSON object"),
        ("[3]", "no JSON object"),
        ('{"points": 3}', "no JSON object"),
        ('{"result": {"score": 3}}', "no JSON object"),
        ('{"score": ', "broken"),
        ('{"score": 3', "broken"),
        ('{"quote": "x", "inner": {"score": 5}, "score": ', "broken"),
        ('{"score": NaN}', "broken"),
        ('{"score": NaN, "or": {"score": 5}}', "broken"),
        ('{"score": 1, "score": 5}', "broken"),
        ("{'score': 3}", "no JSON object"),
        ('{"score": 3} or {"score": 4}', "differ"),
        ('{"score": 6}', "'6', no whole number from 0 to 5"),
        ('{"score": -1}', "no whole number"),
        ('{"score": 2.5}', "no whole number"),
        ('{"score": 1e999}', "no whole number"),
        ('{"score": "3"}', "no whole number"),
        ('{"score": true}', "no whole number"),
        ('{"score": null}', "no whole number"),
        ('{"score": [3]}', "no whole number"),
        ('{"score": 1' + "0" * 5000 + "}", "broken"),
        ('{"a":' * 5000, "broken"),
        ("x" * 50_001, "a reply of 50001 characters"),
    ],
    ids=lambda value: value[:30],
)
def test_what_is_no_score_is_neither_guessed_nor_clipped(text: str, cause: str) -> None:
    with pytest.raises(BadReplyError, match=cause):
        score(text)


def test_several_criteria_are_shares_and_none_may_be_missing() -> None:
    points = dict.fromkeys(REASONING.criteria, 1)
    assert read_score(Reply(json.dumps(points)), REASONING) == 1.0
    assert read_score(Reply(json.dumps(points | {"reflects": 0})), REASONING) == 0.8
    del points["reflects"]
    with pytest.raises(BadReplyError, match="'reflects' is missing"):
        read_score(Reply(json.dumps(points)), REASONING)
    with pytest.raises(BadReplyError, match="'reflects' is '2'"):
        read_score(Reply(json.dumps(points | {"reflects": 2})), REASONING)


def test_a_reply_that_was_cut_off_says_so() -> None:
    with pytest.raises(BadReplyError, match=r"broken JSON object \(cut off; raise judge.max_tok"):
        read_score(Reply('{"score": ', finish_reason="length"), CONTEXT)
    assert read_score(Reply('{"score": 3} as', finish_reason="length"), CONTEXT) == 0.6


@given(st.text(alphabet='{}[]":,0123456789.-eE score\\nulltrefasNI<think>/'))
def test_no_reply_breaks_the_reader(text: str) -> None:
    try:
        value = score(text)
    except BadReplyError:
        return
    assert value in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
