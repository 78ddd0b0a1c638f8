"""A judge that cannot work says so in one line; one that can keeps to its limits."""

import asyncio
import logging
import os
import subprocess
import sys
import time
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from judging import (
    MODEL,
    Answer,
    Fault,
    JudgeServer,
    Seen,
    completion,
    config,
    expected,
    item,
    refusal,
    run,
    true_answer,
    what,
)

from triptych.endpoint import EndpointError
from triptych.rewards import Unscored
from triptych.rewards.judge import Judge, JudgeUsage

KEY = "sk-test-0123456789abcdefghijklmnop"


def test_a_wrong_key_stops_the_judge_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    with JudgeServer(answer=lambda _: refusal(401, "Incorrect API key")) as server:
        settings = config(server.url, api_key_env="MY_KEY", max_concurrency=4)
        with pytest.raises(EndpointError) as raised:
            run(settings, [*map(item, range(100))])
    assert str(raised.value) == (
        f"judge {MODEL} at {server.url}: HTTP 401: Incorrect API key; put a key that this server "
        "accepts into the environment variable MY_KEY (judge.api_key_env)"
    )
    assert len(server.requests) <= 8  # those that were on their way


def test_an_error_does_not_wait_for_the_other_items() -> None:
    def answer(seen: Seen) -> Answer:
        if what(seen) == "What 0 shows.":
            return refusal(401, "Incorrect API key")
        server.closing.wait(60)
        return true_answer(seen)

    async def soon(judge: Judge) -> None:
        async with asyncio.timeout(20):
            await judge.score([item(1), item(0)])

    expectation = pytest.raises(EndpointError, match="Incorrect API key")
    with JudgeServer(answer=answer) as server, Judge(config(server.url)) as judge, expectation:
        asyncio.run(soon(judge))


def test_a_wrong_model_is_told_with_those_that_there_are() -> None:
    def answer(seen: Seen) -> Answer:
        if seen.path.endswith("/models"):
            names = ["Qwen/Qwen3-32B", "Qwen/Qwen3-4B"]
            return Answer(200, {"object": "list", "data": [{"id": name} for name in names]})
        return refusal(404, f"The model {MODEL} does not exist")

    with JudgeServer(answer=answer) as server, pytest.raises(EndpointError) as raised:
        run(config(server.url), [*map(item, range(20))])
    assert str(raised.value) == (
        f"judge {MODEL} at {server.url}: HTTP 404: The model {MODEL} does not exist; set "
        "judge.model to one that the server has: Qwen/Qwen3-32B, Qwen/Qwen3-4B"
    )


def test_a_wrong_path_is_told() -> None:
    with JudgeServer(answer=lambda _: Answer(404, {"detail": "Not Found"})) as server:
        settings = config(server.url.removesuffix("/v1"))
        with pytest.raises(
            EndpointError, match=r"HTTP 404: Not Found; see that judge\.base_url \(it"
        ):
            run(settings, [item(0)])


def test_a_server_that_is_not_there_is_told_after_the_retries() -> None:
    with JudgeServer() as server:
        address = server.url
    with pytest.raises(
        EndpointError,
        match=r"3 items in a row got no score \(unavailable 3; the last: ConnectError: .*\); "
        r"see that the server runs and that judge\.base_url is its address",
    ):
        run(config(address, max_retries=1, max_failures=3), [*map(item, range(10))])


def test_an_empty_account_is_told_at_once() -> None:
    answer = refusal(429, "You exceeded your current quota", "insufficient_quota")
    with JudgeServer(answer=lambda _: answer) as server:
        with pytest.raises(
            EndpointError, match="exceeded your current quota; see to the account's"
        ):
            run(config(server.url), [item(0)])
        assert len(server.requests) == 1


def test_a_judge_that_gave_up_asks_nothing_more() -> None:
    with (
        JudgeServer({Fault.ERROR: 1.0}) as server,
        Judge(config(server.url, max_retries=0, max_failures=2)) as judge,
    ):
        for _ in range(3):
            with pytest.raises(EndpointError, match="2 items in a row"):
                asyncio.run(judge.score([item(0), item(1)]))
        assert len(server.requests) == 2
        assert judge.usage.unscored == {Unscored.UNAVAILABLE: 2}


