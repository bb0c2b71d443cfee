"""What a command must never do, seen while it runs: Python's audit hooks, which nothing can take off."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

PROGRAMS = ("os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "os.spawn", "pty.spawn", "os.startfile")
CHANGES = {
    "os.remove": 1,
    "os.rmdir": 1,
    "os.mkdir": 2,
    "os.chmod": 2,
    "os.truncate": None,
    "os.rename": 2,
    "os.link": 2,
    "os.symlink": 2,
}
"""Events that change a path, and at which place they say the folder that it is relative to (-1: the current one)."""


def watch(root: Path, outside: Path, report: int) -> None:
    """From here on, write a line "KIND DETAIL" to the file descriptor `report` for everything that must not happen.

    root     the only folder in which files may be written
    outside  a folder in it in which none may even be opened
    """
    inside, forbidden = f"{os.path.realpath(root)}/", os.path.realpath(outside)
    own = f"/proc/{os.getpid()}/clear_refs"  # where the most memory that was in use is set to 0
    busy = False

    def tell(sort: str, detail: object) -> None:
        os.write(report, f"{sort} {' '.join(str(detail).split())[:300]}\n".encode(errors="replace"))

    def opened(path: Any, flags: Any) -> None:
        if isinstance(path, int) or path is None:
            return
        real = os.path.realpath(os.fsdecode(path))
        if real == forbidden or real.startswith(f"{forbidden}/"):
            tell("outside", f"opened {real}")
        elif (
            flags is not None
            and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            and not real.startswith((inside, "/dev/pts/"))
            and real not in ("/dev/null", "/dev/tty", own)
        ):
            tell("outside", f"wrote {real}")

    def changed(path: Any, folder: Any) -> None:
        if isinstance(path, int) or folder not in (None, -1):
            return
        place = os.path.realpath(os.path.dirname(os.path.abspath(os.fsdecode(path))))
        if not f"{place}/".startswith(inside) or f"{place}/".startswith(f"{forbidden}/"):
            tell("outside", f"changed {os.fsdecode(path)}")

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal busy
        if busy:
            return
        busy = True
        try:
            if event == "open":
                opened(arguments[0], arguments[2])
            elif event in CHANGES:
                place = CHANGES[event]
                changed(arguments[0], None if place is None else arguments[place])
            elif event == "exec":
                if getattr(arguments[0], "co_filename", "").startswith(inside):
                    tell("code", arguments[0].co_filename)
            elif event == "pickle.find_class":
                tell("pickle", f"{arguments[0]}.{arguments[1]}")
            elif event in PROGRAMS:
                tell("program", arguments[:2])
            elif event == "socket.connect":
                tell("network", arguments[1])
        finally:
            busy = False

    sys.addaudithook(hook)
