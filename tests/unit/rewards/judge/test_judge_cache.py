import logging
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from triptych.endpoint import EndpointError
from triptych.endpoint.reply import Reply
from triptych.rewards.judge import JudgeConfig, JudgeUsage
from triptych.rewards.judge.cache import KeptReply, ReplyCache

KEPT = KeptReply("judge", "context 1", 0.6, '{"score": 3}', 100, 7)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new folder" / "cache.sqlite"


def test_what_is_kept_is_found_again_after_closing(path: Path) -> None:
    cache = ReplyCache(path)
    assert cache.get("a") is None
    cache.put("a", KEPT)
    cache.put("b", KeptReply("judge", "context 1", 0.0, "\u5fae\n"))
    assert cache.get("a") == KEPT
    cache.close()

    again = ReplyCache(path)
    assert again.get("a") == KEPT
    assert again.get("b") == KeptReply("judge", "context 1", 0.0, "\u5fae\n")
    again.close()


def test_the_first_reply_stays(path: Path) -> None:
    cache = ReplyCache(path)
    cache.put("a", KEPT)
    cache.put("a", KeptReply("judge", "context 1", 1.0, "other"))
    assert cache.get("a") == KEPT
    cache.close()


def test_threads_share_it(path: Path) -> None:
    cache = ReplyCache(path)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: cache.put(str(i % 50), KEPT), range(400)))
        assert [*pool.map(lambda i: cache.get(str(i)), range(50))] == [KEPT] * 50
    cache.close()


def test_many_may_open_the_same_new_file(path: Path) -> None:
    begin = threading.Barrier(8)

    def use(index: int) -> None:
        begin.wait()
        cache = ReplyCache(path)
        cache.put(str(index), KEPT)
        cache.close()

    for _ in range(5):
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(use, range(8)))
        cache = ReplyCache(path)
        assert [cache.get(str(index)) for index in range(8)] == [KEPT] * 8
        cache.close()
        path.unlink()


class Crowded(ReplyCache):
    """Meets others who turn the log on at the same moment; it happens once in 300 times."""

    refusals = 2

    def _execute(self, query: str, *values: Any) -> Any:
        if "WAL" in query and self.refusals:
            self.refusals -= 1
            error = sqlite3.OperationalError("database is locked")
            error.sqlite_errorcode = sqlite3.SQLITE_BUSY
            raise error
        return super()._execute(query, *values)


def test_who_opens_a_new_file_at_the_same_moment_tries_again(path: Path) -> None:
    cache = Crowded(path)
    assert cache.refusals == 0
    cache.put("a", KEPT)
    assert cache.get("a") == KEPT
    assert cache._execute("PRAGMA journal_mode") == ("wal",)
    cache.close()


def test_a_writer_waits_for_another_process_that_writes(path: Path) -> None:
    cache = ReplyCache(path)
    code = (
        "import sqlite3, sys\n"
        "db = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "db.execute('BEGIN IMMEDIATE')\n"
        "print('held', flush=True)\n"
        "sys.stdin.read()\n"
        "db.execute('COMMIT')\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        holder.stdout.readline()
        writer = threading.Thread(target=cache.put, args=("a", KEPT))
        writer.start()
        writer.join(0.1)
        assert writer.is_alive()
        holder.stdin.close()
        writer.join(30)
    assert cache.get("a") == KEPT
    cache.close()


def test_a_file_that_is_something_else_is_refused_and_left_as_it_is(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("my novel, chapter one\n" * 100)
    with pytest.raises(EndpointError, match=r"judge\.cache: .*cache\.sqlite cannot be used"):
        ReplyCache(path)
    assert path.read_text().startswith("my novel")

    path.unlink()
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE recipes (name TEXT)")
    database.close()
    before = path.read_bytes()
    with pytest.raises(EndpointError, match="it holds something else"):
        ReplyCache(path)
    assert path.read_bytes() == before


def test_a_cache_of_a_later_version_is_refused(path: Path) -> None:
    ReplyCache(path).close()
    database = sqlite3.connect(path)
    database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(EndpointError, match="it holds something else"):
        ReplyCache(path)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EndpointError, match=r"judge\.cache: .*file/cache cannot be used"):
        ReplyCache(tmp_path / "file" / "cache")


def test_a_file_that_is_damaged_later_is_named(path: Path) -> None:
    cache = ReplyCache(path)
    for index in range(200):
        cache.put(str(index), KEPT)
    cache.close()
    data = bytearray(path.read_bytes())
    data[4096:] = b"\x99" * (len(data) - 4096)
    path.write_bytes(data)
    cache = ReplyCache(path)
    with pytest.raises(EndpointError, match=r"cannot be read .*remove it"):
        cache.get("150")
    cache.close()


def test_a_full_disk_is_told_once(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache = ReplyCache(path)
    cache._database.execute("PRAGMA max_page_count = 2")
    with caplog.at_level(logging.WARNING):
        for index in range(50):
            cache.put(str(index), KeptReply("judge", "context 1", 0.5, "x" * 1000))
    assert [record.getMessage() for record in caplog.records] == [
        f"{path}: cannot be written (database or disk is full); the judge's replies are not kept "
        "from now on"
    ]
    cache.close()


def test_the_cost_is_what_the_tokens_cost() -> None:
    usage = JudgeUsage().plus_reply(Reply("", 2_000_000, 500_000)).plus_reply(Reply("", 5, None))
    assert (usage.prompt_tokens, usage.completion_tokens, usage.uncounted) == (
        2_000_000,
        500_000,
        1,
    )
    assert usage.priced(JudgeConfig()).cost is None
    priced = usage.priced(JudgeConfig(input_price=0.5, output_price=2.0))
    assert priced.cost == pytest.approx(2.0)
    assert str(priced).endswith("2000000 + 500000 tokens (1 replies without a count), cost 2")
    assert usage.priced(JudgeConfig(input_price=0.0, output_price=0.0)).cost == 0.0
