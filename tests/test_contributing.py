"""The methods that CONTRIBUTING.md writes out work as they stand there: one that trains, and one that solves."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest
import torch

import excise.methods
from excise.concepts import Concept
from excise.erasure.run import Run
from excise.models import Model

PAGE = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")
DECLARED, TRAINED, SOLVED = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
TINY = {"rounds": 1, "steps": 2, "batch": 2, "trajectories": 2, "sampler_steps": 2}
CAT, DOG = (Concept(name, "object", (f"a {name}",), ("photo", "sketch")) for name in ("cat", "dog"))
IMPORTS = """
from collections.abc import Sequence
import torch
from excise.concepts import Concept
from excise.edits import Delta, WeightEdit
from excise.erasure.closed_form import redirect
from excise.erasure.joint_solve import Ledger
from excise.erasure.run import Run
from excise.erasure.text_rows import TextRows
from excise.erasure.wording import worded
from excise.methods.name import NameSettings
from excise.models import Model
"""
SETTINGS = DECLARED.replace("from excise.erasure.training_settings import Visiting\n", "from excise.settings import Settings\n").replace(
    "(Visiting)", "(Settings)").replace("strength: float", "ridge: float")  # fmt: skip


def write(folder: Path, name: str, declared: str, work: str) -> None:
    """A method of that name, as the page has it."""
    (folder / name).mkdir()
    for file, text in (("__init__.py", declared), ("erase.py", work)):
        (folder / name / file).write_text(text.replace('"name"', f'"{name}"').replace("methods.name", f"methods.{name}"))


@pytest.mark.parametrize(
    ("name", "declared", "work"), [("pagetrains", DECLARED, TRAINED), ("pagesolves", SETTINGS, IMPORTS + SOLVED)]
)
def test_it_erases(name: str, declared: str, work: str, sd1: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, name, declared, work)
    monkeypatch.setattr(excise.methods, "__path__", [*excise.methods.__path__, str(tmp_path)])
    method = importlib.import_module(f"excise.methods.{name}").METHOD
    settings = method.parse({key: value for key, value in TINY.items() if key in method.settings.model_fields})
    edit = method.erase(sd1, [CAT, DOG], settings, Run(0))
    again = method.erase(sd1, [CAT, DOG], settings, Run(0))
    assert edit.deltas and all(key.startswith("unet.") and "attn2" in key for key in edit.deltas)
    assert all(torch.equal(edit.deltas[key].dense(), again.deltas[key].dense()) for key in edit.deltas)
