"""Pictures of pages for the documentation: plays the run of docs/how-to/report.md and takes them in headless Chromium.

python scripts/page_pictures.py        # needs the extra `browser`, Chromium, and Pillow to make files small
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs" / "how-to"
RUN = "simulate llama-3.1-8b --device l40s --replicas 2 --workload azure-conv --rate 5 --limit 2000"
LIMITS = "--ttft 1s --tpot 60ms"
WIDTH, HEIGHT = 1280, 1330
COLOURS = 64


def main() -> int:
    """Take both pictures."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as engine:
        page_file = Path(folder) / "run.html"
        command = [sys.executable, "-m", "hasten", *RUN.split(), *LIMITS.split(), "--report", str(page_file)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        path = shutil.which("chromium") or engine.chromium.executable_path
        browser = engine.chromium.launch(executable_path=path, args=["--no-sandbox"])
        for scheme in ("light", "dark"):
            page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme=scheme)
            page.goto(page_file.as_uri())
            page.wait_for_selector("html[data-ready]")
            page.wait_for_timeout(300)
            if scheme == "dark":
                page.locator(".grid-body").focus()
                page.keyboard.press("Enter")
                page.wait_for_timeout(200)
            save_small(page.screenshot(), DOCS / f"report-{scheme}.png")
        browser.close()
    return 0


def save_small(picture: bytes, path: Path) -> None:
    """Write a picture in a few colours: a page has no more."""
    from PIL import Image

    image = Image.open(io.BytesIO(picture)).convert("RGB")
    image.quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"wrote {path.relative_to(ROOT)}, {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    raise SystemExit(main())
