"""Pages as a real browser sees them."""

import re
import shutil
import subprocess
from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


def render(page: Path, profile: Path) -> str:
    """The document after loading; it must run nothing and load nothing from outside."""
    command = [
        *(str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"),
        *("--disable-background-networking", "--disable-component-update", "--no-first-run"),
        f"--user-data-dir={profile}",
        "--enable-logging=stderr",
        page.as_uri(),
    ]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert not re.search(r'(?:src|href)="(?!#|data:)', run.stdout)
    assert "<script" not in run.stdout
    # Chromium says on its console what the page's own policy kept it from loading.
    assert "Content Security Policy" not in run.stderr
    return run.stdout
