"""A judge never shows its key, whatever a server does with it."""

import asyncio
import json
import logging
import traceback
from pathlib import Path

import pytest
from judging import Answer, JudgeServer, Seen, completion, config, item, refusal, what

from triptych.endpoint import EndpointError
from triptych.rewards.judge import Judge

KEY = "sk-test-0123456789abcdefghijklmnop"


def _echo(seen: Seen) -> Answer:
    """All the ways in which a server can send the key back."""
    echo = f"you sent {json.dumps(dict(seen.headers))}"
    match int(what(seen).split()[1]) if seen.body else -1:
        case -1:
            return Answer(200, {"data": [{"id": f"model for {KEY}"}]})
        case 0:
            return Answer(200, completion(f'{{"score": 3, "why": "{KEY}"}}'))
        case 1:
            return Answer(500, echo, {"X-Echo": KEY})
        case 2:
            return refusal(400, echo)
        case 3:
            return Answer(429, {"detail": [{"msg": echo}]}, {"Retry-After": KEY})
        case 4:
            return Answer(200, completion(f"no score for {KEY}"))
        case 5:
            return Answer(200, f"<html>{KEY}")
        case 6:
            return refusal(401, "x" * 277 + KEY)  # where long texts are cut
        case _:
            return refusal(404, echo)


@pytest.mark.parametrize("last", [6, 7])
def test_the_key_appears_nowhere(
    last: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    shown: list[str] = []
    caplog.set_level(logging.DEBUG)
    with JudgeServer(answer=_echo) as server:
        settings = config(
            server.url,
            api_key_env="MY_KEY",
            cache=tmp_path / "cache.sqlite",
            max_retries=1,
            max_failures=50,
        )
        with Judge(settings) as judge:
            outcomes = asyncio.run(judge.score([*map(item, range(6))]))
            assert outcomes[0] == 0.6
            assert outcomes.count(0.6) == 1
            with pytest.raises(EndpointError) as raised:
                asyncio.run(judge.score([item(last)]))
            shown += [repr(settings), repr(judge), repr(judge.usage), str(judge.usage)]
            shown += [repr(vars(judge))]
    error: BaseException | None = raised.value
    shown += traceback.TracebackException.from_exception(raised.value, capture_locals=True).format()
    while error is not None:
        shown += [str(error), repr(error), repr(vars(error))]
        error = error.__cause__ or error.__context__
    shown += [record.getMessage() for record in caplog.records]
    shown += [caplog.text, *capfd.readouterr()]
    assert any("[key]" in text for text in shown)
    for part in (KEY, KEY[:12], KEY[-12:]):
        assert not [text for text in shown if part in text]
        for file in tmp_path.iterdir():
            assert part.encode() not in file.read_bytes()
