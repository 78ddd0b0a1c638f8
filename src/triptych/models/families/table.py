"""The table of model families in the documents.

    make families-table

Writes it between the marks in `README.md` and `docs/families.md`, from what the families say of
themselves.
"""

import sys
from pathlib import Path

from triptych.models.families import FAMILIES, Family

BEGIN, END = "<!-- families -->", "<!-- end of families -->"
_HEAD = """\
| family | models | reads, beside text | video with sound in turns | `--freeze` |
|---|---|---|---|---|
"""


def table() -> str:
    """Markdown, a row for each family."""
    return _HEAD + "".join(_row(family) for family in FAMILIES)


def with_table(document: str) -> str:
    """A document with the table between its marks.

    Raises:
        ValueError: it has no such marks.
    """
    before, _, rest = document.partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        raise ValueError(f"no place for the table: {BEGIN} ... {END}")
    return f"{before}{BEGIN}\n{table()}{END}{after}"


def _row(family: Family) -> str:
    projectors = [path.rpartition(".")[2] for path in family.projectors.values()]
    cells = (
        f"`{family.name}`",
        ", ".join(family.hub_ids),
        ", ".join(family.media_inputs),
        "`--audio-in-video`" if family.audio_in_video else "",
        f"`{','.join([*family.towers, *projectors])}`",
    )
    return f"| {' | '.join(cells)} |\n"


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:]):
        path.write_text(with_table(path.read_text(encoding="utf-8")), encoding="utf-8")