def test_items_that_the_server_refuses_stop_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Such as are too long for it. They are not asked again."""

    def answer(seen: Seen) -> Answer:
        if what(seen).startswith("What 3"):
            return refusal(400, "maximum context length is 4096 tokens")
        return true_answer(seen)

    with JudgeServer(answer=answer) as server, Judge(config(server.url, max_failures=2)) as judge:
        assert asyncio.run(judge.score([item(0)])) == [expected(0)]
        with caplog.at_level(logging.WARNING):
            outcomes = asyncio.run(judge.score([*map(item, (1, 2, 30, 31, 32))]))
        assert outcomes == [expected(1), expected(2), *[Unscored.FAILED] * 3]
        assert len(server.requests) == 6
    assert [record.getMessage() for record in caplog.records] == [
        f"judge {MODEL}: 3 of 5 items got no score (failed 3; the last: HTTP 400: maximum context "
        "length is 4096 tokens)"
    ]


def test_a_server_that_refuses_everything_stops_the_run() -> None:
    """Such as a setting that it does not know."""
    answer = refusal(400, "max_tokens is not supported with this model")
    with JudgeServer(answer=lambda _: answer) as server:
        with pytest.raises(
            EndpointError, match=r"2 items .*max_tokens is not .*change the setting"
        ):
            run(config(server.url, max_failures=2), [item(0), item(1)])
        assert len(server.requests) == 6  # in three forms each


def test_nothing_to_judge() -> None:
    with JudgeServer() as server:
        assert run(config(server.url), []) == ([], JudgeUsage())


def test_a_judge_that_nobody_closes_ends_with_the_process(tmp_path: Path) -> None:
    """Without a word, also while it waits for replies. A fork of the process cannot use it."""
    code = (
        "import asyncio, contextlib, os, sys, threading\n"
        "from judging import Judge, config, item\n"
        "from triptych.endpoint import EndpointError\n"
        "judge = Judge(config(sys.argv[1], cache=sys.argv[2]))\n"
        "print(asyncio.run(judge.score([item(0)])), flush=True)\n"
        "if (child := os.fork()) == 0:\n"
        "    try:\n"
        "        asyncio.run(judge.score([item(2)]))\n"
        "    except EndpointError:\n"
        "        os._exit(3)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)\n"
        "async def more():\n"
        "    with contextlib.suppress(EndpointError):\n"
        "        await judge.score([item(1)])\n"
        "threading.Thread(target=lambda: asyncio.run(more()), daemon=True).start()\n"
        "sys.stdin.readline()\n"
    )

    def answer(seen: Seen) -> Answer:
        if what(seen) == "What 1 shows.":
            assert process.stdin is not None
            process.stdin.close()
            server.closing.wait(20)
        return true_answer(seen)

    with (
        JudgeServer(answer=answer) as server,
        subprocess.Popen(
            [sys.executable, "-c", code, server.url, str(tmp_path / "cache.sqlite")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
        ) as process,
    ):
        assert process.wait(60) == 0
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read() == f"[{expected(0)}]\n3\n"
        assert process.stderr.read() == ""


@pytest.mark.parametrize("taken", ["json_schema", "json_object", None])
def test_the_form_of_the_reply_is_the_strictest_that_the_server_takes(taken: str | None) -> None:
    def answer(seen: Seen) -> Answer:
        form = seen.body.get("response_format", {}).get("type")
        if form not in (taken, None):
            return refusal(400, f"response_format {form} is not supported")
        return true_answer(seen)

    with JudgeServer(answer=answer) as server, Judge(config(server.url)) as judge:
        for index in range(3):
            assert asyncio.run(judge.score([item(index)])) == [expected(index)]
        forms = [seen.body.get("response_format", {}).get("type") for seen in server.requests]
        first = {"json_schema": 1, "json_object": 2, None: 3}[taken]
        assert forms == ["json_schema", "json_object", None][:first] + [taken] * 2
        assert judge.usage.unscored == {}


def test_the_strict_form_is_a_schema_of_whole_numbers() -> None:
    with JudgeServer() as server:
        run(config(server.url), [item(0)])
    form = server.requests[0].body["response_format"]
    assert form["json_schema"]["strict"] is True
    assert form["json_schema"]["schema"]["properties"]["score"]["enum"] == [0, 1, 2, 3, 4, 5]


def test_settings_go_with_every_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", f" {KEY}\n")
    with JudgeServer() as server:
        settings = config(
            server.url, api_key_env="MY_KEY", temperature=None, seed=5, extra_body={"top_k": 1}
        )
        run(settings, [item(0)])
        run(config(server.url), [item(0)])
    with_key, without = server.requests
    assert with_key.path == "/v1/chat/completions"
    assert with_key.headers["authorization"] == f"Bearer {KEY}"
    assert without.headers["authorization"] == "Bearer none"
    assert with_key.body["model"] == MODEL
    assert with_key.body["top_k"] == 1
    assert with_key.body["max_tokens"] == 512
    assert with_key.body["seed"] == 5
    assert "temperature" not in with_key.body
    assert without.body["temperature"] == 0.0


@pytest.mark.parametrize("wanted", ["0.3", "date"])
def test_retry_after_is_waited_for(wanted: str) -> None:
    """A date has whole seconds, so it lies between one and two seconds ahead."""
    times: list[float] = []
    asked_for: list[float] = []

    def answer(seen: Seen) -> Answer:
        times.append(time.time())
        if len(times) > 1:
            return true_answer(seen)
        until = int(times[0]) + 2 if wanted == "date" else times[0] + float(wanted)
        asked_for.append(until)
        value = formatdate(until, usegmt=True) if wanted == "date" else wanted
        return refusal(429, "slow down", **{"Retry-After": value})

    with JudgeServer(answer=answer) as server:
        outcomes, _ = run(config(server.url, max_wait=10.0), [item(0)])
    assert outcomes == [expected(0)]
    assert times[1] >= asked_for[0]


def test_a_server_that_wants_too_long_a_pause_is_left_alone() -> None:
    answer = refusal(429, "come back tomorrow", **{"Retry-After": "86400"})
    with JudgeServer(answer=lambda _: answer) as server:
        outcomes, usage = run(config(server.url), [item(0)])
    assert outcomes == [Unscored.UNAVAILABLE]
    assert usage.requests == 1


def test_no_more_requests_at_once_than_allowed_across_calls_and_threads() -> None:
    async def many(judge: Judge) -> list[Any]:
        calls = [judge.score([item(10 * n + index) for index in range(10)]) for n in range(4)]
        return await asyncio.gather(*calls)

    def answer(seen: Seen) -> Answer:
        time.sleep(0.05)
        return true_answer(seen)

    with (
        JudgeServer(answer=answer) as server,
        Judge(config(server.url, max_concurrency=3)) as judge,
    ):
        results = asyncio.run(many(judge))
    assert [score for scores in results for score in scores] == [*map(expected, range(40))]
    assert 1 < server.most_at_once <= 3


def test_the_pace_holds_across_calls() -> None:
    async def soon(judge: Judge) -> None:
        async with asyncio.timeout(1.0):
            await judge.score([item(1)])

    with (
        JudgeServer() as server,
        Judge(config(server.url, requests_per_minute=1.0)) as judge,
    ):
        assert asyncio.run(judge.score([item(0)])) == [expected(0)]
        with pytest.raises(TimeoutError):
            asyncio.run(soon(judge))
        assert len(server.requests) == 1


def test_the_same_item_is_asked_once_while_it_is_asked() -> None:
    def answer(seen: Seen) -> Answer:
        time.sleep(0.1)
        return true_answer(seen)

    with JudgeServer(answer=answer) as server:
        outcomes, usage = run(config(server.url), [item(0)] * 8 + [item(1)])
    assert outcomes == [expected(0)] * 8 + [expected(1)]
    assert len(server.requests) == 2
    assert usage.shared == 7


def test_a_caller_who_leaves_takes_the_requests_along() -> None:
    with (
        JudgeServer({Fault.SILENCE: 1.0}) as server,
        Judge(config(server.url, max_concurrency=4)) as judge,
    ):

        async def leave() -> None:
            waiting = asyncio.create_task(judge.score([*map(item, range(50))]))
            while len(server.requests) < 4:
                await asyncio.sleep(0.01)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting

        asyncio.run(leave())
        server.faults = {}
        assert asyncio.run(judge.score([item(99)])) == [expected(99)]
    assert len(server.requests) == 5


def test_tokens_and_their_price_are_counted_for_bad_replies_as_well() -> None:
    def answer(seen: Seen) -> Answer:
        if len(server.requests) == 1:
            return Answer(200, completion("no idea"))
        return true_answer(seen)

    with JudgeServer(answer=answer) as server:
        settings = config(server.url, input_price=2.0, output_price=10.0)
        _, usage = run(settings, [item(0)])
    assert (usage.prompt_tokens, usage.completion_tokens, usage.retries) == (200, 14, 1)
    assert usage.cost == pytest.approx((200 * 2.0 + 14 * 10.0) / 1e6)
