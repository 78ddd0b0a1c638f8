"""One of two processes dies or hangs: the other says so and ends, in less than a minute."""

import signal
import time
from pathlib import Path

import pytest
from distributed_runs import start_apart

from triptych.runs import RunFolder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("victim", "fate"), [(1, signal.SIGKILL), (0, signal.SIGKILL), (1, signal.SIGSTOP)]
)
def test_the_other_ends(
    victim: int, fate: signal.Signals, tiny_folder: Path, clips_folder: Path, tmp_path: Path
) -> None:
    run, log = RunFolder.create(tmp_path / "run"), tmp_path / "log"
    processes = start_apart(
        "endless", log, tiny_folder, clips_folder / "cold-start.jsonl", run.path
    )
    try:
        until = time.monotonic() + 300
        while not run.metrics_path.exists() or run.metrics_path.read_bytes().count(b"\n") < 2:
            assert all(process.poll() is None for process in processes), log.with_suffix(".0")
            assert time.monotonic() < until
            time.sleep(0.05)
        processes[victim].send_signal(fate)
        begun = time.monotonic()
        assert processes[1 - victim].wait(timeout=60) == 1
        print(f"ended after {time.monotonic() - begun:.0f} s")
    finally:
        for process in processes:
            process.kill()
            process.wait()
    message = log.with_suffix(f".{1 - victim}").read_text().splitlines()[-1]
    assert message.startswith(f"Error: rank {victim} gave no sign of life for 3")
    assert f":{processes[victim].pid}): " in message
    assert " of step " in message
    # Steps that were made are there, and nothing is half written.
    assert [line["step"] for line in run.metrics("sft")][:2] == [1, 2]
