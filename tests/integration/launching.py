"""Commands in several processes, as `accelerate launch` and `torchrun` start them."""

import os
import socket
import subprocess
import sys
from collections.abc import Sequence


def launch(processes: int, words: Sequence[str]) -> str:
    """`triptych` with these words in so many processes of one machine; what it prints."""
    done = _launched(processes, words)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def launch_failing(processes: int, words: Sequence[str]) -> str:
    """The same where it must fail: what it says of that."""
    done = _launched(processes, words)
    assert done.returncode != 0, done.stdout[-3000:]
    return done.stderr


def _launched(processes: int, words: Sequence[str]) -> subprocess.CompletedProcess[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # accelerate itself starts several processes only where there are GPUs.
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes),
        "--master-port", str(port), "-m", "triptych", *words,
    ]  # fmt: skip
    return subprocess.run(
        command,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
