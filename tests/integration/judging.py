"""A server that judges: real HTTP on loopback, scores that are known, faults that are seeded.

Also a program: ``python judging.py ADDRESS CACHE COUNT`` judges so many items and prints the
outcomes as JSON, for tests that kill it or run two of it.
"""

import asyncio
import json
import random
import socket
import struct
import sys
import threading
import time
import zlib
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

from triptych.rewards import Unscored
from triptych.rewards.judge import CONTEXT, Judge, JudgeConfig, JudgeUsage, Query

MODEL = "stern-judge"
IMPATIENT = 0.4
"""Seconds that clients wait for servers that are silent or slow."""
_LONG = 1.0  # seconds that those servers take


class Fault(StrEnum):
    """What a server does in place of answering."""

    SILENCE = "silence"
    DRIP = "drip"
    RATE_LIMIT = "rate_limit"
    ERROR = "error"
    CUT = "cut"
    MALFORMED = "malformed"
    OFF_SCALE = "off_scale"


REASONS = {
    Fault.SILENCE: Unscored.TIMEOUT,
    Fault.DRIP: Unscored.TIMEOUT,
    Fault.RATE_LIMIT: Unscored.UNAVAILABLE,
    Fault.ERROR: Unscored.UNAVAILABLE,
    Fault.CUT: Unscored.UNAVAILABLE,
    Fault.MALFORMED: Unscored.BAD_REPLY,
    Fault.OFF_SCALE: Unscored.BAD_REPLY,
}
"""What an item is recorded with whose last try met the fault."""

_MALFORMED = ("", "Good.", '{"score": ', '{"points": 4}', '{"score": 1}{"score": 2}', "[5]")
_OFF_SCALE = ("6", "-1", "2.5", "NaN", "1e999", '"5"', "true", "null", "[3]")


@dataclass(frozen=True)
class Seen:
    """A request that arrived."""

    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]

    @property
    def data(self) -> dict[str, Any]:
        """What was to be judged."""
        content = self.body["messages"][1]["content"]
        text = content if isinstance(content, str) else content[-1]["text"]
        found: dict[str, Any] = json.loads(text)
        return found

    @property
    def item(self) -> str:
        return "\n".join(self.data["candidate"].values())


@dataclass(frozen=True)
class Answer:
    """A response: a status, a JSON value or a text, and further headers."""

    status: int
    body: Any
    headers: Mapping[str, str] = field(default_factory=dict)


def points(item: str) -> int:
    """What the item deserves, 0 to 5."""
    return zlib.crc32(item.encode()) % 6


def completion(content: str, **more: Any) -> dict[str, Any]:
    """A chat completion as servers send it."""
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 0,
        "model": MODEL,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": content},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 100, "completion_tokens": 7, "total_tokens": 107},
        **more,
    }


def refusal(status: int, message: Any, code: str | None = None, **headers: str) -> Answer:
    """An error as servers send it."""
    return Answer(status, {"error": {"message": message, "code": code}}, headers)


def true_answer(seen: Seen) -> Answer:
    return Answer(200, completion(json.dumps({"score": points(seen.item)})))


