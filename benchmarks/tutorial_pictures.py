"""The pictures of the tutorial (docs/start/tutorial.md): its commands are run in their order, and what they drew is copied beside the page.

The result of the first erasure is copied too: a test holds the numbers of the page against it.

    python benchmarks/tutorial_pictures.py --work out/tutorial     # `make tutorial-pictures`; about ten minutes on two cores

What is in the folder of work already is replaced.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

from PIL import Image

import pages

PAGE = pages.ROOT / "docs" / "start" / "tutorial.md"
PICTURES = PAGE.parent / "pictures"

MADE = {
    "before_after": "out/cat/before_after.png", "before": "before.png", "after": "after.png", "nats": "nats.png", "both": "both.png",
    "strength-0": "strength-0.png", "strength-half": "strength-half.png", "strength-1": "strength-1.png",
}  # fmt: skip
"""The page's pictures, and what its commands call them."""

RESULT = "out/cat/result.json"

WIDEST = 1200
"""Pixels of a committed picture; a figure is drawn larger (ours)."""


def run(work: Path) -> None:
    """Do what the page says, in a folder. Raises CalledProcessError for a command that fails."""
    work.mkdir(parents=True, exist_ok=True)
    for command in pages.commands(PAGE):
        replaces = ["--overwrite"] if command[0] not in ("info", "report") else []
        print("excise", *command, flush=True)
        subprocess.run([sys.executable, "-m", "excise", *command, *replaces], cwd=work, check=True)


def collect(work: Path) -> None:
    """Copy the pictures beside the page, as small as they are without loss; figures are shrunk."""
    PICTURES.mkdir(exist_ok=True)
    for name, made in MADE.items():
        with Image.open(work / made) as picture:
            shown = picture.convert("RGB")
        if shown.width > WIDEST:
            shown = shown.resize((WIDEST, round(shown.height * WIDEST / shown.width)), Image.Resampling.LANCZOS)
        shown.save(PICTURES / f"{name}.png", optimize=True)
    shutil.copyfile(work / RESULT, PICTURES / "result.json")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, metavar="DIR", help="where the commands run")
    options = parser.parse_args()
    run(options.work)
    collect(options.work)


if __name__ == "__main__":
    main()
