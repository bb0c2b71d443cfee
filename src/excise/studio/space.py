"""The folder of a Hugging Face Space that opens the same page."""

from __future__ import annotations

from pathlib import Path

import excise
from excise.files import replacing_folder, vacant, write_text

GRADIO = "6.31.0"
"""The version that the page was tried with (constraints-studio.txt)."""

APP = '''"""excise studio on a Hugging Face Space."""

import threading
from pathlib import Path

from excise.studio.server import opened

# A Space is open to everybody unless you make it private. Its disk is lost when it sleeps.
with opened(Path("/tmp/studio"), host="0.0.0.0", port=7860, framed=True):
    threading.Event().wait()
'''

README = """---
title: excise studio
emoji: ✂️
colorFrom: blue
colorTo: gray
sdk: gradio
sdk_version: {gradio}
python_version: "3.12"
app_file: app.py
pinned: false
license: apache-2.0
short_description: Take something out of a model that makes pictures
---

# excise studio

Take something out of a text-to-image model, and see that everything else stays. The page begins with a finished example on a small model
that the package brings, which a CPU is enough for.

Everybody who opens the Space sees what they made themselves, and waits in one line. What they made is lost when the Space restarts.
"""

REQUIREMENTS = """# If no package index has this version, put its wheel (pip wheel --no-deps) into this folder and name that file here.
excise[studio]=={excise}
"""


def write(folder: Path) -> Path:
    """Write `app.py`, `requirements.txt` and `README.md` into a new folder, all or nothing; returns it."""
    with replacing_folder(folder, _nothing_there) as new:
        write_text(new / "app.py", APP)
        write_text(new / "requirements.txt", REQUIREMENTS.format(excise=excise.__version__))
        write_text(new / "README.md", README.format(gradio=GRADIO))
    return folder


def _nothing_there(folder: Path) -> set[str]:
    """The files that may be replaced. Raises FileExistsError if there are any."""
    if not vacant(folder):
        raise FileExistsError(f"{folder} exists")
    return set()
