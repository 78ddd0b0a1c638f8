"""What the watchdog makes of the signs of life of other processes."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from triptych.errors import Preempted
from triptych.training.watchdog import DONE, Beat, RankError, Watchdog

BEAT, SILENT, LIMIT = 0.02, 0.4, 20.0


def dog(folder: Path, ended: list[str], patience: float = 0.0, processes: int = 2) -> Watchdog:
    return Watchdog(
        folder, 0, processes, patience, lambda: ("rollout", 4),
        end=ended.append, beat_seconds=BEAT, silent_seconds=SILENT,
    )  # fmt: skip


def write(folder: Path, beat: Beat) -> None:
    (folder / f"rank-{beat.rank}.json").write_text(json.dumps(asdict(beat)))


def read(folder: Path, rank: int = 0) -> Beat:
    return Beat(**json.loads((folder / f"rank-{rank}.json").read_text()))


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Callable[..., None]]:
    """Another process that lives; what it says can be changed."""
    fields: dict[str, Any] = {"attempt": "a", "phase": "update", "step": 3, "where": "x.py:1 f"}
    stop = threading.Event()

    def serve() -> None:
        beats = 0
        while not stop.wait(BEAT):
            beats += 1
            moves = beats if fields.get("moves") is None else fields["moves"]
            write(tmp_path, Beat(1, "far:7", **{**fields, "beats": beats, "moves": moves}))

    thread = threading.Thread(target=serve)
    thread.start()
    yield fields.update
    stop.set()
    thread.join()


def wait_for(ended: list[str], seconds: float = LIMIT) -> str:
    """Stand still, as in a collective operation, until the watchdog ends the process."""
    done = threading.Event()

    def poll() -> None:
        until = time.monotonic() + seconds
        while not ended and time.monotonic() < until:
            time.sleep(0.01)
        done.set()

    threading.Thread(target=poll).start()
    done.wait()
    return ended[0] if ended else ""


def test_says_what_the_main_thread_does(tmp_path: Path, other: Callable[..., None]) -> None:
    with dog(tmp_path, []).watching("a"):
        wait_for([], 0.3)
        beat = read(tmp_path)
        assert (beat.phase, beat.step, beat.ended) == ("rollout", 4, None)
        assert "threading.py" in beat.where
        assert not beat.in_torch
    assert read(tmp_path).ended == DONE


def test_a_silent_process_is_named(tmp_path: Path) -> None:
    ended: list[str] = []
    write(tmp_path, Beat(1, "far:7", "a", phase="rollout", step=2, where="local.py:9 _decode"))
    with dog(tmp_path, ended).watching("a"):
        message = wait_for(ended)
    assert message.startswith("rank 1 gave no sign of life for ")
    assert "rank 1 (far:7): rollout of step 3, for " in message
    assert "local.py:9 _decode" in message
    assert "--resume" in message


def test_a_process_that_never_began_is_named(tmp_path: Path) -> None:
    ended: list[str] = []
    with dog(tmp_path, ended).watching("a"):
        assert "it never began" in wait_for(ended)


def test_what_failed_elsewhere_is_told(tmp_path: Path, other: Callable[..., None]) -> None:
    ended: list[str] = []
    other(ended="MediaError: clip.mp4: no frames")
    with dog(tmp_path, ended).watching("a"):
        message = wait_for(ended)
    assert message == "rank 1 (far:7) failed: MediaError: clip.mp4: no frames"


def test_an_earlier_start_of_the_run_does_not_count(
    tmp_path: Path, other: Callable[..., None]
) -> None:
    ended: list[str] = []
    other(attempt="before", ended="OutOfMemory: ...")
    with dog(tmp_path, ended).watching("a"):
        assert "it never began" in wait_for(ended)


def test_who_gets_on_is_not_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a process that waits has to know of another's death; it may still finish its work."""
    monkeypatch.setattr("triptych.training.watchdog.WAIT_BEATS", 1000)
    ended: list[str] = []
    with dog(tmp_path, ended).watching("a"):
        wait_for(ended, 3 * SILENT)
    assert not ended


def test_a_process_that_is_done_may_be_silent(tmp_path: Path) -> None:
    ended: list[str] = []
    write(tmp_path, Beat(1, "far:7", "a", ended=DONE))
    with dog(tmp_path, ended).watching("a"):
        wait_for(ended, 2 * SILENT)
    assert not ended


def test_all_waiting_for_each_other_ends_the_run(
    tmp_path: Path, other: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("triptych.training.watchdog._TORCH", str(Path(threading.__file__).parent))
    ended: list[str] = []
    other(moves=5, in_torch=True)
    with dog(tmp_path, ended, patience=0.3).watching("a"):
        message = wait_for(ended)
    assert message.startswith("no process has got on for ")
    assert "rank 0 (" in message
    assert "rollout of step 5" in message
    assert "rank 1 (far:7): update of step 4" in message


@pytest.mark.parametrize("elsewhere", [{"moves": None, "in_torch": True}, {"moves": 5}])
def test_a_wait_for_one_that_works_is_told_and_goes_on(
    elsewhere: dict[str, Any],
    tmp_path: Path,
    other: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It gets on, or it waits for something that is not another process: a judge, say."""
    monkeypatch.setattr("triptych.training.watchdog._TORCH", str(Path(threading.__file__).parent))
    ended: list[str] = []
    other(**elsewhere)
    with dog(tmp_path, ended, patience=0.3).watching("a"):
        wait_for(ended, 1.0)
    assert not ended
    told = capsys.readouterr().err
    assert "rank 0 has waited for " in told
    assert "rank 1 (far:7): update of step 4" in told
    assert told.count("has waited") <= 3, "once in every `patience` seconds"


def test_a_broken_connection_is_explained(tmp_path: Path) -> None:
    with (
        pytest.raises(RankError, match="rank 1 gave no sign of life") as raised,
        dog(tmp_path, []).watching("a"),
    ):
        raise torch.distributed.DistNetworkError("Connection closed by peer [127.0.0.1]:2")
    assert isinstance(raised.value.__cause__, RuntimeError)
    ended = read(tmp_path).ended
    assert str(ended).startswith("ended because of another")


def test_an_error_of_its_own_stays_what_it_is(tmp_path: Path, other: Callable[..., None]) -> None:
    with pytest.raises(ValueError, match="mine"), dog(tmp_path, []).watching("a"):
        raise ValueError("mine")
    assert read(tmp_path).ended == "ValueError: mine"


def test_a_preempted_process_is_done(tmp_path: Path, other: Callable[..., None]) -> None:
    with pytest.raises(Preempted), dog(tmp_path, []).watching("a"):
        raise Preempted("SIGTERM")
    assert read(tmp_path).ended == DONE


def test_a_single_process_is_not_watched(tmp_path: Path) -> None:
    with dog(tmp_path / "none", [], processes=1).watching("a"):
        assert all(thread.name != "watchdog" for thread in threading.enumerate())
    assert not (tmp_path / "none").exists()


def test_the_end_comes_whatever_the_main_thread_waits_for(tmp_path: Path) -> None:
    program = f"""
import threading
from pathlib import Path
from triptych.training.watchdog import Watchdog
dog = Watchdog(Path({str(tmp_path)!r}), 0, 2, 0, lambda: ("update", 0),
               beat_seconds=0.05, silent_seconds=0.5)
with dog.watching("a"):
    threading.Lock().acquire() and threading.Event().wait()
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("Error: rank 1 gave no sign of life")
