"""Write videos, sounds and images that any player and any server reads.

What is written is what `decode_video` and `decode_audio` give: a video whose frames follow one
another at a constant rate, a mono sound at 16 kHz. A file appears whole or not at all, and the same
input gives the same bytes.

Shapes: T frames, H height, W width, N samples.
"""

import os
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from triptych.data.media.audio import SAMPLE_RATE

_X264 = {
    "crf": "8",  # hardly a difference to be seen: altered media must differ by the alteration alone
    # Its bytes do not depend on the processor. Those of superfast and veryfast do, and with AVX-512
    # the latter's change from call to call.
    "preset": "ultrafast",
    "flags": "+bitexact",
}
_RATE_DENOMINATOR = 10_000  # of a frame rate; rounds a duration by a hundredth of a percent


def write_video(path: Path, frames_THWC: NDArray[np.uint8], fps: float) -> None:
    """Write frames as H.264 in an mp4 file, without sound.

    Args:
        path: the file; its folder must be there.
        frames_THWC: uint8 (T, H, W, 3), RGB. H.264 as players know it takes even sizes only: of an
            odd one the last row or column is written twice.
        fps: frames per second.
    """
    odd_height, odd_width = frames_THWC.shape[1] % 2, frames_THWC.shape[2] % 2
    padding = ((0, 0), (0, odd_height), (0, odd_width), (0, 0))
    frames_THWC = np.pad(frames_THWC, padding, mode="edge")
    rate = Fraction(fps).limit_denominator(_RATE_DENOMINATOR)
    options = {"fflags": "+bitexact"}
    with (
        _in_place(path) as partial,
        av.open(str(partial), "w", format="mp4", options=options) as container,
    ):
        stream = container.add_stream("libx264", rate=rate)
        stream.height, stream.width = frames_THWC.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.options = dict(_X264)
        stream.codec_context.thread_count = 1  # more would change the bytes with the machine
        for frame in frames_THWC:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def write_audio(path: Path, samples_N: NDArray[np.float32], rate: int = SAMPLE_RATE) -> None:
    """Write a mono sound (N,), in [-1, 1], as a WAV file of 16 bits."""
    pcm_N = (np.clip(samples_N, -1, 1) * 32767).astype("<i2")
    with _in_place(path) as partial, wave.open(str(partial), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(pcm_N.tobytes())


def write_image(path: Path, pixels_HWC: NDArray[np.uint8]) -> None:
    """Write an image, uint8 (H, W, 3), as PNG."""
    with _in_place(path) as partial:
        Image.fromarray(pixels_HWC).save(partial, format="PNG")


@contextmanager
def _in_place(path: Path) -> Iterator[Path]:
    """A name beside the file, which takes its place at the end."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
