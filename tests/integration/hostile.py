"""A corpus of hostile media files, the same for the same seed, and what decoding them comes to.

Run as a program it decodes files of the corpus one after the other and prints one line for each,
so that a decoder that crashes or hangs takes its own process down and the file is known.
"""

import json
import resource
import struct
import sys
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import films
from films import FILMS, Film
from PIL import Image

from triptych.data.detect import detect
from triptych.data.media import decode_audio, decode_image, decode_video
from triptych.errors import MediaError

SEED = 11
NUM_DAMAGED = 400
"""Files damaged at random, beside the sound ones and those made by hand."""

_SOUND = {film.name: film for film in FILMS}
_BASES = (
    "h264.mp4", "h264.mkv", "h264.ts", "h264.flv", "h265.mp4", "mpeg4.avi", "mpeg2.mpg",
    "vp8.webm", "vp9.webm", "mjpeg.avi", "ffv1.mkv", "gif.gif", "apng.png", "prores.mov",
    "variable.mp4", "fragments.mp4", "wmv.wmv", "10bit.mkv", "interlaced.mp4",
    "8-channels.wav", "8k.wav", "flac.flac", "mp3.mp3", "aac.m4a", "opus.ogg", "5.1.mka",
    "photo.jpg", "photo.png", "photo.webp", "photo.gif", "photo.tiff", "photo.bmp",
)  # fmt: skip


