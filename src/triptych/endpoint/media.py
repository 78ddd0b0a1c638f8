"""Images, videos and sounds as parts of a chat message, in base64."""

import base64
import io
import mimetypes
import wave
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from triptych.data.media import Audio
from triptych.endpoint.chat import Part

_JPEG_QUALITY = 90


def picture_part(image: Image.Image) -> Part:
    """An image as the data URL of a JPEG."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=_JPEG_QUALITY)
    return {"type": "image_url", "image_url": {"url": _data_url("image/jpeg", file.getvalue())}}


def frame_part(frame: NDArray[np.uint8]) -> Part:
    """A frame, uint8 (H, W, 3), as the data URL of a JPEG."""
    return picture_part(Image.fromarray(frame))


def sound_part(audio: Audio) -> Part:
    """A sound as a WAV file, in the form that OpenAI's API has."""
    data = _base64(wav_file(audio))
    return {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}


def sound_url_part(audio: Audio) -> Part:
    """A sound as the data URL of a WAV file."""
    return {"type": "audio_url", "audio_url": {"url": _data_url("audio/wav", wav_file(audio))}}


def input_audio_url_part(audio: Audio) -> Part:
    """OpenAI's form with a data URL in place of the bare data."""
    url = _data_url("audio/wav", wav_file(audio))
    return {"type": "input_audio", "input_audio": {"data": url, "format": "wav"}}


def video_part(file: bytes, name: str | Path = "clip.mp4") -> Part:
    """A video file as a data URL; the name tells its type."""
    kind = mimetypes.guess_type(name)[0] or ""
    url = _data_url(kind if kind.startswith("video/") else "video/mp4", file)
    return {"type": "video_url", "video_url": {"url": url}}


def wav_file(audio: Audio) -> bytes:
    """A sound as a WAV file of 16-bit samples."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(audio.rate)
        writer.writeframes(to_16_bits(audio.samples).tobytes())
    return file.getvalue()


def to_16_bits(samples: NDArray[np.float32]) -> NDArray[np.int16]:
    """Samples as whole numbers; a sound louder than they can say is made softer as a whole."""
    loudest = max(1.0, float(np.abs(samples).max(initial=0.0)))
    return (samples / loudest * 32767).round().astype("<i2")


def _data_url(kind: str, file: bytes) -> str:
    return f"data:{kind};base64,{_base64(file)}"


def _base64(file: bytes) -> str:
    return base64.b64encode(file).decode()
