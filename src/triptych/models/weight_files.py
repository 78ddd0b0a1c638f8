"""Files of weights that cannot be read, such as a download that was cut off."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import snapshot_download
from safetensors import SafetensorError, safe_open

from triptych.errors import ModelError


@contextmanager
def named_when_broken(path: str | Path) -> Iterator[None]:
    """Loading from a folder or hub id: names the file that is broken, which safetensors does not.

    Raises:
        ModelError: a file is.
    """
    try:
        yield
    except SafetensorError as error:
        file = _broken_file(path)
        raise ModelError(
            f"{file or path}: broken weights ({error}), as a download that was cut off leaves "
            f"them; delete the {'file' if file else 'files'} and download again"
        ) from error


def _broken_file(path: str | Path) -> Path | None:
    folder = Path(path)
    if not folder.is_dir():
        folder = Path(snapshot_download(str(path), local_files_only=True))
    for file in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(file, "pt"):
                pass
        except SafetensorError:
            return file
    return None