class JudgeServer:
    """Serves while it is entered.

    Args:
        faults: the share of requests that meet each.
        seed: of the faults; what an item meets at its n-th request does not depend on others.
        answer: what is answered where there is no fault.
    """

    def __init__(
        self,
        faults: Mapping[Fault, float] | None = None,
        seed: int = 0,
        answer: Callable[[Seen], Answer] = true_answer,
    ) -> None:
        self.faults, self.seed, self.answer = dict(faults or {}), seed, answer
        self.requests: list[Seen] = []
        self.met: dict[str, list[Fault | None]] = defaultdict(list)
        """What each request of each item met."""
        self.most_at_once = 0
        self.closing = threading.Event()
        self._at_once, self._lock = 0, threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.judge = self

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()  # waits for the connections to end

    def take(self, seen: Seen) -> Fault | None:
        """Note a request, and draw its fault."""
        with self._lock:
            self.requests.append(seen)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            if not self.faults:
                return None
            draw = random.Random(f"{self.seed} {seen.item} {len(self.met[seen.item])}").random()
            fault = None
            for name, share in self.faults.items():
                if fault is None and draw < share:
                    fault = name
                draw -= share
            self.met[seen.item].append(fault)
            return fault

    def done(self) -> None:
        with self._lock:
            self._at_once -= 1


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 128
    judge: JudgeServer

    def handle_error(self, *_: Any) -> None:
        """Clients go away; that is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 5.0  # of a connection that nobody uses
    server: _Server

    def log_message(self, *_: Any) -> None:
        pass

    def _lower_headers(self) -> dict[str, str]:
        return {name.lower(): value for name, value in self.headers.items()}

    def do_GET(self) -> None:
        seen = Seen(self.path, self._lower_headers(), {})
        self._send(self.server.judge.answer(seen))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        seen = Seen(self.path, self._lower_headers(), json.loads(body))
        fault = self.server.judge.take(seen)
        try:
            self._answer(seen, fault)
        finally:
            self.server.judge.done()

    def _answer(self, seen: Seen, fault: Fault | None) -> None:
        rng = random.Random(seen.item)
        match fault:
            case None:
                self._send(self.server.judge.answer(seen))
            case Fault.SILENCE:
                self.server.judge.closing.wait(_LONG)
                self.close_connection = True
            case Fault.DRIP:
                self._drip(json.dumps(true_answer(seen).body).encode())
            case Fault.RATE_LIMIT:
                error = {"error": {"message": "slow down", "code": "rate_limit_exceeded"}}
                self._send(Answer(429, error, {"Retry-After": "0.02"}))
            case Fault.ERROR:
                self._send(Answer(rng.choice([500, 502, 503]), "<h1>Oops</h1>"))
            case Fault.CUT:
                self._cut(json.dumps(true_answer(seen).body).encode(), rng)
            case Fault.MALFORMED:
                text = rng.choice([*_MALFORMED, None])
                whole = completion(text) if text is not None else "<html>"
                self._send(Answer(200, whole))
            case Fault.OFF_SCALE:
                self._send(Answer(200, completion(f'{{"score": {rng.choice(_OFF_SCALE)}}}')))

    def _send(self, answer: Answer) -> None:
        body = answer.body if isinstance(answer.body, str) else json.dumps(answer.body)
        data = body.encode()
        self._head(answer.status, len(data), answer.headers)
        self.wfile.write(data)

    def _head(self, status: int, length: int, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(length))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()

    def _drip(self, data: bytes) -> None:
        """Byte by byte: each comes in time, the whole does not."""
        self._head(200, len(data))
        pause = 2 * _LONG / len(data)
        for index in range(len(data)):
            if self.server.judge.closing.is_set():
                break
            self.wfile.write(data[index : index + 1])
            time.sleep(pause)
        self.close_connection = True

    def _cut(self, data: bytes, rng: random.Random) -> None:
        """Hang up: before anything was said, or in the middle of it; politely or not."""
        if rng.random() < 0.5:
            self._head(200, len(data))
            self.wfile.write(data[: len(data) // 2])
        if rng.random() < 0.5:
            reset = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
        self.close_connection = True


# ---------------------------------------------------------------- the client's side


def config(url: str, **more: Any) -> JudgeConfig:
    """A judge's settings, in the times of a test."""
    quick: dict[str, Any] = {
        "api_key_env": "NO_KEY_FOR_THESE_TESTS",
        "timeout": 30.0,
        "backoff": 0.004,
        "max_wait": 0.1,
        "max_retries": 200,
    }
    return JudgeConfig(base_url=url, model=MODEL, **{**quick, **more})


def item(index: int) -> Query:
    return Query(CONTEXT, {"reference": "A man smiles."}, {"context": f"What {index} shows."})


def expected(index: int) -> float:
    return points(f"What {index} shows.") / 5


def run(settings: JudgeConfig, queries: list[Query]) -> tuple[list[float | Unscored], JudgeUsage]:
    """The outcomes of a judge of its own."""
    with Judge(settings) as judge:
        return asyncio.run(judge.score(queries)), judge.usage


def main(url: str, cache: str, count: str) -> None:
    settings = config(url, cache=Path(cache), max_concurrency=8)
    outcomes, _ = run(settings, [item(index) for index in range(int(count))])
    print(json.dumps(outcomes))


if __name__ == "__main__":
    main(*sys.argv[1:])
