"""The cache on disk: nothing but what was put in comes out, whatever happens to its files."""

import errno
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import psutil
import pytest
import torch

from triptych.data.feature_cache import Entry, FeatureCache
from triptych.data.sample import Media, MediaKind
from triptych.errors import MediaError

MIB = 1 << 20


def entry(number: int, size: int = 1000) -> Entry:
    """An entry that tells by its content which one it is."""
    generator = torch.Generator().manual_seed(number)
    return Entry(
        {
            "ids": torch.arange(number, number + 7),
            "mask": torch.tensor([True, False]),
            "pixels": torch.randn(size // 4, 4, generator=generator)[:, 1:],  # not contiguous
            "empty": torch.zeros(0, 3),
            "number": torch.tensor(float(number)),
        },
        {"notices": f"entry {number}: “cut”"},
    )


def assert_same(found: Entry | None, expected: Entry) -> None:
    assert found is not None
    assert found.texts == expected.texts
    assert found.tensors.keys() == expected.tensors.keys()
    for name, tensor in expected.tensors.items():
        assert found.tensors[name].dtype == tensor.dtype
        assert found.tensors[name].equal(tensor), name


@pytest.fixture
def cache(tmp_path: Path) -> FeatureCache:
    return FeatureCache(tmp_path / "cache", 100 * MIB)


def age(path: Path, seconds: float) -> None:
    os.utime(path, (time.time() - seconds,) * 2)


def test_what_goes_in_comes_out(cache: FeatureCache) -> None:
    assert cache.get("a") is None
    assert "a" not in cache
    cache.put("a", entry(1))
    cache.put("b", Entry({}))
    assert "a" in cache
    again = FeatureCache(cache.folder, 100 * MIB)
    assert_same(again.get("a"), entry(1))
    assert_same(again.get("b"), Entry({}))
    assert sorted(path.name for path in cache.folder.iterdir()) == [
        "a.safetensors",
        "b.safetensors",
    ]


def test_no_changed_byte_is_served(cache: FeatureCache, caplog: pytest.LogCaptureFixture) -> None:
    """Each byte of the header, and some of the values, in turn."""
    cache.put("a", entry(1, size=40))
    path = cache.folder / "a.safetensors"
    whole = path.read_bytes()
    served = []
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        if (found := cache.get("a")) is not None:
            assert_same(found, entry(1, size=40))  # a name that nobody reads has changed
            served.append(place)
        else:
            assert not path.exists()
    assert len(served) < len(whole) // 20
    assert "a.safetensors: is damaged (its checksum differs); removed" in caplog.text


@pytest.mark.parametrize("length", [0, 7, 8, 100, -1])
def test_no_part_of_an_entry_is_served(cache: FeatureCache, length: int) -> None:
    cache.put("a", entry(1))
    path = cache.folder / "a.safetensors"
    path.write_bytes(path.read_bytes()[:length])
    assert cache.get("a") is None
    assert not path.exists()
    cache.put("a", entry(1))
    assert_same(cache.get("a"), entry(1))


WRITERS = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_feature_cache import ENTRIES, MIB
from triptych.data.feature_cache import FeatureCache

signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no one waits for them
for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        cache = FeatureCache(Path(sys.argv[2]), 1000 * MIB)
        for number in map(int, line.split()):
            cache.put(str(number % 5), ENTRIES[number % 5])
        os._exit(0)
    print(pid, flush=True)
"""

ENTRIES = [entry(number, size=2 * MIB) for number in range(5)]


@pytest.fixture
def write(cache: FeatureCache) -> Iterator[Callable[[Iterable[int]], psutil.Process]]:
    """Starts processes that write the entries of the given numbers."""
    command = [sys.executable, "-c", WRITERS, str(Path(__file__).parent), str(cache.folder)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as starter:
        assert starter.stdin
        assert starter.stdout

        def start(numbers: Iterable[int]) -> psutil.Process:
            print(*numbers, file=starter.stdin, flush=True)
            return psutil.Process(int(starter.stdout.readline()))  # type: ignore[union-attr]

        yield start
        starter.stdin.close()


def wait_for_work(process: psutil.Process, seconds: float) -> None:
    """Until a process has worked for so long, however busy the machine is."""
    until = sum(process.cpu_times()[:2]) + seconds
    while sum(process.cpu_times()[:2]) < until:
        time.sleep(0.001)
    time.sleep(random.Random(seconds).uniform(0.0, 0.01))  # its clock ticks in hundredths


def test_writers_that_are_killed_leave_nothing_that_is_served(
    cache: FeatureCache, write: Callable[[Iterable[int]], psutil.Process]
) -> None:
    """`kill -9` at 50 random moments of the writing, each time into the same folder."""
    chance = random.Random(0)
    served = torn = 0
    for _ in range(50):
        process = write(range(1000))
        wait_for_work(process, chance.uniform(0.0, 0.1))
        process.kill()
        process.wait()
        torn += len(list(cache.folder.glob(".*.partial")))
        for number, expected in enumerate(ENTRIES):
            if (found := cache.get(str(number))) is not None:
                assert_same(found, expected)
                served += 1
    assert served > 50
    assert torn > 0, "no writer was killed in the middle of a file"
    for path in cache.folder.glob(".*.partial"):
        age(path, 2 * 3600)
    FeatureCache(cache.folder, 1000 * MIB).put("new", entry(1))
    assert not list(cache.folder.glob(".*.partial"))


@pytest.mark.slow
def test_two_writers_at_once(
    cache: FeatureCache,
    write: Callable[[Iterable[int]], psutil.Process],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The same entries in opposite order, while a third process reads."""
    writers = write(range(40)), write(range(39, -1, -1))
    served = 0
    while any(writer.is_running() for writer in writers):
        for number, expected in enumerate(ENTRIES):
            if (found := cache.get(str(number))) is not None:
                assert_same(found, expected)
                served += 1
    assert served > 5
    assert not caplog.records, "none was met half written"
    assert len(list(cache.folder.iterdir())) == 5


def used(cache: FeatureCache) -> int:
    return sum(path.stat().st_size for path in cache.folder.iterdir())


def test_what_was_not_used_for_longest_makes_room(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = FeatureCache(tmp_path / "cache", 36 * 1024)
    for number in range(3):  # more than 9 KiB each
        cache.put(str(number), entry(number, size=3000))
        age(cache.folder / f"{number}.safetensors", 100 - number)
    assert cache.get("0") is not None
    assert not caplog.records
    cache.put("3", entry(3, size=3000))
    assert [key for key in "0123" if key in cache] == ["0", "2", "3"]
    assert used(cache) <= cache.max_bytes
    cache.put("4", entry(4, size=3000))
    assert "is full; what was not used for longest makes room" in caplog.text
    assert len(caplog.records) == 1


def test_two_writers_keep_to_the_limit_but_for_a_slack(tmp_path: Path) -> None:
    one, two = (FeatureCache(tmp_path / "cache", MIB) for _ in range(2))
    for number in range(100):
        (one if number % 2 else two).put(str(number), entry(number, size=4000))
        assert used(one) <= MIB + MIB // 16
    assert used(one) > MIB // 2


def test_an_entry_that_finds_no_room_is_not_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = FeatureCache(tmp_path / "cache", MIB)
    cache.put("small", entry(1))
    cache.put("large", entry(1, size=MIB))
    assert "large" not in cache
    assert "small" in cache
    assert "are more than cache.max_gib" in caplog.text


def test_a_folder_that_cannot_be_written_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = FeatureCache(tmp_path / "file" / "cache", MIB)
    for number in range(3):
        cache.put(str(number), entry(number))
        assert cache.get(str(number)) is None
    (record,) = caplog.records
    assert "cannot be written (Not a directory); media features are not kept" in record.getMessage()


def test_a_full_disk_is_told_once_and_leaves_nothing_behind(
    cache: FeatureCache, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cache.put("before", entry(1))
    tries = 0

    def full(_: int) -> None:
        nonlocal tries
        tries += 1
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    for number in range(3):
        cache.put(str(number), entry(number))
    assert_same(cache.get("before"), entry(1))
    assert [path.name for path in cache.folder.iterdir()] == ["before.safetensors"]
    assert tries == 1
    (record,) = caplog.records
    assert "cannot be written (No space left on device)" in record.getMessage()


def test_a_key_is_the_content_and_what_is_taken_of_it(cache: FeatureCache, tmp_path: Path) -> None:
    one, two = tmp_path / "one.mp4", tmp_path / "two.mp4"
    one.write_bytes(b"content")
    two.write_bytes(b"content")
    video = Media(kind=MediaKind.VIDEO, path=one)
    key = cache.key([video], "recipe")
    assert cache.key([Media(kind=MediaKind.VIDEO, path=two)], "recipe") == key
    others = [
        cache.key([video], "other"),
        cache.key([video, video], "recipe"),
        cache.key([], "recipe"),
        cache.key([Media(kind=MediaKind.AUDIO, path=one)], "recipe"),
        cache.key([video.model_copy(update={"start": 1.0})], "recipe"),
        cache.key([video.model_copy(update={"end": 1.0})], "recipe"),
    ]
    one.write_bytes(b"CONTENT")
    os.utime(one, ns=(0, time.time_ns() + 1_000_000))
    others.append(cache.key([video], "recipe"))
    assert len({key, *others}) == 1 + len(others)


def test_a_file_is_read_once_also_by_later_processes(
    cache: FeatureCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import triptych.data.feature_cache as module

    path = tmp_path / "clip.mp4"
    path.write_bytes(b"content")
    media = [Media(kind=MediaKind.VIDEO, path=path)]
    key = cache.key(media, "recipe")
    read: list[Path] = []
    hash_file = module._hash_file

    def noted(path: Path) -> str:
        read.append(path)
        return hash_file(path)

    monkeypatch.setattr(module, "_hash_file", noted)
    assert cache.key(media, "recipe") == key
    assert FeatureCache(cache.folder, MIB).key(media, "recipe") == key
    assert not read
    (kept,) = cache.folder.glob("*.sha256")
    kept.write_text("nonsense")
    assert FeatureCache(cache.folder, MIB).key(media, "recipe") == key
    assert read == [path]


def test_a_missing_file_has_no_key(cache: FeatureCache) -> None:
    gone = Media(kind=MediaKind.VIDEO, path=Path("/nowhere/gone.mp4"))
    with pytest.raises(MediaError, match=r"^/nowhere/gone\.mp4: no such file$"):
        cache.key([gone], "recipe")
