"""The image processor of Phi-4-multimodal where torchvision is not installed; see `pil_processor`.

transformers has only one on torchvision, whose resizing is `torch.nn.functional.interpolate`. The
class here calls that itself: on a CPU with AVX2 pixels are the same to the bit, on others bytes of
resized pictures may be off by one.

Shapes: N images, T tiles of the image with most of them, K tiles of one image, R x C of them side
by side behind an overview, S pixels of a tile's edge, M patches of it.
"""

import math
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence
from transformers.feature_extraction_utils import BatchFeature
from transformers.image_processing_backends import PilBackend
from transformers.image_utils import PILImageResampling, SizeDict
from transformers.processing_utils import ImagesKwargs

_MODES = {PILImageResampling.BILINEAR: "bilinear", PILImageResampling.BICUBIC: "bicubic"}
_LEAST_PIXELS = 10  # of an edge, beside its padding


class _Settings(cast(Any, ImagesKwargs), total=False):  # type: ignore[call-arg, misc]
    """What can be set besides."""

    patch_size: int
    dynamic_hd: int


class Phi4MultimodalImageProcessor(PilBackend):
    """Images -> an overview and square tiles of each, as the official class of the same name.

    An image is cut into as many tiles as it is large, at most `dynamic_hd`; it is enlarged to fill
    them in one direction, and padded with white in the other.
    """

    valid_kwargs = _Settings
    model_input_names = ("image_pixel_values", "image_sizes", "image_attention_mask")
    resample = PILImageResampling.BICUBIC
    size = {"height": 448, "width": 448}  # noqa: RUF012 - as transformers' own classes have it
    patch_size = 14
    dynamic_hd = 36
    image_mean = [0.5, 0.5, 0.5]  # noqa: RUF012
    image_std = [0.5, 0.5, 0.5]  # noqa: RUF012
    do_rescale = True
    do_normalize = True
    do_convert_rgb = True

    def _preprocess(
        self,
        images: list[NDArray[np.uint8]],
        size: SizeDict,
        resample: PILImageResampling,
        do_rescale: bool,
        rescale_factor: float,
        do_normalize: bool,
        image_mean: list[float],
        image_std: list[float],
        patch_size: int,
        dynamic_hd: int,
        return_tensors: str | None = None,
        **_: Any,
    ) -> BatchFeature:
        """Images (3, H, W) uint8 -> what the model reads.

        Returns:
            ``image_pixel_values`` (N, T, 3, S, S), the overview first, zeros behind the last tile;
            ``image_sizes`` (N, 2), height and width of all tiles together;
            ``image_attention_mask`` (N, T, M, M), 0 where a tile is padded;
            ``num_img_tokens`` (N).

        Raises:
            ValueError: tiles are not square, or an image is far too wide or too high.
        """
        if size.height != size.width:
            raise ValueError(f"only square tiles are known, not {size.height} x {size.width}")
        edge, patches = int(size.height), int(size.height) // patch_size
        factor = 1.0 / (rescale_factor if do_rescale else 1.0)
        mean = torch.tensor(image_mean if do_normalize else [0.0] * 3) * factor
        std = torch.tensor(image_std if do_normalize else [1.0] * 3) * factor
        pixels, masks, sizes, tokens = [], [], [], []
        for image in images:
            fitted_3HW, mask_MM = _fit(torch.from_numpy(image), edge, patch_size, dynamic_hd)
            pixels_3HW = (fitted_3HW.float() - mean[:, None, None]) / std[:, None, None]
            overview = pixels_3HW[None]
            if overview.shape[-2:] != (edge, edge):
                overview = functional.interpolate(
                    overview, (edge, edge), mode=_MODES[PILImageResampling(resample)]
                )
            mask_KMM = _tiles(mask_MM[None], patches)[:, 0]
            pixels.append(torch.cat([overview, _tiles(pixels_3HW, edge)]))
            masks.append(torch.cat([mask_KMM.new_ones(1, patches, patches), mask_KMM]))
            sizes.append(fitted_3HW.shape[-2:])
            tokens.append(_num_tokens(mask_MM, patches))
        data = {
            "image_pixel_values": pad_sequence(pixels, batch_first=True),
            "image_sizes": torch.tensor(sizes),
            "image_attention_mask": pad_sequence(masks, batch_first=True, padding_value=1),
            "num_img_tokens": tokens,
        }
        return BatchFeature(data, tensor_type=return_tensors)


def _fit(image_3HW: Tensor, edge: int, patch: int, most: int) -> tuple[Tensor, Tensor]:
    """The image as large as its tiles, and a mask of their patches: 0 for those of padding only."""
    height, width = image_3HW.shape[-2:]
    columns, rows = _grid(height, width, edge, most)
    across, down = columns * edge / width, rows * edge / height
    if across < down:
        new_height, new_width = int(height * across), columns * edge
    else:
        new_height, new_width = rows * edge, int(width * down)
    if min(new_height, new_width) < _LEAST_PIXELS:
        raise ValueError(
            f"{width} x {height} pixels are too wide or too high: on its tiles it would have "
            f"{new_width} x {new_height}, and {_LEAST_PIXELS} are the least"
        )
    below, beside = rows * edge - new_height, columns * edge - new_width
    mask_MM = torch.ones(rows * (edge // patch), columns * (edge // patch))
    mask_MM[len(mask_MM) - below // patch :] = 0
    mask_MM[:, mask_MM.shape[1] - beside // patch :] = 0
    if (height, width) != (new_height, new_width):
        image_3HW = functional.interpolate(
            image_3HW[None].contiguous(), (new_height, new_width), mode="bilinear", antialias=True
        )[0]
    return functional.pad(image_3HW, (0, beside, 0, below), value=255), mask_MM


def _grid(height: int, width: int, edge: int, most: int) -> tuple[int, int]:
    """Columns and rows of tiles."""
    columns, rows = math.ceil(width / edge), math.ceil(height / edge)
    if columns * rows <= most:
        return columns, rows
    # Too many: the grid whose sides are most like the image's; of equal ones the larger, if the
    # image fills half of it.
    best, least = (1, 1), math.inf
    grids = {(c, r) for c in range(1, most + 1) for r in range(1, most // c + 1)}
    for columns, rows in sorted(grids, key=lambda grid: grid[0] * grid[1]):
        off = abs(width / height - columns / rows)
        fills = width * height > edge * edge * columns * rows / 2
        if off < least or (off == least and fills):
            best, least = (columns, rows), off
    return best


def _tiles(states: Tensor, edge: int) -> Tensor:
    """(C, H, W) -> (K, C, edge, edge), row by row."""
    rows = states.unflatten(1, (-1, edge)).unflatten(3, (-1, edge))
    tiles: Tensor = rows.permute(1, 3, 0, 2, 4).flatten(0, 1)
    return tiles


def _num_tokens(mask_MM: Tensor, patches: int) -> int:
    """A token for 2 x 2 patches of overview and tiles, one behind each row, and one in between."""
    mask_KMM = _tiles(mask_MM[None], patches)[:, 0, ::2, ::2]
    columns = mask_MM.shape[1] // patches
    side = math.ceil(patches / 2)
    tiles = int(mask_KMM.sum()) + int(mask_KMM[::columns, :, 0].sum())
    return side * side + side + 1 + tiles
