"""`triptych data show`, and its page in a real browser."""

import json
from pathlib import Path

import pytest
from chromium import CHROMIUM, render

from triptych.cli.main import main


@pytest.fixture
def page(clips_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """Twelve questions about clips, and a line that is none."""
    lines = (clips_folder / "test-balanced.jsonl").read_text().splitlines()[:12]
    data = clips_folder / "shown.jsonl"
    data.write_text("\n".join([*lines, json.dumps({"id": "<script>alert(1)</script>"})]))
    out = tmp_path / "sheet.html"
    try:
        assert main(["data", "show", str(data), str(out), "--limit", "8"]) == 0
    finally:
        data.unlink()
    assert capsys.readouterr().out == f"8 of 12 samples: {out}\n"
    return out


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium on the PATH")
def test_the_contact_sheet_in_chromium(page: Path, tmp_path: Path) -> None:
    dom = render(page, tmp_path / "profile")
    assert dom.count('<article class="card sample ') == 8
    assert dom.count('src="data:image/jpeg;base64,') == 8 * 8
    assert dom.count('class="wave"') == 8
    assert "Unreadable records" in dom


def test_a_limit_below_one_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "show", "a.jsonl", "a.html", "--limit", "0"]) == 2
    assert "limit is 0; use 1 or more" in capsys.readouterr().err
