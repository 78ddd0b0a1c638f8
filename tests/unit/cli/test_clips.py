from pathlib import Path

import pytest

from triptych.cli.main import main

SPLITS = ("cold-start", "rl-biased", "rl-balanced", "validation", "test-balanced")


def make(out: Path, *words: str) -> int:
    sizes = [f"--sizes.{split}=4" for split in SPLITS]
    return main(["clips", "make", str(out), "--jobs", "1", *sizes, *words])


def test_clips_make_writes_the_splits_and_prints_what_they_hold(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "clips"
    assert make(out, "--seed", "3") == 0
    printed = capsys.readouterr().out
    for split in SPLITS:
        assert (out / f"{split}.jsonl").is_file()
        assert split in printed
    assert "only the voice 0." in printed
    assert f"Clips written: {out}" in printed
    assert make(out, "--seed", "3") == 0
    assert f"Clips were there already: {out}" in capsys.readouterr().out
    assert make(out, "--seed", "0") == 0
    said = f"Clips written in the place of the set of seed 3: {out}"
    assert said in capsys.readouterr().out


def test_clips_make_leaves_a_folder_with_other_things_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "notes.txt"
    mine.write_text("mine")
    assert make(tmp_path) == 1
    assert "notes.txt" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [mine]
