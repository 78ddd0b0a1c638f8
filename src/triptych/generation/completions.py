"""Completions of a whole data set, in a file that a killed run can be gone on with.

    OUT.jsonl                 one line per sample, in the order of the samples
    OUT.jsonl.settings.json   what the lines are made from, beside them: whatever reads JSONL finds
                              samples and nothing else

What is drawn for a sample depends on the sample, the settings and the weights; on its neighbours
only as far as padding moves the last bits of its logits. Batches begin at the same samples however
often a run was interrupted. So a file that was interrupted and gone on with is, byte for byte, the
one written without a break.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from torch import nn

from triptych.data.policy import Ranks
from triptych.data.sample import Sample
from triptych.errors import DataError, TriptychError
from triptych.generation.engine import Completion, Engine, SamplingConfig
from triptych.origin import Origin, check_origin, write_origin
from triptych.stages import DEFAULT_FORMAT, StageFormat, parse

Progress: TypeAlias = Callable[[int], None]
"""Told how many samples are done."""

Line: TypeAlias = dict[str, Any]
"""A sample's id and its completions."""

_SAMPLED_VALUES = 64  # of each weight


def completion_record(completion: Completion, fmt: StageFormat = DEFAULT_FORMAT) -> dict[str, Any]:
    """A completion as JSON: its text, how it reads by the format, how it came about."""
    output = parse(completion.text, fmt)
    return {
        "text": completion.text,
        "bodies": dict(output.bodies),
        "valid": output.valid,
        "violations": [
            {"kind": str(found.kind), "stage": found.stage, "position": found.position}
            for found in output.violations
        ],
        "stop_reason": str(completion.stop_reason),
        "tokens": len(completion.token_ids),
        "forced": sum(completion.forced),
        "overruled": completion.overruled,
    }


def write_completions(
    engine: Engine,
    samples: Sequence[Sample],
    n: int,
    sampling: SamplingConfig,
    path: Path,
    origin: Origin,
    *,
    batch_size: int = 1,
    progress: Progress | None = None,
    ranks: Ranks | None = None,
) -> int:
    """Complete each sample `n` times and write a line for it; go on where the file ends.

    Args:
        engine: writes the completions.
        samples: what to complete.
        n: completions of each sample.
        sampling: how they are drawn; each sample by a seed of its own, whatever it says of that.
        path: the JSONL file, new or of an earlier call that was interrupted.
        origin: what decides about the completions; of an earlier call it must have been the same.
        batch_size: samples that are completed together.
        progress: told after each batch.
        ranks: the processes that share the work; all of them make this call. The first one writes
            what they made, in the order of the samples.

    Returns:
        The number of samples whose lines were there already.

    Raises:
        ConfigError: the file was made from something else.
        DataError: its lines are not those of the samples.
        MediaError: the media of a sample cannot be decoded. The lines before it are kept.
    """
    ranks = ranks or Ranks()
    check_origin(path, origin)
    found = ranks.settle(lambda: _find_lines(path, samples))
    sampling = replace(sampling, seed_per_sample=True)
    begin = found - found % batch_size if found < len(samples) else found
    round_size = batch_size * ranks.count
    for start in range(begin, len(samples), round_size):
        batch = samples[start + ranks.rank * batch_size : start + round_size][:batch_size]
        parts = ranks.attempt(partial(_complete, engine, batch, n, sampling))
        error = next((part for part in parts if isinstance(part, TriptychError)), None)
        lines = _before_an_error(parts)[max(0, found - start) :]
        if ranks.first and lines:
            if start == 0:
                write_origin(path, origin)
            _append(path, lines)
        if error:
            raise error
        if progress:
            progress(min(start + round_size, len(samples)))
    return found


def _complete(
    engine: Engine, batch: Sequence[Sample], n: int, sampling: SamplingConfig
) -> list[Line]:
    """The lines of some samples; of none where there are fewer batches than processes."""
    groups = engine.generate(batch, n, sampling) if batch else []
    return [
        {
            "sample_id": sample.id,
            "completions": [completion_record(completion) for completion in group],
        }
        for sample, group in zip(batch, groups, strict=True)
    ]


def weights_digest(model: nn.Module) -> str:
    """A fingerprint that further training changes: SHA-256 over a few values of each weight.

    Loading is what makes a large model slow to start; reading it whole once more would double it.
    """
    digest = hashlib.sha256()
    for name, weight in model.named_parameters():
        values = weight.detach().flatten()[:_SAMPLED_VALUES].float().cpu()
        digest.update(name.encode() + values.numpy().tobytes())
    return digest.hexdigest()


def _before_an_error(parts: Iterable[list[Line] | TriptychError]) -> list[Line]:
    lines: list[Line] = []
    for part in parts:
        if isinstance(part, TriptychError):
            break
        lines += part
    return lines


def _append(path: Path, lines: Iterable[Line]) -> None:
    # Half a surrogate pair has an escape in JSON, but no bytes in UTF-8.
    with path.open("a", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
        for line in lines:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")


def _find_lines(path: Path, samples: Sequence[Sample]) -> int:
    """How many samples have their line; half a line at the end is cut off."""
    if not path.exists():
        return 0
    count = size = 0
    with path.open("rb+") as file:
        for line in file:
            if not line.endswith(b"\n"):
                break
            expected = samples[count].id if count < len(samples) else None
            if _sample_id(line) != expected:
                raise DataError(
                    f"{path}:{count + 1}: should be the line of sample {expected!r}; bring back "
                    "the file as it was written, or remove it to start over"
                )
            count += 1
            size += len(line)
        file.truncate(size)
    return count


def _sample_id(line: bytes) -> Any:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record.get("sample_id") if isinstance(record, dict) else None
