"""`triptych data show`, and its page in a real browser."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from triptych.cli.main import main

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


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
    command = [
        *(str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"),
        *("--disable-background-networking", "--disable-component-update", "--no-first-run"),
        f"--user-data-dir={tmp_path / 'profile'}",
        "--enable-logging=stderr",
        page.as_uri(),
    ]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    dom = run.stdout
    assert dom.count('<article class="card sample ') == 8
    assert dom.count('src="data:image/jpeg;base64,') == 8 * 8
    assert dom.count('class="wave"') == 8
    assert "Unreadable records" in dom
    assert not re.search(r'(?:src|href)="(?!#|data:)', dom)
    assert "<script" not in dom
    # Chromium says on its console what the page's own policy kept it from loading.
    assert "Content Security Policy" not in run.stderr


def test_a_limit_below_one_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "show", "a.jsonl", "a.html", "--limit", "0"]) == 2
    assert "limit is 0; use 1 or more" in capsys.readouterr().err
