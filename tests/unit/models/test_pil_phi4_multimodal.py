"""Images of Phi-4-multimodal without torchvision must be what the official class makes of them."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from triptych.models.pil_phi4_multimodal import Phi4MultimodalImageProcessor

# Of the official class, with torchvision and at most 4 tiles: tokens, height and width of all
# tiles, contrast of the overview and of the last tile, and patches that are not padding.
FIGURES = {
    (84, 56): (460, (448, 448), 0.28829, 0.28829, 1728),
    (448, 448): (545, (448, 448), 0.16777, 0.16777, 2048),
    (900, 500): (753, (448, 896), 0.18698, 0.21906, 2880),
    (97, 1301): (513, (1344, 448), 0.42257, 0.42174, 1792),
    (3000, 1300): (735, (448, 896), 0.15353, 0.14058, 2816),
}


def picture(width: int, height: int) -> Image.Image:
    """Stripes of all colours, the same on every machine."""
    y, x = np.mgrid[:height, :width]
    pixels = np.stack([x * 5 + y, x * 3 + y * 7, (x + y) * 2 + x * y // 64], axis=-1)
    return Image.fromarray((pixels % 256).astype(np.uint8))


def contrast(tile: Tensor) -> float:
    """Squares, those of the last rows most: neither padding nor mirroring leaves it as it is."""
    return float((tile.square() * torch.linspace(0, 1, tile.numel()).view_as(tile)).mean())


@pytest.mark.parametrize("size", FIGURES)
def test_pixels_have_the_official_figures(size: tuple[int, int]) -> None:
    tokens, tiles, overview, last, mask = FIGURES[size]
    made = Phi4MultimodalImageProcessor(dynamic_hd=4)(images=[picture(*size)], return_tensors="pt")
    pixels = made["image_pixel_values"][0]
    assert int(made["num_img_tokens"][0]) == tokens
    assert tuple(made["image_sizes"][0].tolist()) == tiles
    assert made["image_attention_mask"].sum() == mask
    assert contrast(pixels[0]) == pytest.approx(overview, abs=2e-4)
    assert contrast(pixels[-1]) == pytest.approx(last, abs=2e-4)


def test_images_of_different_size_share_a_batch() -> None:
    """Behind the last tile of the smaller one stand zeros."""
    processor = Phi4MultimodalImageProcessor()
    images = [picture(84, 56), picture(900, 500)]
    made = processor(images=images, return_tensors="pt")
    for index, image in enumerate(images):
        alone = processor(images=[image], return_tensors="pt")
        tiles = alone["image_pixel_values"].shape[1]
        for name in ("image_pixel_values", "image_attention_mask"):
            assert made[name][index, :tiles].equal(alone[name][0])
        assert not made["image_pixel_values"][index, tiles:].any()
        assert int(made["num_img_tokens"][index]) == int(alone["num_img_tokens"][0])


@pytest.mark.parametrize("most", [1, 4, 36])
def test_pixels_are_those_of_the_official_class(most: int) -> None:
    pytest.importorskip("torchvision", reason="the official image processor needs torchvision")
    from transformers import Phi4MultimodalImageProcessor as Official

    images = [picture(*size) for size in FIGURES]
    theirs = Official(dynamic_hd=most)(images=images, return_tensors="pt")
    ours = Phi4MultimodalImageProcessor(dynamic_hd=most)(images=images, return_tensors="pt")
    assert theirs.keys() == ours.keys()
    byte = 1 / 255 / 0.5  # where the CPU has no AVX2, see the module
    for name in theirs:
        expected, given = torch.as_tensor(theirs[name]), torch.as_tensor(ours[name])
        torch.testing.assert_close(given, expected, rtol=0, atol=1.01 * byte)


@pytest.mark.parametrize(("width", "height"), [(4000, 20), (20, 4000)])
def test_what_would_be_a_line_is_refused(width: int, height: int) -> None:
    with pytest.raises(ValueError, match=f"{width} x {height} pixels are too wide or too high"):
        Phi4MultimodalImageProcessor(dynamic_hd=4)(images=[picture(width, height)])


def test_tiles_must_be_square() -> None:
    processor = Phi4MultimodalImageProcessor(size={"height": 448, "width": 224})
    with pytest.raises(ValueError, match="only square tiles are known, not 448 x 224"):
        processor(images=[picture(84, 56)])
