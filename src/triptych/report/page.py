"""What all pages have in common: how templates are filled, and how a page gets on disk."""

import os
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from triptych.report.rollouts import clean


def environment() -> Environment:
    """The templates of this package. They escape everything that is put into them."""
    templates = Environment(
        loader=PackageLoader("triptych.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters["words"] = words
    return templates


def words(name: str) -> str:
    """A key as a reader would write it: ``stage_credit`` -> "stage credit"."""
    return clean(name).replace("_", " ")


def write_page(path: Path, html: str) -> None:
    """Write a page; it appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    # A completion may hold half a surrogate pair, which UTF-8 cannot express.
    partial.write_bytes(html.encode("utf-8", errors="replace"))
    partial.replace(path)
