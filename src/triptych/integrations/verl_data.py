"""Samples as verl's prompts: rows of a Parquet file, and back.

verl's `RLHFDataset` takes chat messages as text, in which <image> and <video> stand for the items
of the columns images and videos, in their order. The sample itself travels in `extra_info`, from
which the reward workers read it again.

Samples with sound are refused. verl 0.9.1 has a column `audios`, but hands what stands in it to the
processor undecoded, and makes the positions of a prompt from its images and videos alone.
"""

import io
import json
import os
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from triptych.data.media import MediaBudget
from triptych.data.sample import Media, MediaKind, Sample, first_cause
from triptych.data.source import NO_SOURCE, source_of
from triptych.errors import DataError
from triptych.files import write_bytes
from triptych.stages import build_messages

_PLACEHOLDER = re.compile("<(?:image|video|audio)>")
_COLUMNS = {MediaKind.IMAGE: "images", MediaKind.VIDEO: "videos"}


def prompt_row(sample: Sample, index: int, budget: MediaBudget) -> dict[str, Any]:
    """A sample as a row of verl's data.

    Args:
        sample: whose media paths are absolute, or relative to the working folder.
        index: of the row, for verl.
        budget: frames and pixels that qwen-vl-utils is to take; it knows no `max_seconds`.

    Raises:
        DataError: the sample has sound, or its text holds one of verl's placeholders.
    """
    if any(item.kind is MediaKind.AUDIO for item in sample.media):
        raise DataError(
            f"sample {sample.id!r}: media: has sound, which verl does not bring to the model; "
            "leave its audio items out, or train with `triptych grpo`"
        )
    kinds = [str(item.kind) for item in sample.media]
    messages = build_messages(sample.question, sample.problem_type, sample.options, kinds)
    for message in messages:
        if found := _PLACEHOLDER.search("".join(p.get("text", "") for p in message["content"])):
            raise DataError(
                f"sample {sample.id!r}: question or options: hold {found[0]}, which verl takes for "
                "a media item; write it differently"
            )
    absolute = sample.model_copy(update={"media": tuple(map(_absolute, sample.media))})
    row: dict[str, Any] = {
        "data_source": "triptych" if source_of(sample) == NO_SOURCE else source_of(sample),
        "prompt": [
            {
                "role": message["role"],
                "content": "".join(p.get("text", f"<{p['type']}>") for p in message["content"]),
            }
            for message in messages
        ],
        "reward_model": {"style": "rule", "ground_truth": sample.answer},
        "extra_info": {
            "index": index,
            "sample": json.dumps(
                absolute.model_dump(mode="json", exclude_defaults=True), ensure_ascii=False
            ),
        },
    }
    for kind, column in _COLUMNS.items():
        row[column] = [_entry(item, budget) for item in absolute.media if item.kind is kind]
    return row


def _absolute(item: Media) -> Media:
    return item.model_copy(update={"path": Path(os.path.abspath(item.path))})


def _entry(item: Media, budget: MediaBudget) -> dict[str, Any]:
    """A media item as qwen-vl-utils takes it."""
    if item.kind is MediaKind.IMAGE:
        return {"image": str(item.path), "max_pixels": budget.max_pixels}
    limits = {"fps": budget.fps, "max_frames": budget.max_frames, "max_pixels": budget.max_pixels}
    part = {"video_start": item.start, "video_end": item.end}
    given = {name: value for name, value in part.items() if value is not None}
    return {"video": str(item.path), **limits, **given}


def write_prompts(path: Path, samples: Iterable[Sample], budget: MediaBudget) -> int:
    """Write samples as the Parquet file of prompts that verl reads; the number of rows.

    Raises:
        DataError: pyarrow is not installed, or a sample cannot be a prompt of verl's.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise DataError(
            f"{path}: needs pyarrow; install it by: pip install 'triptych[parquet]'"
        ) from error
    rows = [prompt_row(sample, index, budget) for index, sample in enumerate(samples)]
    for column in _COLUMNS.values():
        if not any(row[column] for row in rows):  # of empty lists Parquet knows no type
            for row in rows:
                del row[column]
    content = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(rows), content)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, content.getvalue())
    return len(rows)


def sample_of(extra_info: Mapping[str, Any] | None) -> Sample:
    """The sample of a row, from its column `extra_info`.

    Raises:
        DataError: there is none.
    """
    written = (extra_info or {}).get("sample")
    if not isinstance(written, str):
        raise DataError(
            "extra_info.sample: missing from a row of verl's data; write the Parquet file by "
            "`triptych data convert IN OUT.parquet --to verl`"
        )
    return _read(written)


@lru_cache(maxsize=4096)
def _read(written: str) -> Sample:
    """Cached: the completions of a group share it."""
    try:
        return Sample.model_validate_json(written)
    except ValidationError as error:
        raise DataError(f"extra_info.sample: {': '.join(first_cause(error))}") from error
