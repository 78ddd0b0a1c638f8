"""Being asked to stop, in real processes."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

import pytest

from triptych.training.signals import SIGNALS, StopRequest

WORK = """
import time
from triptych.training.signals import StopRequest
stop = StopRequest()
with stop:
    print("begun", flush=True)
    while stop.received is None:
        time.sleep(0.01)
    print(stop.received.name, flush=True)
    time.sleep(60)
"""


@contextmanager
def working(before: signal.Handlers = signal.SIG_DFL) -> Iterator[subprocess.Popen[str]]:
    """A process in which all signals were handled like this when it began."""

    def handle() -> None:
        for one in SIGNALS:
            signal.signal(one, before)

    with subprocess.Popen(
        [sys.executable, "-c", WORK], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=handle,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        yield process
        process.kill()


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_is_noted_and_the_second_ends_the_process(number: signal.Signals) -> None:
    with working() as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.send_signal(number)
        assert process.stdout.readline() == f"{number.name}\n"
        told = f"triptych: {number.name}: stops after this step; again stops at once\n"
        assert process.stderr.readline() == told
        process.send_signal(number)  # passed on by a launcher that got the same one
        time.sleep(1.2)
        assert process.poll() is None
        process.send_signal(number)
        process.wait(10)
        assert process.returncode == -number


def test_what_was_ignored_stays_ignored() -> None:
    with working(signal.SIG_IGN) as process:
        for number in SIGNALS:
            process.send_signal(number)
        time.sleep(0.3)
        assert process.poll() is None
        process.kill()
        assert process.communicate() == ("", "")


def test_the_handlers_of_before_come_back() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # tests may run in the background
    before = [signal.getsignal(one) for one in SIGNALS]
    stop = StopRequest()
    with stop:
        assert [signal.getsignal(one) for one in SIGNALS] != before
        signal.raise_signal(signal.SIGUSR1)
        assert stop.received is signal.SIGUSR1
    assert [signal.getsignal(one) for one in SIGNALS] == before
    with stop:
        assert stop.received is None, "asked anew"


def test_another_thread_leaves_handlers_alone() -> None:
    before = [signal.getsignal(one) for one in SIGNALS]
    seen = []

    def work() -> None:
        with StopRequest():
            seen.append([signal.getsignal(one) for one in SIGNALS])

    thread = Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]
