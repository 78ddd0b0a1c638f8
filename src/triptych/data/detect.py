"""What a media file is: told from its content, whatever its name is."""

from pathlib import Path

from av.container import InputContainer
from av.stream import Disposition
from PIL import Image, UnidentifiedImageError

from triptych.data.containers import existing_file, opened
from triptych.data.sample import MediaKind
from triptych.errors import MediaError

_FILMS = ("GIF", "PNG")  # the animations of Pillow that FFmpeg decodes
_NO_FILMS = ("WEBP", "AVIF")  # those of which it decodes the first picture at best
_PICTURE_BRANDS = ("avif", "heic", "heix", "heim", "heis", "mif1")  # pictures in an mp4 container


def detect(path: Path) -> tuple[MediaKind, ...]:
    """What a prompt can take from a file: an image; a video, its sound, or both.

    An animated GIF or PNG is a video; a song with a cover picture is sound alone. Whether the file
    is whole is found out when it is decoded.

    Raises:
        MediaError: the file is missing or empty, or holds nothing that can be decoded.
    """
    path = existing_file(path)
    if _is_image(path):
        return (MediaKind.IMAGE,)
    with opened(path) as container:
        return _kinds(container, path)


def _is_image(path: Path) -> bool:
    try:
        with Image.open(path) as image:
            name, animated = image.format, getattr(image, "is_animated", False)
    except UnidentifiedImageError:
        return False
    except Exception as error:  # what the plugins of Pillow raise has no common root
        raise MediaError(f"{path}: image cannot be decoded ({error})") from error
    if animated and name in _NO_FILMS:
        raise MediaError(
            f"{path}: an animated {name} cannot be decoded; save it as mp4, or as a still picture"
        )
    # Pillow knows MPEG video when it sees it, but that is all.
    return name != "MPEG" and not (animated and name in _FILMS)


def _kinds(container: InputContainer, path: Path) -> tuple[MediaKind, ...]:
    brand = container.metadata.get("major_brand")
    if container.format.name.endswith("_pipe") or brand in _PICTURE_BRANDS:
        # To FFmpeg a picture is a film of one frame, or even of one tile.
        raise MediaError(f"{path}: is a picture that cannot be decoded; save it as JPEG or PNG")
    streams = container.streams
    kinds = []
    if any(not stream.disposition & Disposition.attached_pic for stream in streams.video):
        kinds.append(MediaKind.VIDEO)
    if streams.audio:
        kinds.append(MediaKind.AUDIO)
    if not kinds:
        raise MediaError(f"{path}: holds neither pictures nor sound")
    return tuple(kinds)
