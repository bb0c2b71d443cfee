"""What must be instant loads no torch: the package, help, lists, dry runs, refused settings."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import excise

SRC = Path(excise.__file__).parents[1]
HEAVY = ("torch", "diffusers", "transformers", "matplotlib", "peft")

RUN = """
import sys
import excise
from typer.testing import CliRunner
from excise.cli import app

def call(code, *arguments):
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == code, (arguments, result.output, result.exception)

model = sys.argv[1]
call(0, "--help")
for command in ("erase", "generate", "evaluate", "list", "info", "apply", "canvas"):
    call(0, command, "--help")
for what in ("methods", "attacks", "models", "concepts"):
    call(0, "list", what, "--model", model)
call(0, "info", model)
call(0, "erase", "cat", "--model", model, "--dry-run", "--set", "rounds=2")
call(2, "erase", "cat", "--model", model, "--set", "rouns=2")
call(2, "erase", "cta", "--model", model)
call(2, "erase", "cat", "--model", model + "-missing")
call(2, "erase", "cat", "--model", model, "--harden", model)
print([name for name in sys.argv[2:] if name in sys.modules])
"""


def test_nothing_heavy_is_imported(tiny_canvas: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(SRC)}
    command = [sys.executable, "-c", RUN, str(tiny_canvas), *HEAVY]
    result = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=900)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "[]\n"


def test_public_names_are_there() -> None:
    assert all(getattr(excise, name) is not None for name in excise.__all__)
    assert set(dir(excise)) == set(excise.__all__)
