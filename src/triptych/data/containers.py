"""Media files as FFmpeg sees them: opened, checked, their streams found, their faults named."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TypeVar

import av
from av.codec import CodecContext
from av.container import InputContainer
from av.stream import Discard, Disposition

from triptych.errors import MediaError

Stream = av.VideoStream | av.AudioStream
S = TypeVar("S", av.VideoStream, av.AudioStream)

LARGEST_FRAME = 8192 * 4320
"""Pixels of a frame of 8K, the largest that a standard knows. Files may claim any size, and
decoders keep a dozen frames."""

_TRUNCATED_SHARE = 0.1  # of an mp4's stated duration that may be missing before it counts as cut
_READ_AT_MOST = 4  # times the size of the file; packets may share bytes, but not many


def existing_file(path: Path) -> Path:
    """The path, once it is known to name a file with something in it."""
    path = Path(path)
    if path.is_dir():
        raise MediaError(f"{path}: is a folder, not a media file")
    if not path.is_file():
        raise MediaError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise MediaError(f"{path}: the file is empty")
    return path


@contextmanager
def opened(path: Path) -> Iterator[InputContainer]:
    """Open for reading; whatever FFmpeg objects to, here or later, becomes a MediaError.

    The format is told from the content, and what the file refers to stays closed: a playlist that
    is called clip.mp4 would have FFmpeg fetch addresses, or read any file here.
    """
    options = {"protocol_whitelist": "none", "max_pixels": str(LARGEST_FRAME)}
    try:
        with io.FileIO(path) as file:
            file.name = ""  # by its name, FFmpeg takes any notes.txt for a film
            # Tags in an old encoding are none of our business: by default they raise.
            with av.open(file, "r", options=options, metadata_errors="ignore") as container:
                yield container
    except MemoryError as error:
        raise MediaError(f"{path}: decoding it takes more memory than there is") from error
    except (av.FFmpegError, OSError, ValueError) as error:
        cause = getattr(error, "strerror", None) or str(error)
        raise MediaError(f"{path}: cannot be decoded ({cause}); is it whole?") from error


def video_stream(container: InputContainer, path: Path) -> av.VideoStream:
    """The first stream of moving pictures, to be decoded by one thread, alone."""
    for stream in container.streams.video:
        # The cover picture of a song is a video stream to FFmpeg.
        if not stream.disposition & Disposition.attached_pic:
            _prepare(container, stream, path)
            if stream.width * stream.height > LARGEST_FRAME:
                raise MediaError(
                    f"{path}: its frames are {stream.width}x{stream.height}, more than the "
                    f"{LARGEST_FRAME} pixels of 8K; scale it down"
                )
            stream.codec_context.options = {"max_pixels": str(LARGEST_FRAME)}
            return stream
    raise MediaError(f"{path}: has no video stream")


def audio_stream(container: InputContainer, path: Path) -> av.AudioStream:
    """The first stream of sound, to be decoded by one thread, alone."""
    if not container.streams.audio:
        raise MediaError(f"{path}: has no audio stream")
    stream = container.streams.audio[0]
    _prepare(container, stream, path)
    return stream


def _prepare(container: InputContainer, stream: Stream, path: Path) -> None:
    # None where FFmpeg does not know the codec, against what the annotation says.
    context: CodecContext | None = stream.codec_context
    if context is None:
        raise MediaError(f"{path}: its {stream.type} is in a codec that is not known")
    # Many files are decoded side by side; their decoders must not fight for the cores.
    context.thread_count = 1
    for other in container.streams:
        if other is not stream:
            other.discard = Discard.all  # most formats need not even read it


def packets(container: InputContainer, stream: S, path: Path) -> Iterator["av.Packet[S]"]:
    """What is stored of a stream, piece by piece; the last one, empty, drains the decoder.

    Raises:
        MediaError: it comes to more than a file of this size can hold. Such a file leads round in
            circles, and a few bytes of it would keep a decoder busy for hours.
    """
    size, num_bytes = path.stat().st_size, 0
    for num_packets, packet in enumerate(container.demux(stream)):
        num_bytes += packet.size
        if num_packets > size or num_bytes > _READ_AT_MOST * size:
            raise MediaError(
                f"{path}: its {stream.type} goes round in circles ({num_packets} packets, "
                f"{num_bytes} bytes, in a file of {size} bytes)"
            )
        yield packet


def clock_start(container: InputContainer) -> float:
    """Where the file's clock starts, in seconds; transport streams start anywhere."""
    return (container.start_time or 0) / av.time_base


def is_format(container: InputContainer, *names: str) -> bool:
    """Whether the file is of one of the formats; FFmpeg's are families, "mov,mp4,m4a"."""
    return not set(names).isdisjoint(container.format.name.split(","))


def stated_end(container: InputContainer, stream: Stream) -> float | None:
    """When a stream ends by the file's index. Other formats than mp4 only estimate it."""
    if not is_format(container, "mp4") or stream.duration is None:
        return None
    ticks = (stream.start_time or 0) + stream.duration
    return float(ticks * time_base(stream)) - clock_start(container)


def time_base(stream: Stream) -> Fraction:
    """Seconds per tick of a stream's timestamps."""
    return stream.time_base or Fraction(1, av.time_base)


def check_whole(container: InputContainer, stream: Stream, path: Path, found: float) -> list[str]:
    """Compare where a stream ends with what the file states: an error, or at least a notice."""
    stated = stated_end(container, stream)
    if stated is not None and found < stated * (1 - _TRUNCATED_SHARE):
        raise MediaError(
            f"{path}: truncated: its {stream.type} ends at {found:.2f} s of {stated:.2f} s"
        )
    # Matroska states the length of its longest stream only, so a shorter one may be whole.
    stated = (container.duration or 0) / av.time_base
    if is_format(container, "matroska") and found < stated * (1 - _TRUNCATED_SHARE):
        return [f"{path}: its {stream.type} ends at {found:.2f} s of {stated:.2f} s; truncated?"]
    return []
