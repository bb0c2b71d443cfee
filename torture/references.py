"""What undisturbed runs of the verbs give: made when a case first asks for it."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Literal

from torture.run import LEISURE, run
from torture.sandbox import Sandbox
from torture.verbs import VERBS

Age = Literal["old", "new"]


def supply(sandbox: Sandbox, name: str) -> None:
    """Put what a verb takes into a sandbox."""
    for each in VERBS[name].takes:
        sandbox.take(each, sandbox.cache if each == "cache" else None)


def reference(world: Path, name: str, age: Age = "new") -> Path:
    """The output of a verb, by its `old` or its `new` command. Raises RuntimeError if that fails."""
    verb, kept = VERBS[name], world / "verbs" / f"{name}-{age}"
    if not kept.exists():
        sandbox = Sandbox(Path(tempfile.mkdtemp(prefix=f"{name}-", dir=world)), world)
        supply(sandbox, name)
        ended = run(sandbox, verb.argv(age), limits=LEISURE)
        if ended.code != 0:
            raise RuntimeError(f"{' '.join(ended.argv)} ended with {ended.code}: {ended.err or ended.out}")
        kept.parent.mkdir(exist_ok=True)
        try:
            os.rename(sandbox.work, kept)
        except OSError:  # another process was quicker
            shutil.rmtree(sandbox.work)
        sandbox.delete()
    return kept / verb.output
