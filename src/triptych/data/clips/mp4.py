"""Write a short clip as an mp4 file: H.264 video and mono AAC sound, the same bytes every time."""

from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 16_000


def write_mp4(
    path: Path, frames_THWC: NDArray[np.uint8], fps: int, voice_N: NDArray[np.float32]
) -> None:
    """Encode frames (T, H, W, 3), H and W even, and a 16 kHz voice (N,) in [-1, 1].

    One encoder thread and bit-exact muxing: nothing in the file depends on the machine's load,
    the clock or the number of cores.
    """
    pcm_1N = (np.clip(voice_N, -1, 1) * 32767).astype(np.int16)[None]
    with av.open(str(path), "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        video = container.add_stream("libx264", rate=fps)
        video.height, video.width = frames_THWC.shape[1:3]
        video.pix_fmt = "yuv420p"
        video.options = {"crf": "16", "preset": "ultrafast", "flags": "+bitexact"}
        video.codec_context.thread_count = 1
        audio = container.add_stream("aac", rate=SAMPLE_RATE)
        audio.layout = "mono"
        audio.bit_rate = 64_000
        audio.options = {"flags": "+bitexact"}
        audio.codec_context.thread_count = 1
        for frame in frames_THWC:
            container.mux(video.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(video.encode())
        sound = av.AudioFrame.from_ndarray(pcm_1N, format="s16", layout="mono")
        sound.sample_rate = SAMPLE_RATE
        sound.pts = 0
        container.mux(audio.encode(sound))
        container.mux(audio.encode())
