"""Progress bars on standard error while there is a terminal."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress


@contextmanager
def progress_bars(*, shown: bool = True) -> Iterator["Progress"]:
    """Bars for a command's long work; none where standard error is no terminal, or not `shown`."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, disable=not (shown and console.is_terminal)) as bars:
        yield bars
