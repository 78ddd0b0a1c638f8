"""How a request can fail: what becomes of an item, and what stops the run."""

import email.utils
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from enum import StrEnum

from triptych.errors import TriptychError


class EndpointError(TriptychError):
    """A model behind a server cannot be used, or gave nothing for too many items in a row."""


class FailureReason(StrEnum):
    """Why an item got nothing, in one word to count by."""

    TIMEOUT = "timeout"
    """No whole reply came in time, however often it was asked."""

    UNAVAILABLE = "unavailable"
    """The server could not be reached, or refused for now: connection, rate limit, server error."""

    BAD_REPLY = "bad_reply"
    """A reply came, and what was wanted could not be read from it."""

    FAILED = "failed"
    """The server refuses this request: it is too long, or has a field that it does not know."""


class Remedy(StrEnum):
    """What may help after a request has failed."""

    RETRY = "retry"
    """Ask again later."""

    NONE = "none"
    """Nothing: the server refuses this request, whenever it is sent."""

    STOP = "stop"
    """Nothing, and other requests would fare no better: key, address or model are wrong."""


@dataclass(frozen=True)
class Failure:
    """Why a request gave nothing.

    Attributes:
        reason: what an item is recorded with that is not asked again.
        cause: in words; never holds the key.
        remedy: what may help.
        status: of the HTTP response, where there was one.
        retry_after: seconds that the server wants to be left alone for.
        advice: what to do about it, where the status does not say (`Remedy.STOP`).
    """

    reason: FailureReason
    cause: str
    remedy: Remedy = Remedy.RETRY
    status: int | None = None
    retry_after: float = 0.0
    advice: str = ""


class RequestError(Exception):
    """A request has failed. Raised without the library's own exception, which holds the key."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.cause)
        self.failure = failure


_TO_RETRY = (408, 409, 425, 429)
_OF_THE_REQUEST = (400, 413, 422)  # too long, or a field that the server does not know
_OUT_OF_FUNDS = ("insufficient_quota", "billing_hard_limit_reached")


def failure_of_status(
    status: int, cause: str, code: str | None, headers: Mapping[str, str]
) -> Failure:
    """What an HTTP error status means.

    Args:
        status: of the response.
        cause: what the server says, fit to be shown.
        code: the server's own name of the error.
        headers: of the response, names in lower case.
    """
    cause = f"HTTP {status}: {cause}" if cause else f"HTTP {status}"
    wait = seconds_to_wait(headers)
    if code in _OUT_OF_FUNDS:
        return Failure(FailureReason.UNAVAILABLE, cause, Remedy.STOP, status)
    if status in _TO_RETRY or status >= 500:
        reason = FailureReason.TIMEOUT if status in (408, 504) else FailureReason.UNAVAILABLE
        return Failure(reason, cause, Remedy.RETRY, status, wait)
    if status in _OF_THE_REQUEST:
        return Failure(FailureReason.FAILED, cause, Remedy.NONE, status)
    return Failure(FailureReason.UNAVAILABLE, cause, Remedy.STOP, status)


def seconds_to_wait(headers: Mapping[str, str]) -> float:
    """What Retry-After asks for, as seconds or as a date; 0 where it says nothing that is clear.

    Some servers are more exact in a header of their own, retry-after-ms.
    """
    value = headers.get("retry-after", "").strip()
    try:
        exact = headers.get("retry-after-ms")
        seconds = float(exact) / 1000 if exact else float(value)
    except ValueError:
        try:
            until = email.utils.parsedate_to_datetime(value)
        except (ValueError, TypeError, IndexError, OverflowError):
            return 0.0
        # "-0000" gives a time without a zone; HTTP dates are in GMT.
        seconds = until.replace(tzinfo=until.tzinfo or UTC).timestamp() - time.time()
    return seconds if math.isfinite(seconds) and seconds > 0 else 0.0
