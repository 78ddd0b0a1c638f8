"""Decoding in workers: the same results, and faults that cost one file.

Real workers are stopped and killed here: to its owner, a stopped process is a decoder that hangs.
"""

import gc
import os
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from triptych.data.decode_worker import Decoded, decode_media
from triptych.data.decoding import DecodeLimits, DecodePool
from triptych.data.media import Audio, MediaBudget, Video
from triptych.data.sample import Media, MediaKind
from triptych.errors import ConfigError, MediaError, TriptychError

BUDGET = MediaBudget(fps=4.0, max_seconds=0.5, max_pixels=2000)  # cuts something of everything


@pytest.fixture
def picture(tmp_path: Path) -> Media:
    path = tmp_path / "picture.png"
    Image.linear_gradient("L").save(path)
    return Media(kind=MediaKind.IMAGE, path=path)


@pytest.fixture
def video(clip: Path) -> Media:
    return Media(kind=MediaKind.VIDEO, path=clip)


@pytest.fixture
def audio(clip: Path) -> Media:
    return Media(kind=MediaKind.AUDIO, path=clip, start=0.1, end=0.9)


@pytest.fixture
def pool() -> Iterator[DecodePool]:
    with DecodePool(DecodeLimits(workers=1)) as pool:
        yield pool


def workers(process: psutil.Process | None = None) -> list[psutil.Process]:
    children = (process or psutil.Process()).children()
    return [child for child in children if "triptych.data.decode_worker" in child.cmdline()]


def ready_worker(pool: DecodePool, media: Media) -> psutil.Process:
    """The only worker of a pool, once it has nothing to do."""
    pool.decode([media], BUDGET)
    (worker,) = workers()
    return worker


def assert_same(one: Decoded, two: Decoded) -> None:
    assert type(one) is type(two)
    if isinstance(one, Image.Image) and isinstance(two, Image.Image):
        assert one.info == two.info
        assert np.array_equal(np.asarray(one), np.asarray(two))
    elif isinstance(one, Video) and isinstance(two, Video):
        assert np.array_equal(one.frames, two.frames)
        assert np.array_equal(one.timestamps, two.timestamps)
        assert (one.fps, one.duration, one.notices) == (two.fps, two.duration, two.notices)
    elif isinstance(one, Audio) and isinstance(two, Audio):
        assert np.array_equal(one.samples, two.samples)
        assert (one.rate, one.notices) == (two.rate, two.notices)


def test_what_crosses_over_is_what_was_decoded(
    pool: DecodePool, picture: Media, video: Media, audio: Media
) -> None:
    for media in (picture, video, audio):
        (decoded,) = pool.decode([media], BUDGET)
        expected = decode_media(media, BUDGET)
        assert_same(decoded, expected)
    frames = pool.decode([video], BUDGET)[0]
    assert isinstance(frames, Video)
    frames.frames[:] = 0  # as of any array; torch warns of others


def test_results_outlive_their_pool(video: Media) -> None:
    with DecodePool(DecodeLimits(workers=1)) as pool:
        (decoded,) = pool.decode([video], BUDGET)
    assert_same(decoded, decode_media(video, BUDGET))


