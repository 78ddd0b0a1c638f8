import json
from typing import Any

import pytest

from triptych.endpoint.reply import BadReplyError, Reply, read_body


def body(**choice: Any) -> bytes:
    return json.dumps({"choices": [choice], "usage": {"prompt_tokens": 9}}).encode()


def test_a_response_holds_a_reply() -> None:
    whole = {
        "choices": [{"message": {"content": "hi"}, "finish_reason": "length"}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 2},
    }
    assert read_body(json.dumps(whole).encode()) == Reply("hi", 9, 2, "length")
    parts = [{"type": "text", "text": "h"}, {"type": "other"}, {"type": "text", "text": "i"}]
    assert read_body(body(message={"content": parts})) == Reply("hi", 9, None)
    assert read_body(body(message={"content": None})) == Reply("", 9)


def test_what_a_server_tells_apart_from_the_text() -> None:
    refused = {"content": None, "refusal": "no"}
    assert read_body(body(message=refused, finish_reason="stop")) == Reply(
        "", 9, None, "stop", refusal="no"
    )
    for names in (["reasoning_content"], ["reasoning"], ["reasoning", "reasoning_content"]):
        message = {"content": "B", **dict.fromkeys(names, "so B")}
        assert read_body(body(message=message)) == Reply("B", 9, reasoning="so B")


def stream(*events: Any, end: str = "data: [DONE]\n\n") -> bytes:
    lines = "".join(f"data: {json.dumps(event, ensure_ascii=False)}\n\n" for event in events)
    return (": hello\n\n" + lines + end).encode()


def piece(finish_reason: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]}


USED = {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 2}}


@pytest.mark.parametrize("end", ["data: [DONE]\n\n", ""])
def test_a_stream_of_pieces_is_one_reply(end: str) -> None:
    pieces = (
        piece(role="assistant", content=""),
        piece(reasoning_content="so "),
        piece(reasoning_content="B", content=None),
        piece(content="<ans\u2028wer>"),
        piece(content="B"),
        piece("stop"),
        USED,
    )
    whole = Reply("<ans\u2028wer>B", 9, 2, "stop", reasoning="so B")
    assert read_body(stream(*pieces, end=end)) == whole
    assert read_body(stream(*pieces, end=end).replace(b"\n", b"\r\n")) == whole
    assert read_body(stream(piece("stop", refusal="no"))) == Reply(
        "", finish_reason="stop", refusal="no"
    )


@pytest.mark.parametrize(
    ("response", "cause"),
    [
        (stream(piece(content="B"), end=""), "ended before the reply did"),
        (stream(piece(content="B"), USED), "ended before the reply did"),
        (stream(piece(content="B"), {"error": {"message": "too busy"}}), "broke off: too busy"),
        (stream(piece(content="B"), {"error": "too busy"}), "broke off: too busy"),
        (stream(), "no message"),
        (stream(USED), "no message"),
        (stream(piece(content="B"))[:40], "not JSON"),
        (b"data: \xff", "not JSON"),
    ],
)
def test_a_stream_that_holds_no_whole_reply(response: bytes, cause: str) -> None:
    with pytest.raises(BadReplyError, match=cause):
        read_body(response)


@pytest.mark.parametrize(
    "response",
    [
        b"",
        b"<html>",
        b"\xff\xfe\x00",
        b"null",
        b"[]",
        b"{}",
        b'{"choices": []}',
        b'{"choices": {}}',
        b'{"choices": [null]}',
        b'{"choices": [{"message": "hi"}]}',
        b"[" * 100_000,
    ],
    ids=lambda value: value[:20].decode("latin-1"),
)
def test_a_response_without_a_reply(response: bytes) -> None:
    with pytest.raises(BadReplyError, match="the response"):
        read_body(response)


@pytest.mark.parametrize("count", [-1, 1.5, "9", True, None, []])
def test_a_count_of_tokens_that_is_none_is_not_taken(count: Any) -> None:
    whole = {"choices": [{"message": {"content": "hi"}}], "usage": {"prompt_tokens": count}}
    assert read_body(json.dumps(whole).encode()).prompt_tokens is None