@cache
def base(name: str) -> bytes:
    """A sound file."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / name
        if name.startswith("photo."):
            Image.fromarray(films.picture(0.5, 80, 60)).save(path)
        elif name == "silent.mp4":
            films.write(Film(name), Path(folder))
        else:
            films.write(_SOUND[name], Path(folder))
        return path.read_bytes()


# ---------------------------------------------------------------- damage


def cut(content: bytearray, rng: Random) -> None:
    del content[rng.randrange(len(content)) :]


def behead(content: bytearray, rng: Random) -> None:
    del content[: rng.randrange(len(content))]


def flip(content: bytearray, rng: Random) -> None:
    for _ in range(rng.choice([1, 8, 64])):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)


def flip_header(content: bytearray, rng: Random) -> None:
    for _ in range(rng.choice([1, 4, 16])):
        content[rng.randrange(min(len(content), 600))] ^= 1 << rng.randrange(8)


def flip_trailer(content: bytearray, rng: Random) -> None:
    """Where an mp4 keeps its index."""
    for _ in range(rng.choice([1, 4, 16])):
        content[-1 - rng.randrange(min(len(content), 1500))] ^= 1 << rng.randrange(8)


def blank(content: bytearray, rng: Random) -> None:
    start = rng.randrange(len(content))
    size = min(rng.choice([16, 256, 4096]), len(content) - start)
    content[start : start + size] = bytes(size)


def scramble(content: bytearray, rng: Random) -> None:
    start = rng.randrange(len(content))
    size = min(rng.choice([16, 256, 4096]), len(content) - start)
    content[start : start + size] = rng.randbytes(size)


def fill(content: bytearray, rng: Random) -> None:
    """Numbers as large as they come."""
    start = rng.randrange(min(len(content), 4000))
    size = min(rng.choice([1, 2, 4, 8]), len(content) - start)
    content[start : start + size] = b"\xff" * size


def repeat(content: bytearray, rng: Random) -> None:
    start = rng.randrange(len(content))
    content[start:start] = content[start : start + rng.choice([16, 256, 4096])]


def drop(content: bytearray, rng: Random) -> None:
    start = rng.randrange(len(content))
    del content[start : start + rng.choice([1, 16, 256, 4096])]


DAMAGES: tuple[Callable[[bytearray, Random], None], ...] = (
    cut, behead, flip, flip_header, flip_trailer, blank, scramble, fill, repeat, drop,
)  # fmt: skip


# ---------------------------------------------------------------- made by hand


def _patched(name: str, *patches: tuple[bytes, int, bytes]) -> bytes:
    """A sound file with bytes replaced at an offset from each place where a mark is found."""
    content = bytearray(base(name))
    for mark, offset, new in patches:
        start = content.find(mark)
        assert start >= 0, f"no {mark!r} in {name}"
        while start >= 0:
            content[start + offset : start + offset + len(new)] = new
            start = content.find(mark, start + 1)
    return bytes(content)


def _wav(**header: int) -> bytes:
    """Eight channels without a layout, or whatever the header says."""
    fields = {"kind": 1, "channels": 8, "rate": 16_000, "bits": 16, "size": 64_000} | header
    block = fields["channels"] * fields["bits"] // 8 % 65536
    form = struct.pack(
        "<HHIIHH", fields["kind"], fields["channels"], fields["rate"],
        fields["rate"] * block % 2**32, block, fields["bits"],
    )  # fmt: skip
    data = struct.pack("<I", fields["size"]) + bytes(range(250)) * 256
    return b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0" + form + b"data" + data


def _png(width: int, height: int, data: bytes) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def _circular(count: int) -> bytes:
    """A film whose index names its one frame over and over."""
    content = base("one-frame.mp4")
    size = content[content.index(b"stsz") + 8 :][:4]
    place = content[content.index(b"stco") + 12 :][:4]
    many = struct.pack(">II", 0, count)
    tables = {
        b"stsz": bytes(4) + size + many[4:],
        b"stco": many + place * count,
        b"stsc": struct.pack(">IIIII", 0, 1, 1, 1, 1),
        b"stts": struct.pack(">IIII", 0, 1, count, 512),
        b"edts": b"",
    }
    return _with_tables(content, tables)


def _with_tables(boxes: bytes, tables: dict[bytes, bytes]) -> bytes:
    """The boxes of an mp4, the contents of some replaced."""
    rebuilt = b""
    while boxes:
        size, kind = struct.unpack(">I4s", boxes[:8])
        body, boxes = boxes[8:size], boxes[size:]
        if kind in (b"moov", b"trak", b"mdia", b"minf", b"stbl"):
            body = _with_tables(body, tables)
        body = tables.get(kind, body)
        rebuilt += struct.pack(">I4s", 8 + len(body), kind) + body
    return rebuilt


_HOURS = (1000 * 3600 * 1000).to_bytes(4, "big")
_HUGE = b"\x7f\xff\xff\xff"
_PLAYLIST = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:1,\n{}\n"

BY_HAND: dict[str, Callable[[], bytes]] = {
    "empty.mp4": lambda: b"",
    "one-byte.mp4": lambda: b"\0",
    "zeros.mp4": lambda: bytes(10_000),
    "zeros.wav": lambda: bytes(10_000),
    "zeros.jpg": lambda: bytes(10_000),
    "noise.mp4": lambda: Random(1).randbytes(20_000),
    "noise.mp3": lambda: Random(2).randbytes(20_000),
    "noise.png": lambda: Random(3).randbytes(20_000),
    "page.mp4": lambda: b"<!doctype html><title>404</title>" * 100,
    "notes.txt": lambda: b"first line\nsecond line\n" * 100,
    "script.eps": lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n{} loop\n%%EOF\n",
    "drawing.svg": lambda: b'<svg xmlns="http://www.w3.org/2000/svg"><rect width="9"/></svg>' * 9,
    "video-as.jpg": lambda: base("h264.mp4"),
    "video-as.wav": lambda: base("h264.mkv"),
    "sound-as.mp4": lambda: base("flac.flac"),
    "image-as.mp4": lambda: base("photo.jpg"),
    "image-as.mp3": lambda: base("photo.png"),
    "image-as.gif": lambda: base("photo.webp"),
    "two-in-one.mp4": lambda: base("h264.mp4") + base("h265.mp4"),
    "playlist.mp4": lambda: _PLAYLIST.format("playlist.mp4").encode(),
    "playlist.m3u8": lambda: _PLAYLIST.format("playlist.m3u8").encode(),
    "remote.m3u8": lambda: _PLAYLIST.format("http://127.0.0.1:9/a.ts").encode(),
    "list.ffconcat": lambda: b"ffconcat version 1.0\nfile list.ffconcat\n" * 3,
    "list.mp4": lambda: b"ffconcat version 1.0\nfile list.mp4\nduration 1\n" * 500,
    "session.sdp": lambda: b"v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\n",
    "hours.mp4": lambda: _patched("h264.mp4", (b"mdhd", 20, _HOURS)),
    "hours-in-all.mp4": lambda: _patched(
        "h264.mp4", (b"mdhd", 20, _HOURS), (b"mvhd", 20, _HOURS), (b"tkhd", 24, _HOURS)
    ),
    "hours-a-frame.mp4": lambda: _patched("h264.mp4", (b"stts", 12, _HUGE)),
    "no-time.mp4": lambda: _patched("h264.mp4", (b"mdhd", 16, b"\0\0\0\0")),
    "keys-lie.mp4": lambda: _patched("keys.mp4", (b"stss", 0, b"free")),
    "all-at-once.mp4": lambda: _patched("h264.mp4", (b"stts", 12, b"\0\0\0\0")),
    "huge-frames.mp4": lambda: _patched("h264.mp4", (b"avc1", 28, b"\xff\xff\xff\xff")),
    "huge-frames.mov": lambda: _patched("alpha.mov", (b"png ", 28, b"\xff\xff\xff\xff")),
    "no-frames.mp4": lambda: _patched("silent.mp4", (b"stsz", 12, b"\0\0\0\0")),
    "samples-of-one.mp4": lambda: _patched("silent.mp4", (b"stsz", 8, b"\0\0\0\1" + _HUGE)),
    "samples-of-none.mp4": lambda: _patched("silent.mp4", (b"stsz", 12, _HUGE)),
    "endless.mp4": lambda: _patched("silent.mp4", (b"stsc", 16, _HUGE), (b"stts", 8, _HUGE)),
    "circular.mp4": lambda: _circular(20_000),
    "hours.wav": lambda: _wav(size=0x7FFFFFF0),
    "8-channels-plain.wav": lambda: _wav(),
    "no-channels.wav": lambda: _wav(channels=0),
    "65535-channels.wav": lambda: _wav(channels=65_535, bits=8),
    "64-channels.wav": lambda: _wav(channels=64),
    "1-hz.wav": lambda: _wav(rate=1),
    "0-hz.wav": lambda: _wav(rate=0),
    "4-ghz.wav": lambda: _wav(rate=2**32 - 1, channels=1),
    "not-numbers.wav": lambda: (
        _wav(kind=3, channels=1, bits=32)[:44] + b"\xff\xff\xff\x7f" * 16_000
    ),
    "0-bits.wav": lambda: _wav(bits=0),
    "bomb.png": lambda: _png(60_000, 60_000, bytes(100_000)),
    "largest.png": lambda: _png(2**31 - 1, 2**31 - 1, b""),
    "half.png": lambda: _png(500, 500, bytes(500 * 700)),
    "strip.png": lambda: _png(5000, 2, bytes(30_002)),
    "0x0.png": lambda: _png(0, 0, b""),
    "1x1.png": lambda: _png(1, 1, b"\0\1\2\3"),
    "huge.gif": lambda: base("photo.gif").replace(b"\x50\0\x3c\0", b"\xff" * 4),
}


# ---------------------------------------------------------------- the corpus


def names() -> list[str]:
    """All files of the corpus; those damaged at random are numbered."""
    damaged = []
    for number in range(NUM_DAMAGED):
        name = _BASES[number % len(_BASES)]
        damage = DAMAGES[number // len(_BASES) % len(DAMAGES)]
        damaged.append(f"{number:03d}-{damage.__name__}-{name}")
    return [*_SOUND, *BY_HAND, *damaged]


def make(name: str, folder: Path) -> Path:
    """Make a file of the corpus."""
    path = folder / name
    if name in _SOUND:
        content = base(name)
    elif name in BY_HAND:
        content = BY_HAND[name]()
    else:
        number, kind, origin = name.split("-", 2)
        rng, damaged = Random(f"{SEED} {number}"), bytearray(base(origin))
        next(damage for damage in DAMAGES if damage.__name__ == kind)(damaged, rng)
        content = bytes(damaged)
    path.write_bytes(content)
    return path


def examine(name: str, folder: Path) -> tuple[list[str], list[str]]:
    """Decode a file in every way: what is wrong with how that ends, and the errors it ended in.

    A sound file must give what was put into it, any other something or a MediaError that names it.
    """
    path = make(name, folder)
    findings = films.judge(_SOUND[name], path) if name in _SOUND else []
    errors = []
    for decode in (decode_video, decode_audio, decode_image):
        try:
            decode(path, films.BUDGET)
        except MediaError as error:
            errors.append(str(error))
            if not str(error).startswith(f"{path}: "):
                findings.append(f"{decode.__name__}: an error that does not name the file: {error}")
        except BaseException as error:
            findings.append(f"{decode.__name__}: {error!r}")
    try:
        detect(path)
    except MediaError as error:
        errors.append(str(error))
    return findings, errors


if __name__ == "__main__":
    if (
        sys.platform == "linux"
    ):  # a file that asks for more is a finding, not the end of the machine
        resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
    for name in sys.argv[2:]:
        print(json.dumps({"name": name}), flush=True)
        findings, errors = examine(name, Path(sys.argv[1]))
        print(json.dumps({"findings": findings, "errors": errors}), flush=True)