def test_relative_paths_mean_the_folder_where_the_owner_is(
    pool: DecodePool, picture: Media, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready_worker(pool, picture)
    monkeypatch.chdir(picture.path.parent)
    near = Media(kind=MediaKind.IMAGE, path=Path(picture.path.name))
    (decoded,) = pool.decode([near], BUDGET)
    assert isinstance(decoded, Image.Image)
    assert decoded.info["notices"][0].startswith("picture.png: ")


@pytest.mark.parametrize("count", [0, 1, 2])
def test_many_come_in_order_and_not_far_ahead(
    count: int, video: Media, audio: Media, tmp_path: Path
) -> None:
    gone = Media(kind=MediaKind.AUDIO, path=tmp_path / "gone.wav")
    taken = 0

    def items() -> Iterator[Media]:
        nonlocal taken
        for item in [video, gone, audio] * 10:
            taken += 1
            yield item

    with DecodePool(DecodeLimits(workers=count)) as pool:
        for number, outcome in enumerate(pool.outcomes(items(), BUDGET)):
            assert isinstance(outcome, (Video, MediaError, Audio)[number % 3])
            assert taken <= number + 1 + 2 * count
        with pytest.raises(MediaError, match=r"gone\.wav: no such file"):
            pool.decode([video, gone], BUDGET)
    assert number == 29


def test_a_decoder_that_hangs_is_killed_and_replaced(video: Media) -> None:
    with DecodePool(DecodeLimits(workers=1, seconds=0.5)) as pool:
        worker = ready_worker(pool, video)
        worker.suspend()
        begun = time.perf_counter()
        with pytest.raises(
            MediaError, match=rf"^{video.path}: the decoder took more than 0\.5 s \(decode\.seconds"
        ):
            pool.decode([video], BUDGET)
        assert time.perf_counter() - begun < 5
        assert not worker.is_running()
        assert ready_worker(pool, video) != worker


@pytest.mark.parametrize(
    ("number", "cause"),
    [
        (signal.SIGSEGV, r"the decoder crashed \(SIGSEGV\)"),
        (
            signal.SIGKILL,
            r"the decoder was killed; did it take all memory\? \(decode.memory_gib\)",
        ),
    ],
)
def test_a_decoder_that_dies_costs_its_file(
    pool: DecodePool, video: Media, audio: Media, number: int, cause: str
) -> None:
    worker = ready_worker(pool, video)
    worker.suspend()
    hit, after = pool.submit(video, BUDGET), pool.submit(audio, BUDGET)
    time.sleep(0.1)  # until it is asked to decode
    worker.send_signal(number)
    with suppress(psutil.NoSuchProcess):  # some signals need no waking
        worker.resume()
    with pytest.raises(MediaError, match=f"^{video.path}: {cause}$"):
        hit.result()
    assert_same(after.result(), decode_media(audio, BUDGET))


def test_a_worker_that_dies_with_nothing_to_do_costs_nothing(
    pool: DecodePool, video: Media
) -> None:
    worker = ready_worker(pool, video)
    worker.kill()
    # Its other threads may end after the first one, which alone makes it a zombie.
    os.waitid(os.P_PID, worker.pid, os.WEXITED | os.WNOWAIT)
    assert ready_worker(pool, video) != worker


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux holds to a memory limit")
def test_memory_is_limited_for_each_item(tmp_path: Path, picture: Media) -> None:
    path = tmp_path / "large.png"
    Image.new("L", (8000, 8000)).save(path)
    large = Media(kind=MediaKind.IMAGE, path=path)
    limits = {"small": 0.1, "enough": 1.0}
    decoded = {}
    for name, memory in limits.items():
        with DecodePool(DecodeLimits(workers=1, memory_gib=memory)) as pool:
            decoded[name] = list(pool.outcomes([large, picture], BUDGET))
    assert isinstance(decoded["enough"][0], Image.Image)
    assert str(path) in str(decoded["small"][0])
    assert "memory" in str(decoded["small"][0])
    assert "(decode.memory_gib)" in str(decoded["small"][0])
    assert isinstance(decoded["small"][1], Image.Image)


def test_a_fault_of_ours_is_no_fault_of_the_file(pool: DecodePool, video: Media) -> None:
    wrong = video.model_copy(update={"start": "soon"})
    with pytest.raises(RuntimeError, match=r"(?s)a decode worker failed:.*Traceback.*start"):
        pool.decode([wrong], BUDGET)


def test_workers_that_do_not_start_are_no_fault_of_the_file(
    video: Media, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with (
        DecodePool(DecodeLimits(workers=1)) as pool,
        pytest.raises(TriptychError, match=r"no decode worker can be started.*decode\.workers"),
    ):
        pool.decode([video], BUDGET)


def test_workers_know_nothing_of_torch_and_hear_no_ctrl_c(pool: DecodePool, video: Media) -> None:
    worker = ready_worker(pool, video)
    assert os.getsid(worker.pid) != os.getsid(0)
    assert not [item.path for item in worker.memory_maps() if "torch" in item.path]


def test_nothing_is_left_open(pool: DecodePool, video: Media, audio: Media) -> None:
    def count() -> int:
        gc.collect()
        return len(os.listdir("/proc/self/fd"))

    ready_worker(pool, video)
    before = count()
    for _ in range(5):
        pool.decode([video, audio], BUDGET)
    assert count() == before


def test_what_was_decoded_is_the_callers_alone(pool: DecodePool, video: Media) -> None:
    (decoded,) = pool.decode([video], BUDGET)
    assert isinstance(decoded, Video)
    frames = weakref.ref(decoded.frames)
    del decoded
    time.sleep(0.1)  # until the pool waits for the next item
    gc.collect()
    assert frames() is None


def test_a_closed_pool_leaves_no_process_and_no_one_waiting(video: Media) -> None:
    pool = DecodePool(DecodeLimits(workers=1))
    worker = ready_worker(pool, video)
    worker.suspend()
    running, waiting = pool.submit(video, BUDGET), pool.submit(video, BUDGET)
    time.sleep(0.1)
    begun = time.perf_counter()
    pool.close()
    assert time.perf_counter() - begun < 5
    assert isinstance(running.exception(), MediaError)
    assert waiting.cancelled()
    assert not psutil.pid_exists(worker.pid)
    with pytest.raises(ValueError, match="closed"):
        pool.submit(video, BUDGET)
    pool.close()


def test_workers_end_with_their_pool(video: Media) -> None:
    pool = DecodePool(DecodeLimits(workers=1))
    worker = ready_worker(pool, video)
    del pool
    gc.collect()
    assert not psutil.pid_exists(worker.pid)


OWNER = """
import sys, time
from pathlib import Path
from triptych.data.decoding import DecodeLimits, DecodePool
from triptych.data.media import MediaBudget
from triptych.data.sample import Media

pool = DecodePool(DecodeLimits(workers=2))
media = Media(kind="video", path=Path(sys.argv[1]))
list(pool.outcomes([media] * 4, MediaBudget()))
print("ready", flush=True)
for _ in range(1000):
    pool.submit(media, MediaBudget())
time.sleep(float(sys.argv[2]))
"""


def kill_before_it_reads(owner: psutil.Process) -> None:
    """To the workers this looks different: a connection that was reset, not one that ended."""
    owner.suspend()
    time.sleep(0.5)  # until they have answered
    owner.kill()


@pytest.mark.parametrize(
    ("seconds", "end"),
    [
        (60, psutil.Process.kill),
        (60, kill_before_it_reads),
        (60, psutil.Process.terminate),
        (0, psutil.Process.wait),
    ],
    ids=["killed", "killed-before-it-reads", "terminated", "done"],
)
def test_workers_end_with_their_owner(
    video: Media, seconds: float, end: Callable[[psutil.Process], object]
) -> None:
    command = [sys.executable, "-W", "error", "-c", OWNER, str(video.path), str(seconds)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        owner = psutil.Process(process.pid)
        left = workers(owner) if seconds else []
        assert len(left) == (2 if seconds else 0)
        end(owner)
        _, alive = psutil.wait_procs(left, timeout=20)
        assert not alive
        assert process.communicate(timeout=20) == ("", "")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"workers": -1}, "decode.workers is -1; use 0 or more"),
        ({"seconds": 0.0}, "decode.seconds is 0.0; use a number above 0"),
        ({"memory_gib": float("nan")}, "decode.memory_gib is nan; use a number above 0"),
    ],
)
def test_limits_that_cannot_work_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DecodeLimits(**settings)  # type: ignore[arg-type]
