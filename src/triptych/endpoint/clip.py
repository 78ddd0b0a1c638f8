"""Sampled frames, and their sound, as a short MP4 file in memory."""

import io
from fractions import Fraction

import av

from triptych.data.media import Audio, Video
from triptych.endpoint.media import to_16_bits

_QUALITY = "18"  # of H.264; below about 18, the eye finds no loss


def clip_file(video: Video, audio: Audio | None = None) -> bytes:
    """An H.264 file of the sampled frames at their own rate, each as long on screen as it stands
    for; with the sound as AAC, if there is one.

    A size that is odd becomes even, one pixel less, for the colours of H.264 come in squares of 2.
    """
    file = io.BytesIO()
    height, width = (max(2, size // 2 * 2) for size in video.frames.shape[1:3])
    with av.open(file, "w", format="mp4") as container:
        pictures = container.add_stream("libx264", rate=_rate(video.fps))
        pictures.width, pictures.height, pictures.pix_fmt = width, height, "yuv420p"
        pictures.options = {"crf": _QUALITY, "preset": "veryfast"}
        pictures.codec_context.thread_count = 1  # many clips are made side by side
        sound = None
        if audio is not None:
            sound = container.add_stream("aac", rate=audio.rate, layout="mono")
        for pixels in video.frames:
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(width, height)
            container.mux(pictures.encode(frame))
        container.mux(pictures.encode(None))
        if audio is not None and sound is not None:
            samples = to_16_bits(audio.samples)[None]
            heard = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            heard.sample_rate, heard.pts = audio.rate, 0
            container.mux(sound.encode(heard))
            container.mux(sound.encode(None))
    return file.getvalue()


def _rate(fps: float) -> Fraction:
    return max(Fraction(fps).limit_denominator(1000), Fraction(1, 1000))
