from pathlib import Path

import pytest

from triptych.cli.main import main
from triptych.models.families import FAMILIES


def test_an_unknown_family_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tiny", str(tmp_path / "toy"), "--family", "qwen3_omn"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "no family is called 'qwen3_omn'; did you mean 'qwen3_omni'?" in line
    assert all(family.name in line for family in FAMILIES)
    assert not (tmp_path / "toy").exists()


def test_a_folder_with_other_things_is_left_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert main(["tiny", str(tmp_path)]) == 2
    assert "is not empty; name another folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
