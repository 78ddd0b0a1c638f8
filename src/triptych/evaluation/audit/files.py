"""Media files that are altered: written once, found again by a run that goes on, open to anybody.

    FOLDER/shuffled/NAME-DIGEST.mp4   the frames of NAME in random order
    FOLDER/blank/NAME-DIGEST.mp4      black frames, as many and as large; .wav: silence; .png: black

A model is shown a number of frames of a video (`MediaBudget`). Just these are written, each for its
share of the time, so that a model that decodes the file within the same budget sees all of them,
and each once.
"""

import hashlib
import re
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path

import numpy as np
from PIL.Image import Image

from triptych.data.decode_worker import Decoded
from triptych.data.decoding import DecodePool
from triptych.data.media import Audio, MediaBudget, Video
from triptych.data.media.write import write_audio, write_image, write_video
from triptych.data.sample import Media, MediaKind
from triptych.errors import DataError, MediaError

_ENDINGS = {MediaKind.VIDEO: ".mp4", MediaKind.AUDIO: ".wav", MediaKind.IMAGE: ".png"}
_NAME_LENGTH = 60


class Alteration(StrEnum):
    """What is done to a media file; the name of the folder where the result is."""

    SHUFFLED = "shuffled"
    """Frames in random order."""
    BLANK = "blank"
    """Black frames, silence."""


class AlteredFiles:
    """Writes altered media.

    Args:
        folder: where to.
        budget: how much of each item is decoded, and so written.
        pool: decodes them; by default the process itself.
        seed: of the orders of frames.
    """

    def __init__(
        self, folder: Path, budget: MediaBudget, pool: DecodePool | None = None, seed: int = 0
    ) -> None:
        self._folder, self._budget, self._seed = folder.resolve(), budget, seed
        self._pool = pool or DecodePool()

    def make(self, alteration: Alteration, items: Iterable[Media]) -> dict[Media, Media]:
        """What takes the place of each item. Videos of a single frame have no other order: they
        are left out.

        Raises:
            DataError: the files cannot be written.
            MediaError: an item cannot be decoded.
        """
        places = {item: self._path(alteration, item) for item in dict.fromkeys(items)}
        missing = [item for item, path in places.items() if not path.exists()]
        try:
            (self._folder / alteration).mkdir(parents=True, exist_ok=True)
            for item, decoded in zip(
                missing, self._pool.outcomes(missing, self._budget), strict=True
            ):
                if isinstance(decoded, MediaError):
                    raise decoded
                if alteration is Alteration.BLANK:
                    _write_blank(places[item], decoded)
                else:
                    self._write_shuffled(places[item], decoded)
        except OSError as error:
            raise DataError(f"{self._folder}: cannot be written: {error.strerror}") from error
        return {
            item: Media(kind=item.kind, path=path) for item, path in places.items() if path.exists()
        }

    def _path(self, alteration: Alteration, item: Media) -> Path:
        identity = f"{item.path}/{item.start}/{item.end}/{self._budget}/{self._seed}"
        digest = hashlib.sha256(identity.encode()).hexdigest()[:12]
        name = re.sub(r"[^\w.-]", "_", item.path.stem)[:_NAME_LENGTH]
        return self._folder / alteration / f"{name}-{digest}{_ENDINGS[item.kind]}"

    def _write_shuffled(self, path: Path, video: Decoded) -> None:
        assert isinstance(video, Video)
        count = len(video.frames)
        if count == 1:
            return
        # By the name alone, without its folder: another machine shuffles alike.
        name = f"{self._seed}/{path.name.rpartition('-')[0]}"
        seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
        order = np.random.default_rng(seed).permutation(count)
        if (order == np.arange(count)).all():
            order = np.roll(order, 1)
        write_video(path, video.frames[order], video.fps)


def _write_blank(path: Path, decoded: Decoded) -> None:
    match decoded:
        case Video():
            write_video(path, np.zeros_like(decoded.frames), decoded.fps)
        case Audio():
            write_audio(path, np.zeros_like(decoded.samples), decoded.rate)
        case Image():
            write_image(path, np.zeros((decoded.height, decoded.width, 3), np.uint8))
