"""Decode images."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from triptych.data.containers import existing_file
from triptych.data.media.budget import MediaBudget, fit, resize_notice
from triptych.errors import MediaError

_UNSCALED = ("I", "F")  # modes of Pillow: numbers of 32 bits whose black and white it cannot know


def decode_image(path: Path, budget: MediaBudget) -> Image.Image:
    """Decode an image to upright RGB, transparency over white; of an animation the first picture.

    ``image.info["notices"]`` holds what the budget cut.

    Raises:
        MediaError: the file is missing, no image, or broken.
    """
    path = existing_file(path)
    try:
        with Image.open(path) as stored:
            if stored.format == "EPS":  # a program, which Pillow would have Ghostscript run
                raise MediaError(f"{path}: is a drawing, not an image; save it as PNG")
            if stored.mode in _UNSCALED:
                raise MediaError(
                    f"{path}: its pixels are numbers of 32 bits, and what is black or white is not "
                    "known; save it with 8 or 16 bits"
                )
            animated = getattr(stored, "is_animated", False) and stored.format != "MPO"
            # Phones store pictures sideways, with the rotation beside them.
            image = _to_rgb(ImageOps.exif_transpose(stored))
    except MediaError:
        raise
    except UnidentifiedImageError as error:
        raise MediaError(f"{path}: is no image that can be decoded") from error
    except MemoryError as error:
        raise MediaError(f"{path}: decoding it takes more memory than there is") from error
    except Exception as error:  # what the plugins of Pillow raise has no common root
        raise MediaError(f"{path}: image cannot be decoded ({error})") from error
    notices = [f"{path}: only the first of its pictures"] if animated else []
    size = fit(path, image.width, image.height, budget.max_pixels)
    if size != image.size:
        notices += resize_notice(path, image.size, size)
        image = image.resize(size, Image.Resampling.BICUBIC)
    image.info = {"notices": tuple(notices)}
    return image


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        # Pillow would make everything above 255 of 65535 white.
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
