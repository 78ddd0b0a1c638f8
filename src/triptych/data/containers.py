"""Media files as FFmpeg sees them: opened, checked, their streams found, their faults named."""

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
from av.codec import CodecContext
from av.container import InputContainer
from av.stream import Disposition

from triptych.errors import MediaError

Stream = av.VideoStream | av.AudioStream

_TRUNCATED_SHARE = 0.1  # of an mp4's stated duration that may be missing before it counts as cut


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
    """Open for reading; whatever FFmpeg objects to, here or later, becomes a MediaError."""
    try:
        # Tags in an old encoding are none of our business: by default they raise.
        with av.open(str(path.absolute()), metadata_errors="ignore") as container:
            yield container
    except (av.FFmpegError, OSError, ValueError) as error:
        cause = getattr(error, "strerror", None) or str(error)
        raise MediaError(f"{path}: cannot be decoded ({cause}); is it whole?") from error


def video_stream(container: InputContainer, path: Path) -> av.VideoStream:
    """The first stream of moving pictures, to be decoded by one thread."""
    for stream in container.streams.video:
        # The cover picture of a song is a video stream to FFmpeg.
        if not stream.disposition & Disposition.attached_pic:
            _use_one_thread(stream, path)
            return stream
    raise MediaError(f"{path}: has no video stream")


def audio_stream(container: InputContainer, path: Path) -> av.AudioStream:
    """The first stream of sound, to be decoded by one thread."""
    if not container.streams.audio:
        raise MediaError(f"{path}: has no audio stream")
    stream = container.streams.audio[0]
    _use_one_thread(stream, path)
    return stream


def _use_one_thread(stream: Stream, path: Path) -> None:
    """Many files are decoded side by side; their decoders must not fight for the cores."""
    # None where FFmpeg does not know the codec, against what the annotation says.
    context: CodecContext | None = stream.codec_context
    if context is None:
        raise MediaError(f"{path}: its {stream.type} is in a codec that is not known")
    context.thread_count = 1


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
