"""Scored replies on disk: one SQLite file, which several processes may share.

A reply is committed by itself as soon as it has its score, so that a process that is killed loses
none that it was given. The write-ahead log lets readers and one writer work side by side; it needs
a local disk.
"""

import logging
import sqlite3
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random

from triptych.endpoint import EndpointError

_log = logging.getLogger(__name__)

_VERSION = 1
_PATIENCE = 60.0  # seconds for another process to let go of the file
_TABLE = """
CREATE TABLE IF NOT EXISTS replies (
    key TEXT PRIMARY KEY,
    model TEXT NOT NULL,
    rubric TEXT NOT NULL,
    score REAL NOT NULL,
    reply TEXT NOT NULL,
    prompt_tokens INTEGER,
    completion_tokens INTEGER,
    time REAL NOT NULL
) WITHOUT ROWID
"""


@dataclass(frozen=True)
class KeptReply:
    """A scored reply.

    Attributes:
        model: that judged.
        rubric: name and version.
        score: in [0, 1].
        reply: what the model wrote.
        prompt_tokens: as the server counted.
        completion_tokens: likewise.
    """

    model: str
    rubric: str
    score: float
    reply: str
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class ReplyCache:
    """A file of scored replies. Threads may share it, and so may processes.

    Raises:
        EndpointError: the file cannot be opened, or holds something else.
    """

    def __init__(self, path: Path) -> None:
        self._path = Path(path)
        self._lock = threading.Lock()
        self._gives_up = False
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(
                self._path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False
            )
            try:
                # SQLite waits for others by itself, but not where two turn the log on at once.
                Retrying(
                    retry=retry_if_exception(_is_busy),
                    wait=wait_random(0.005, 0.05),
                    stop=stop_after_delay(_PATIENCE),
                    reraise=True,
                )(self._prepare)
            except BaseException:
                self._database.close()
                raise
        except (OSError, sqlite3.Error) as error:
            raise EndpointError(
                f"judge.cache: {self._path} cannot be used as a cache ({error}); name a new file "
                "on a local disk"
            ) from error

    def get(self, key: str) -> KeptReply | None:
        """The reply that is kept under a key.

        Raises:
            EndpointError: the file is damaged.
        """
        query = (
            "SELECT model, rubric, score, reply, prompt_tokens, completion_tokens "
            "FROM replies WHERE key = ?"
        )
        try:
            row = self._execute(query, key)
        except sqlite3.Error as error:
            raise EndpointError(
                f"judge.cache: {self._path} cannot be read ({error}); remove it, or name another"
            ) from error
        return KeptReply(*row) if row else None

    def put(self, key: str, kept: KeptReply) -> None:
        """Keep a reply; the first under a key stays. A full disk is told once, and no more."""
        if self._gives_up:
            return
        query = "INSERT OR IGNORE INTO replies VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
        values = (
            kept.model,
            kept.rubric,
            kept.score,
            kept.reply,
            kept.prompt_tokens,
            kept.completion_tokens,
            time.time(),
        )
        try:
            self._execute(query, key, *values)
        except sqlite3.Error as error:
            self._gives_up = True
            _log.warning(
                "%s: cannot be written (%s); the judge's replies are not kept from now on",
                self._path,
                error,
            )

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()

    def _prepare(self) -> None:
        # All at once: another process may be about to prepare the same new file.
        self._execute("BEGIN IMMEDIATE")
        try:
            (version,) = self._execute("PRAGMA user_version")
            (tables,) = self._execute("SELECT count(*) FROM sqlite_master")
            if version not in (0, _VERSION) or (version == 0 and tables):
                raise sqlite3.DatabaseError("it holds something else")
            self._execute(_TABLE)
            self._execute(f"PRAGMA user_version = {_VERSION}")
        except BaseException:
            self._execute("ROLLBACK")
            raise
        self._execute("COMMIT")
        self._execute("PRAGMA journal_mode = WAL")
        self._execute("PRAGMA synchronous = NORMAL")  # of the latest, a power cut may take some

    def _execute(self, query: str, *values: Any) -> Any:
        """The first row that a statement gives."""
        with self._lock:
            cursor = self._database.execute(query, values)
            try:
                return cursor.fetchone()
            finally:
                cursor.close()


def _is_busy(error: BaseException) -> bool:
    return (
        isinstance(error, sqlite3.OperationalError)
        and error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
    )
