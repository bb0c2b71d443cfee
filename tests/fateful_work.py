"""Work for actors of a Ray cluster, in a file that imports nothing large: each of them imports it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from excise.progress import Progress


def begun(notes: Path) -> dict[str, int]:
    """How often each task was begun."""
    tasks = [note.name.partition("@")[0] for note in notes.glob("*@*")]
    return {task: tasks.count(task) for task in tasks}


class Fateful:
    """Work that answers with its task, or waits until a file says go, or kills its process."""

    def __init__(self, notes: Path) -> None:
        self.notes = notes

    def __call__(self, task: str, progress: Progress) -> str:
        if task == "wrong":
            raise KeyError("no such task")
        (self.notes / f"{task}@{os.getpid()}-{time.time_ns()}").touch()
        if task == "deadly":
            os.kill(os.getpid(), signal.SIGKILL)
        while task.startswith("wait") and not (self.notes / "go").exists():
            time.sleep(0.05)
        return task.upper()


class Unready:
    """Work that does not arrive: what it needs is not there on another machine."""

    def __reduce__(self) -> Any:
        return _not_installed, ()

    def __call__(self, task: str, progress: Progress) -> str:
        return task


def _not_installed() -> None:
    raise ModuleNotFoundError("No module named 'excise'")
