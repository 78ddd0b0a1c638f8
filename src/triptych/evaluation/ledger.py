"""The predictions of an evaluation while they come in, so that a killed one loses next to none.

    OUT.jsonl                 all predictions, in the order of the samples; there when all are done
    OUT.jsonl.settings.json   what they are made from
    OUT.jsonl.timing.json     how long they took
    OUT.jsonl.ledger/         until then, for each process that writes:
        scored.RANK.jsonl       its predictions, in the order in which they are ready
        timing.RANK.jsonl       how long they took

A line is a finished prediction. Half a line, which a killed process leaves, is cut. What OUT.jsonl
and the ledger hold between them is what is done, wherever a kill fell: the ledger goes only when
OUT.jsonl is in place.
"""

import json
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from triptych.errors import DataError
from triptych.evaluation.records import Record, better
from triptych.evaluation.timing import Note, together
from triptych.files import (
    append_lines,
    drop_torn_line,
    read_json,
    read_lines,
    write_bytes,
    write_json,
)
from triptych.origin import Origin, check_origin, write_origin


class Ledger:
    """The files of one evaluation.

    Args:
        out: the predictions file.
        rank: number of this process. The first one alone calls `begin` and `finish`.
    """

    def __init__(self, out: Path, rank: int = 0) -> None:
        self.out, self.rank = out, rank
        self.folder = out.with_name(f"{out.name}.ledger")
        self.timing_path = out.with_name(f"{out.name}.timing.json")

    def begin(self, origin: Origin, ids: Sequence[str]) -> tuple[dict[str, Record], list[Note]]:
        """What earlier calls left: predictions by sample id, and how long they took.

        Raises:
            ConfigError: they were made from something else than `origin` says.
            DataError: a line is damaged or of no sample, or the files cannot be written.
        """
        scored, timing = self._files("scored"), self._files("timing")
        check_origin(self.out, origin, begun=self.out.exists() or bool(scored))
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_origin(self.out, origin)
            for path in (*scored, *timing):
                drop_torn_line(path)
        except OSError as error:
            raise DataError(f"{self.out}: {error.strerror}; choose a file to write to") from error
        done: dict[str, Record] = {}
        wanted = set(ids)
        for path in (self.out, *scored):
            for number, record in enumerate(read_lines(path), start=1):
                sample_id = record.get("sample_id")
                if sample_id not in wanted:
                    raise DataError(
                        f"{path}:{number}: is of no sample of this evaluation ({sample_id!r:.80}); "
                        "bring back the file as it was written, or remove it to start over"
                    )
                done[sample_id] = better(record, done.get(sample_id, record))
        kept = read_json(self.timing_path)["notes"] if self.timing_path.exists() else []
        return done, together(kept, *map(read_lines, timing))

    def append(self, records: Iterable[Record], note: Note | None = None) -> None:
        """Keep finished predictions, and how long they took."""
        _append(self.folder / f"scored.{self.rank}.jsonl", records)
        if note is not None:
            append_lines(self.folder / f"timing.{self.rank}.jsonl", [note])

    def finish(self, records: Iterable[Record], notes: Sequence[Note]) -> None:
        """Put all predictions in their place, then remove the ledger."""
        write_bytes(self.out, b"".join(map(_line, records)))
        write_json(self.timing_path, {"notes": notes})
        shutil.rmtree(self.folder)

    def _files(self, kind: str) -> list[Path]:
        return sorted(self.folder.glob(f"{kind}.*.jsonl"))


def _append(path: Path, records: Iterable[Record]) -> None:
    with path.open("ab") as lines:
        lines.write(b"".join(map(_line, records)))


def _line(record: Record) -> bytes:
    # Half a surrogate pair has an escape in JSON, but no bytes in UTF-8.
    return json.dumps(record, ensure_ascii=False).encode(errors="backslashreplace") + b"\n"
