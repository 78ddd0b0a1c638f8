"""In which form servers are sent the media of a sample."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from triptych.data.decode_worker import Decoded
from triptych.data.decoding import DecodePool
from triptych.data.detect import detect
from triptych.data.media import Audio, MediaBudget, Video
from triptych.data.sample import Media, MediaKind
from triptych.data.sound import own_sound
from triptych.endpoint.chat import Part, text_part
from triptych.endpoint.clip import clip_file
from triptych.endpoint.media import (
    frame_part,
    input_audio_url_part,
    picture_part,
    sound_part,
    sound_url_part,
    video_part,
)
from triptych.errors import MediaError


class VideoForm(StrEnum):
    """How a video is sent."""

    FRAMES = "frames"
    """Its sampled frames as images (image_url), for any server whose model takes several."""
    TIMED_FRAMES = "timed_frames"
    """The same, each after a line with its time."""
    FILE = "file"
    """The file itself (video_url), for servers that look at it and hear nothing: vLLM, SGLang."""
    FILM = "film"
    """The file itself, and its sound in it where the sample's next item is that sound; else without
    sound. For servers that hear what they see: transformers serve, Qwen-Omni's API."""


class AudioForm(StrEnum):
    """How a sound is sent, always as WAV."""

    INPUT_AUDIO = "input_audio"
    """The bare data (input_audio), as OpenAI has it; vLLM and transformers serve take it, too."""
    INPUT_AUDIO_URL = "input_audio_url"
    """The same with a data URL in place of the data, for Qwen-Omni's API."""
    AUDIO_URL = "audio_url"
    """A data URL in a part of its own (audio_url): vLLM, SGLang, transformers serve."""


@dataclass(frozen=True)
class MediaForms:
    """How media are sent.

    Attributes:
        budget: how much of them is decoded.
        video: form of videos.
        audio: form of sounds.
        max_video_bytes: size of the largest video file that is sent as it is.
    """

    budget: MediaBudget
    video: VideoForm
    audio: AudioForm
    max_video_bytes: float


@dataclass(frozen=True)
class SentMedia:
    """The media of a sample, as they are sent.

    Attributes:
        items: the kind and the parts of each, in order; no parts where another item holds it.
        notices: what is not sent as it is in the file, one sentence each.
    """

    items: tuple[tuple[str, Sequence[Part]], ...]
    notices: tuple[str, ...]


_AUDIO_PARTS = {
    AudioForm.INPUT_AUDIO: sound_part,
    AudioForm.INPUT_AUDIO_URL: input_audio_url_part,
    AudioForm.AUDIO_URL: sound_url_part,
}


def send_media(media: Sequence[Media], forms: MediaForms, pool: DecodePool) -> SentMedia:
    """The media of a sample in the forms that a server takes.

    All are decoded, also what is sent as a file: a broken one is found here.

    Raises:
        MediaError: one of them cannot be decoded, in time and memory.
    """
    decoded = pool.decode(media, forms.budget)
    sounds = _sounds_within(media, decoded) if forms.video == VideoForm.FILM else {}
    items: list[tuple[str, Sequence[Part]]] = []
    notices: list[str] = []
    for place, (item, found) in enumerate(zip(media, decoded, strict=True)):
        parts: list[Part] = []
        match found:
            case Video():
                parts, cuts = _video(item, found, sounds.get(place), forms)
                notices += cuts
            case Audio() if place - 1 in sounds:
                pass  # the video holds it
            case Audio():
                parts = [_AUDIO_PARTS[forms.audio](found)]
                notices += found.notices
            case _:
                parts = [picture_part(found)]
                notices += found.info["notices"]
        items.append((str(item.kind), parts))
    return SentMedia(tuple(items), tuple(notices))


def _sounds_within(media: Sequence[Media], decoded: Sequence[Decoded]) -> dict[int, Audio]:
    """The sounds that are their videos' own and stand right behind them, by the video's place."""
    return {
        place: sound
        for place, (item, following, sound) in enumerate(
            zip(media, media[1:], decoded[1:], strict=False)
        )
        if item.kind is MediaKind.VIDEO
        and following == own_sound(item)
        and isinstance(sound, Audio)
    }


def _video(
    item: Media, video: Video, sound: Audio | None, forms: MediaForms
) -> tuple[list[Part], Sequence[str]]:
    """The parts of a video, and what they do not show."""
    match forms.video:
        case VideoForm.FRAMES:
            return [frame_part(frame) for frame in video.frames], video.notices
        case VideoForm.TIMED_FRAMES:
            return [*_timed(video)], video.notices
        case VideoForm.FILE | VideoForm.FILM:
            heard = forms.video == VideoForm.FILE or sound is not None
            why = _why_no_file(item, forms.max_video_bytes, heard=heard)
            if not why:
                return [video_part(_read(item.path), item.path)], ()
            notice = f"{item.path}: sent as a clip of {len(video.frames)} frames, for {why}"
            cuts = [notice, *video.notices, *(sound.notices if sound else ())]
            return [video_part(clip_file(video, sound))], cuts


def _timed(video: Video) -> Iterator[Part]:
    for time, frame in zip(video.timestamps.tolist(), video.frames, strict=True):
        yield text_part(f"{time:.1f} s:")
        yield frame_part(frame)


def _why_no_file(item: Media, max_bytes: float, *, heard: bool) -> str:
    """Why a file cannot be sent as it is; nothing if it can."""
    if item.start is not None or item.end is not None:
        return "a part of it is wanted"
    if item.path.stat().st_size > max_bytes:
        return f"it has more than {max_bytes / 1e6:g} MB (max_video_mb)"
    if not heard and MediaKind.AUDIO in detect(item.path):
        return "its sound is not wanted"
    return ""


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise MediaError(f"{path}: cannot be read: {error.strerror}") from error
