"""No file, however broken, hangs or crashes a decoder; sound ones give what was put into them."""

import json
import subprocess
import sys
from pathlib import Path

import hostile
import pytest

_SECONDS = 240  # for a batch; on an idle machine it takes a few
_DAMAGED = hostile.names()[-hostile.NUM_DAMAGED :]
_OTHERS = hostile.names()[: -hostile.NUM_DAMAGED]
_BATCHES = [(_OTHERS + _DAMAGED[::8])[part::4] for part in range(4)]


def _examine(names: list[str], folder: Path) -> dict[str, list[str]]:
    """Decode files in a process of their own: the errors of each, if that is all that went wrong.

    A test that hangs or crashes says which file it was at.
    """
    command = [sys.executable, hostile.__file__, str(folder), *names]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS)
    except subprocess.TimeoutExpired as hung:
        output = hung.stdout.decode() if isinstance(hung.stdout, bytes) else hung.stdout
        pytest.fail(f"hangs at {output.splitlines()[-1] if output else names[0]}")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, f"{lines[-1:]} ends with {done.returncode}: {done.stderr[-2000:]}"
    verdicts = dict(zip((line["name"] for line in lines[::2]), lines[1::2], strict=True))
    assert list(verdicts) == names
    assert {name: found for name, v in verdicts.items() if (found := v["findings"])} == {}
    return {name: verdict["errors"] for name, verdict in verdicts.items()}


@pytest.mark.parametrize("batch", range(len(_BATCHES)))
def test_hostile_files_end_in_named_errors_and_sound_ones_are_decoded(
    batch: int, tmp_path: Path
) -> None:
    errors = _examine(_BATCHES[batch], tmp_path)
    damaged = [errors[name] for name in errors if name in _DAMAGED]
    # Every file is taken for a video, a sound, an image, and what it is.
    assert any(len(found) == 4 for found in damaged)
    assert any(len(found) < 3 for found in damaged)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(8))
def test_the_whole_corpus_of_hostile_files(part: int, tmp_path: Path) -> None:
    assert len(_DAMAGED) >= 400
    _examine(hostile.names()[part::8], tmp_path)


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("circular.mp4", "its video goes round in circles"),
        ("1-hz.wav", "1 Hz is no rate of sound"),
        ("not-numbers.wav", "samples that are not numbers"),
        ("bomb.png", "3600000000 pixels"),
        ("strip.png", "is 5000x2, a strip"),
        ("script.eps", "is a drawing"),
        ("no-frames.mp4", "holds no frames"),
    ],
)
def test_errors_say_what_is_wrong(name: str, error: str, tmp_path: Path) -> None:
    (found,) = _examine([name], tmp_path).values()
    assert any(error in line for line in found)
