"""The process that decodes for `triptych.data.decoding`, and how what it decoded crosses over.

Started as ``python -m triptych.data.decode_worker FD SECONDS BYTES``. On its socket FD it reads one
JSON line per media item and sends back one byte with the descriptor of an anonymous file: the
length of a JSON header (8 bytes), the header, the arrays. The other side maps that file, so
hundreds of megabytes of frames are copied once, here, and leave nothing to clean up when one of
the two is killed. Neither side reads pickles: a decoder that a file took over gains nothing there.

It imports no torch. When the socket closes, because its owner is done or dead, it exits.
"""

import dataclasses
import json
import mmap
import os
import resource
import signal
import socket
import sys
import tempfile
import threading
import traceback
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from triptych.data.media import (
    Audio,
    MediaBudget,
    Video,
    decode_audio,
    decode_image,
    decode_video,
)
from triptych.data.sample import Media, MediaKind
from triptych.errors import MediaError

Decoded: TypeAlias = Image.Image | Video | Audio

READY = b"r"
DONE = b"d"

_ORPHAN_SECONDS = 5.0  # that a decoder may outlast its time, and its owner
_ALIGNMENT = 64


def decode_media(media: Media, budget: MediaBudget) -> Decoded:
    """Decode an image, video or sound.

    Raises:
        MediaError: it cannot be decoded.
    """
    match media.kind:
        case MediaKind.IMAGE:
            return decode_image(media.path, budget)
        case MediaKind.VIDEO:
            return decode_video(media.path, budget, start=media.start, end=media.end)
        case MediaKind.AUDIO:
            return decode_audio(media.path, budget, start=media.start, end=media.end)


# ---------------------------------------------------------------- what crosses over


def to_request(media: Media, budget: MediaBudget) -> bytes:
    """A line that asks for a media item."""
    request = {
        "kind": str(media.kind),
        "path": str(media.path),
        "folder": None if media.path.is_absolute() else os.getcwd(),
        "start": media.start,
        "end": media.end,
        "budget": dataclasses.asdict(budget),
    }
    return json.dumps(request).encode() + b"\n"


def from_answer(descriptor: int) -> Decoded:
    """What a worker decoded. The arrays lie in the file's memory, which is theirs alone.

    Raises:
        MediaError: it could not be decoded.
    """
    memory = mmap.mmap(descriptor, 0, access=mmap.ACCESS_COPY)
    size = int.from_bytes(memory[:8], "little")
    header = json.loads(memory[8 : 8 + size])
    if "error" in header:
        raise MediaError(header["error"])
    if "bug" in header:
        raise RuntimeError(f"a decode worker failed:\n{header['bug']}")
    values = dict(header["values"], notices=tuple(header["values"]["notices"]))
    for name, (dtype, shape, offset) in header["arrays"].items():
        values[name] = np.frombuffer(memory, dtype, int(np.prod(shape)), offset).reshape(shape)
    match header["kind"]:
        case MediaKind.VIDEO:
            return Video(**values)
        case MediaKind.AUDIO:
            return Audio(**values)
    image = Image.fromarray(values["pixels"])
    image.info = {"notices": values["notices"]}
    return image


def _answer(request: Mapping[str, Any], file: BinaryIO) -> None:
    """Do what a request asks for and write the answer, whatever happens."""
    arrays: dict[str, NDArray[Any]] = {}
    try:
        if request["folder"] is not None:
            os.chdir(request["folder"])  # its owner may have gone elsewhere since it began
        media = Media(**{name: request[name] for name in ("kind", "path", "start", "end")})
        values = _parts(decode_media(media, MediaBudget(**request["budget"])))
        arrays = {name: a for name, a in values.items() if isinstance(a, np.ndarray)}
        header: dict[str, Any] = {
            "kind": request["kind"],
            "values": {name: value for name, value in values.items() if name not in arrays},
        }
    except MediaError as error:
        short_of_memory = isinstance(error.__cause__, MemoryError)
        header = {"error": f"{error} (decode.memory_gib)" if short_of_memory else str(error)}
    except MemoryError:
        header = {"error": f"{request['path']}: takes too much memory (decode.memory_gib)"}
    except Exception:
        header = {"bug": traceback.format_exc()}
    # The header says where each array begins, so its own length must not depend on it.
    offset = _aligned(len(json.dumps(header)) + 4096)
    header["arrays"] = {}
    for name, array in arrays.items():
        header["arrays"][name] = (array.dtype.str, array.shape, offset)
        offset = _aligned(offset + array.nbytes)
    text = json.dumps(header).encode()
    file.write(len(text).to_bytes(8, "little") + text)
    for name, array in arrays.items():
        file.seek(header["arrays"][name][2])
        file.write(np.ascontiguousarray(array).data.cast("B"))
    file.flush()


def _parts(decoded: Decoded) -> dict[str, Any]:
    if isinstance(decoded, Image.Image):
        return {"pixels": np.asarray(decoded), "notices": decoded.info["notices"]}
    return {field.name: getattr(decoded, field.name) for field in dataclasses.fields(decoded)}


def _aligned(offset: int) -> int:
    return -(-offset // _ALIGNMENT) * _ALIGNMENT


# ---------------------------------------------------------------- the process


def main() -> None:
    """Decode what the socket asks for, until it closes."""
    channel = socket.socket(fileno=int(sys.argv[1]))
    seconds, memory = float(sys.argv[2]), int(sys.argv[3])
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crash is expected here, and is told
    with suppress(OSError):  # when memory runs short, the kernel should not choose the run
        Path("/proc/self/oom_score_adj").write_text("1000")
    requests: SimpleQueue[bytes] = SimpleQueue()
    threading.Thread(target=_read, args=(channel, requests), daemon=True).start()
    channel.sendall(READY)
    while True:
        request = json.loads(requests.get())
        # Its owner kills a decoder that takes too long. Should the owner be dead and the decoder
        # hold the interpreter, so that `_read` cannot end it, the kernel does.
        signal.setitimer(signal.ITIMER_REAL, seconds + _ORPHAN_SECONDS)
        _limit_memory(memory)
        with _anonymous_file() as file:
            _answer(request, file)
            try:
                socket.send_fds(channel, [DONE], [file.fileno()])
            except BrokenPipeError:  # the owner is gone
                os._exit(0)
        signal.setitimer(signal.ITIMER_REAL, 0)


def _read(channel: socket.socket, requests: "SimpleQueue[bytes]") -> None:
    try:
        with channel.makefile("rb") as lines:
            for line in lines:
                requests.put(line)
    finally:  # an owner that dies before it has read all is an error here, not just an end
        os._exit(0)  # from a thread: the decoder may be in the middle of something


def _limit_memory(extra: int) -> None:
    """Allow `extra` bytes more than are in use: libraries count, and what leaks of earlier items.

    Only Linux tells how many are in use, and holds to such a limit.
    """
    if sys.platform == "linux":
        in_use = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        _, most = resource.getrlimit(resource.RLIMIT_AS)
        wanted = in_use + extra
        limit = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
        resource.setrlimit(resource.RLIMIT_AS, (limit, most))


def _anonymous_file() -> BinaryIO:
    if hasattr(os, "memfd_create"):  # Linux
        return os.fdopen(os.memfd_create("decoded"), "w+b")
    return tempfile.TemporaryFile()


if __name__ == "__main__":
    main()
