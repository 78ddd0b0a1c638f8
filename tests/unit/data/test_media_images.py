"""Images of any mode, upright, in RGB; those that would mislead are refused."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from triptych.data.media import MediaBudget, decode_image
from triptych.data.media.budget import fit
from triptych.errors import MediaError

BUDGET = MediaBudget()


def pixel(image: Image.Image, x: int = 0, y: int = 0) -> tuple[int, ...]:
    return tuple(np.asarray(image)[y, x].tolist())


def test_16_bits_of_grey_are_scaled_to_8(tmp_path: Path) -> None:
    path = tmp_path / "grey.png"
    levels = np.array([[0, 256, 32_768, 65_535]], np.uint16)
    Image.fromarray(levels).save(path)
    image = decode_image(path, BUDGET)
    assert [pixel(image, x)[0] for x in range(4)] == [0, 1, 128, 255]
    Image.fromarray(levels.astype(">u2")).save(tmp_path / "big-endian.tiff")
    assert pixel(decode_image(tmp_path / "big-endian.tiff", BUDGET), 2) == (128,) * 3


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_numbers_without_a_scale_are_refused(tmp_path: Path, dtype: type) -> None:
    path = tmp_path / "numbers.tiff"
    Image.fromarray(np.full((8, 8), 1, dtype)).save(path)
    with pytest.raises(MediaError, match=r"numbers\.tiff: its pixels are numbers of 32 bits"):
        decode_image(path, BUDGET)


def test_colours_of_print_and_of_palettes_are_kept(tmp_path: Path) -> None:
    Image.new("CMYK", (4, 4), (0, 255, 255, 0)).save(tmp_path / "print.tiff")
    assert pixel(decode_image(tmp_path / "print.tiff", BUDGET)) == (255, 0, 0)
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "print.jpg", quality=95)
    assert pixel(decode_image(tmp_path / "print.jpg", BUDGET)) == pytest.approx((255, 0, 0), abs=6)
    Image.new("RGB", (4, 4), "teal").quantize(4).save(tmp_path / "palette.png")
    assert pixel(decode_image(tmp_path / "palette.png", BUDGET)) == (0, 128, 128)
    Image.new("YCbCr", (16, 16), (128, 128, 128)).save(tmp_path / "grey.jpg", quality=95)
    assert pixel(decode_image(tmp_path / "grey.jpg", BUDGET)) == (128, 128, 128)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_is_white(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "layer.png"
    layer = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    layer.putpixel((1, 0), (0, 0, 0, 255))
    if mode == "P":
        palette = Image.new("P", (2, 1), 0)
        palette.putpalette([9, 9, 9, 0, 0, 0])
        palette.putpixel((1, 0), 1)
        palette.save(path, transparency=0)
    else:
        layer.convert(mode).save(path)
    image = decode_image(path, BUDGET)
    assert (pixel(image, 0), pixel(image, 1)) == ((255,) * 3, (0,) * 3)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tiff"])
def test_every_orientation_is_put_right(tmp_path: Path, orientation: int, suffix: str) -> None:
    upright = Image.new("RGB", (32, 16), "black")
    upright.paste("red", (0, 0, 16, 8))  # the upper left quarter
    stored: dict[int, Callable[[Image.Image], Image.Image]] = {
        1: lambda image: image,
        2: lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        3: lambda image: image.transpose(Image.Transpose.ROTATE_180),
        4: lambda image: image.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
        5: lambda image: image.transpose(Image.Transpose.TRANSPOSE),
        6: lambda image: image.transpose(Image.Transpose.ROTATE_90),
        7: lambda image: image.transpose(Image.Transpose.TRANSVERSE),
        8: lambda image: image.transpose(Image.Transpose.ROTATE_270),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"photo.{suffix}"
    stored[orientation](upright).save(path, exif=exif)
    image = decode_image(path, BUDGET)
    assert image.size == (32, 16)
    assert pixel(image, 4, 2)[0] > 200
    for x, y in ((28, 2), (4, 14), (28, 14)):
        assert max(pixel(image, x, y)) < 60


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "tiff"])
def test_of_several_pictures_the_first_is_taken_and_that_is_said(
    tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"moves.{suffix}"
    first, *others = (Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue"))
    first.save(path, save_all=True, append_images=others)
    image = decode_image(path, BUDGET)
    assert pixel(image) == pytest.approx((255, 0, 0), abs=3)
    assert image.info["notices"] == (f"{path}: only the first of its pictures",)


def test_the_second_lens_of_a_phone_is_no_loss(tmp_path: Path) -> None:
    path = tmp_path / "two.jpg"
    first, second = (Image.new("RGB", (8, 8), colour) for colour in ("red", "lime"))
    first.save(path, format="MPO", save_all=True, append_images=[second])
    assert decode_image(path, BUDGET).info["notices"] == ()


def test_a_program_is_not_run(tmp_path: Path) -> None:
    """Pillow hands drawings in PostScript to Ghostscript."""
    path = tmp_path / "drawing.png"
    Image.new("RGB", (8, 8)).save(path, format="EPS")
    with pytest.raises(MediaError, match=r"drawing\.png: is a drawing, not an image"):
        decode_image(path, BUDGET)


@pytest.mark.parametrize("size", [(1, 1), (1, 200), (3, 1), (2000, 10)])
def test_tiny_and_narrow_images_are_images(tmp_path: Path, size: tuple[int, int]) -> None:
    path = tmp_path / "small.png"
    Image.new("RGB", size).save(path)
    assert decode_image(path, BUDGET).size == size


def test_a_strip_that_no_model_takes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "strip.png"
    Image.new("RGB", (4020, 20)).save(path)
    with pytest.raises(MediaError, match=r"strip\.png: is 4020x20, a strip more than 200 times"):
        decode_image(path, BUDGET)


@given(
    short=st.integers(1, 5000),
    shape=st.floats(1, 200),
    max_pixels=st.integers(1, 10**6),
    tall=st.booleans(),
)
def test_no_shape_exceeds_the_budget(short: int, shape: float, max_pixels: int, tall: bool) -> None:
    size = (short, int(short * shape)) if tall else (int(short * shape), short)
    width, height = fit(Path("image.png"), *size, max_pixels)
    assert 1 <= width * height <= max_pixels
    if size[0] * size[1] <= max_pixels:
        assert (width, height) == size
    elif min(width, height) >= 10:
        assert width / height == pytest.approx(size[0] / size[1], rel=0.11)
