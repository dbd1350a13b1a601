"""Make the pictures of the README and of the first page of the site from a run: ``python docsite/make_pictures.py``.

It carries out the campaign of the README, copies the screen of ``labctl watch`` while that is under way, and the top of
the report when it has ended. The name of the user and of the computer are replaced. Takes some minutes on two cores;
needs chromium.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from PIL import Image, ImageChops
from rich.console import Console
from rich.terminal_theme import DIMMED_MONOKAI

from labctl.report.live_screen import screen
from labctl.report.live_state import Watcher

ROOT = Path(__file__).resolve().parents[1]
PICTURES = ROOT / "docs" / "pictures"
LARGEST = 150_000
"""Bytes that a picture may have."""
COLUMNS, LINES = 104, 40
MARGIN = 18
LABCTL = [sys.executable, "-m", "labctl"]
PAGE = """<meta charset="utf-8"><style>body {{ margin: 0; background: #101418; color: #d8dee4 }}
pre {{ margin: 16px 20px; font: 14px/1.28 "DejaVu Sans Mono", monospace }}</style><pre>{}</pre>"""


def main() -> int:
    """Make both pictures; return 1 if the run fails, or a picture is too large."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--campaign", default="examples/overnight-36-dies.yaml", help="one of the examples")
    parser.add_argument("--at", type=float, default=0.6, help="share of the dies that the screen shows as done")
    asked = parser.parse_args()
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as desk:
        run = Path(desk) / "runs" / "first"
        shutil.copytree(ROOT / "examples", Path(desk) / "examples")
        work = subprocess.Popen([*LABCTL, "run", asked.campaign, "--out", "runs/first"], cwd=desk)
        screen = watched(run, work, asked.at)
        if work.wait() not in (0, 1):
            return 1
        html = Path(desk) / "watch.html"
        html.write_text(PAGE.format(screen), encoding="utf-8")
        picture(html, "watch.png", 940, 660)
        picture(run / "report.html", "report.png", 1280, 980)
    sizes = {path.name: path.stat().st_size for path in PICTURES.glob("*.png")}
    print(sizes)
    return int(any(size > LARGEST for size in sizes.values()))


def watched(run: Path, work: "subprocess.Popen[bytes]", share: float) -> str:
    """Return the screen of ``labctl watch`` as HTML once a share of the dies is done."""
    while not (run / "journal.db").is_file() and work.poll() is None:
        time.sleep(0.5)
    watcher = Watcher(run)
    now = watcher.snapshot()
    while work.poll() is None and now.done < share * now.total:
        time.sleep(1)
        now = watcher.snapshot()
    now = replace(now, alive=re.sub(r"^\S+ on \S+ \(pid \d+\)", "kim on bench-2 (pid 4711)", now.alive))
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        console = Console(record=True, width=COLUMNS, file=nowhere, force_terminal=True)
        console.print(screen(now, COLUMNS, LINES))
    return console.export_html(inline_styles=True, code_format="{code}", theme=DIMMED_MONOKAI)


def picture(page: Path, name: str, width: int, height: int) -> None:
    """Take a picture of a page as a browser shows it, in few colours."""
    browser = shutil.which("chromium") or shutil.which("google-chrome") or "chromium"
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder) / name
        size = [f"--window-size={width},{height}", f"--screenshot={shot}", "--hide-scrollbars"]
        subprocess.run([browser, "--headless", "--no-sandbox", "--disable-gpu", *size, page.as_uri()], check=True)
        image = Image.open(shot).convert("RGB")
        ground = Image.new("RGB", image.size, image.getpixel((0, 0)))
        _, _, _, bottom = ImageChops.difference(image, ground).getbbox() or (0, 0, 0, height)
        image = image.crop((0, 0, width, min(height, bottom + MARGIN)))
        image.quantize(128).save(PICTURES / name, optimize=True)


if __name__ == "__main__":
    sys.exit(main())
