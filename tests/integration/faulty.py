"""An OpenAI-compatible server on loopback: known answers, and faults that are seeded."""

import json
import random
import socket
import struct
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

MODEL = "stern-judge"
IMPATIENT = 1.0
"""Seconds that clients wait for servers that are silent or slow."""


class Fault(StrEnum):
    """What a server does in place of answering."""

    SILENCE = "silence"
    DRIP = "drip"
    RATE_LIMIT = "rate_limit"
    ERROR = "error"
    CUT = "cut"
    MALFORMED = "malformed"
    OFF_SCALE = "off_scale"


@dataclass(frozen=True)
class Seen:
    """A request that arrived."""

    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]

    @property
    def text(self) -> str:
        """The last text of the user's message."""
        content = self.body["messages"][-1]["content"]
        text: str = content if isinstance(content, str) else content[-1]["text"]
        return text


@dataclass(frozen=True)
class Answer:
    """A response: a status, a JSON value or a text, and further headers."""

    status: int
    body: Any
    headers: Mapping[str, str] = field(default_factory=dict)


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


class FaultyServer:
    """Serves while it is entered.

    Args:
        faults: the share of requests that meet each.
        seed: of the faults; what an item meets at its n-th request does not depend on others.
        answer: what is answered where there is no fault.
        name: of the item that a request asks about.
        spoilt: what is answered where the fault is a bad reply.
        slow: seconds that it is silent, and half of those that it drips.
    """

    def __init__(
        self,
        faults: Mapping[Fault, float] | None = None,
        seed: int = 0,
        *,
        answer: Callable[[Seen], Answer],
        name: Callable[[Seen], str],
        spoilt: Callable[[Fault, Seen, random.Random], Answer],
        slow: float = 4.0,
    ) -> None:
        self.faults, self.seed, self.answer = dict(faults or {}), seed, answer
        self.name, self.spoilt, self.slow = name, spoilt, slow
        self.requests: list[Seen] = []
        self.met: dict[str, list[Fault | None]] = defaultdict(list)
        """What each request of each item met."""
        self.most_at_once = 0
        self.closing = threading.Event()
        self._at_once, self._lock = 0, threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.owner = self

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
            item = self.name(seen)
            draw = random.Random(f"{self.seed} {item} {len(self.met[item])}").random()
            fault = None
            for name, share in self.faults.items():
                if fault is None and draw < share:
                    fault = name
                draw -= share
            self.met[item].append(fault)
            return fault

    def done(self) -> None:
        with self._lock:
            self._at_once -= 1


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 128
    owner: FaultyServer

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
        self._send(self.server.owner.answer(seen))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        seen = Seen(self.path, self._lower_headers(), json.loads(body))
        fault = self.server.owner.take(seen)
        try:
            self._answer(seen, fault)
        finally:
            self.server.owner.done()

    def _answer(self, seen: Seen, fault: Fault | None) -> None:
        rng = random.Random(self.server.owner.name(seen))
        match fault:
            case None:
                self._send(self.server.owner.answer(seen))
            case Fault.SILENCE:
                self.server.owner.closing.wait(self.server.owner.slow)
                self.close_connection = True
            case Fault.DRIP:
                self._drip(json.dumps(self.server.owner.answer(seen).body).encode())
            case Fault.RATE_LIMIT:
                error = {"error": {"message": "slow down", "code": "rate_limit_exceeded"}}
                self._send(Answer(429, error, {"Retry-After": "0.02"}))
            case Fault.ERROR:
                self._send(Answer(rng.choice([500, 502, 503]), "<h1>Oops</h1>"))
            case Fault.CUT:
                self._cut(json.dumps(self.server.owner.answer(seen).body).encode(), rng)
            case Fault.MALFORMED | Fault.OFF_SCALE:
                self._send(self.server.owner.spoilt(fault, seen, rng))

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
        pause = 2 * self.server.owner.slow / len(data)
        for index in range(len(data)):
            if self.server.owner.closing.is_set():
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
