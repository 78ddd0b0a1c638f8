"""A command that is killed while it writes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path


def kill_in_the_middle(journal: Path, words: Sequence[str]) -> None:
    """SIGKILL `triptych WORDS` as soon as it has written two lines of `journal`."""
    with subprocess.Popen(
        [sys.executable, "-m", "triptych", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},  # as many as the test process has
    ) as process:
        while process.poll() is None and not (
            journal.exists() and journal.read_bytes().count(b"\n") >= 2
        ):
            time.sleep(0.005)
        process.kill()
    assert process.returncode == -signal.SIGKILL
