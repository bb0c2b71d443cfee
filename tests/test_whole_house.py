"""One concept through the whole house, by the commands that a user types: erased, measured, evaluated, attacked, drawn, taken off again."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from excise.cli import app
from excise.edits import load_edit
from excise.models import load
from excise.models.fingerprint import named_tensors


def ok(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, (arguments, result.output, result.exception)
    return result.output


def test_from_a_name_to_a_page(tiny_canvas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXCISE_CACHE", str(tmp_path / "cache"))
    edit, model = tmp_path / "out" / "cat", ("--model", tiny_canvas)
    ok("erase", "cat", *model, "--method", "uce", "--out", edit, "--evaluate", "none")
    ok("evaluate", "--edit", edit, *model, "--target-pictures", 2, "--other-pictures", 2, "--json", edit / "evaluation.json")
    ok("measure", "--edit", edit, *model, "--budget", 600, "--against", "none", "--json", edit / "nats.json")
    ok("audit", edit, *model, "--attacks", "seeds:tries=1", "--prompts", 2, "--budget", 40, "--out", tmp_path / "out" / "audit")
    ok("report", tmp_path / "out", "--out", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert all(re.search(word, page) for word in ("object:cat", "uce", "seeds", "nats"))

    loaded = load(tiny_canvas, device="cpu")
    before = {name: tensor.clone() for name, tensor in named_tensors(loaded).items()}
    with load_edit(edit).applied(loaded):
        assert not all(torch.equal(tensor, before[name]) for name, tensor in named_tensors(loaded).items())
    assert all(torch.equal(tensor, before[name]) for name, tensor in named_tensors(loaded).items())
