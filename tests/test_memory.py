"""What an erasure takes is said before it begins."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from excise.cli import app
from excise.jobs import memory
from excise.jobs.erase import erase
from excise.models import recomputing
from excise.requests.erase import EraseRequest


def request(model: Path, **options: Any) -> EraseRequest:
    return EraseRequest(concepts=("cat",), model=str(model), **options)


def test_more_is_taken_by_more(tiny_sd1: Path) -> None:
    plain = memory.need(request(tiny_sd1, method="esd", settings={"batch": 2}))
    assert plain.total > memory.RUNTIME + sum(part.bytes for part in plain.parts)
    wider = memory.need(request(tiny_sd1, method="esd", settings={"batch": 8}))
    assert 3 < wider.work.learning / plain.work.learning < 5, "activations grow with the batch"
    larger = memory.need(request(tiny_sd1, method="esd", settings={"batch": 2}, size=32))
    assert larger.work.learning > 2 * plain.work.learning and larger.work.decoding > plain.work.decoding
    half = memory.need(request(tiny_sd1, method="esd", settings={"batch": 2}, dtype="bfloat16"))
    assert sum(part.bytes for part in half.parts) * 2 == sum(part.bytes for part in plain.parts)


def test_less_memory_is_told_too(tiny_sd1: Path) -> None:
    plain, lean = (
        memory.need(request(tiny_sd1, method="esd", settings={"batch": 64}, low_memory=low)) for low in (False, True)
    )
    assert lean.work.learning < 0.6 * plain.work.learning
    assert lean.total < plain.total and lean.work.sampling == plain.work.sampling and lean.work.decoding == plain.work.decoding
    closed = [memory.need(request(tiny_sd1, method="uce", low_memory=low)).total for low in (False, True)]
    assert closed[0] == closed[1], "a closed form has no gradient"


@pytest.mark.parametrize("method", ["mim", "uce"])
def test_less_memory_changes_no_bit_of_an_erasure(method: str, tiny_sd1: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts: list[Any] = []
    real = recomputing.checkpoint
    monkeypatch.setattr(
        recomputing, "checkpoint", lambda part, *told, **named: parts.append(part) or real(part, *told, **named)
    )
    options: dict[str, Any] = (
        {"rounds": 1, "steps": 2, "batch": 2, "trajectories": 2, "sampler_steps": 2} if method == "mim" else {}
    )
    found = [
        erase("a corgi", model=tiny_sd1, device="cpu", method=method, settings=options, low_memory=low).edit.tensors()
        for low in (False, True)
    ]
    assert found[0].keys() == found[1].keys() and all(torch.equal(found[0][name], found[1][name]) for name in found[0])
    assert bool(parts) is (method == "mim"), "what is learned is computed again, a closed form has nothing to"


def test_it_is_a_way_out_for_what_learns(tiny_sd1: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("excise.models.contents.LARGE", 0)
    monkeypatch.setattr(memory, "available", lambda device: 2**20)
    for method, low, told in (("esd", False, True), ("esd", True, False), ("uce", False, False)):
        with pytest.warns(UserWarning, match="MiB are free; try ") as warned:
            memory.warn_if_short(request(tiny_sd1, method=method, low_memory=low))
        assert ("try --low-memory," in str(warned[0].message)) is told


def test_a_run_that_will_not_fit_says_so_before_it_begins(tiny_sd1: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = request(tiny_sd1, method="uce")
    monkeypatch.setattr("excise.models.contents.LARGE", 0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        memory.warn_if_short(asked)
    monkeypatch.setattr(memory, "available", lambda device: 2**20)
    with pytest.warns(UserWarning, match=r"will take about \d+ MiB and 1 MiB are free; try --dtype bfloat16"):
        memory.warn_if_short(asked)


def test_a_dry_run_and_info_tell_sizes(tiny_sd1: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("excise.models.contents.LARGE", 0)
    shown = CliRunner().invoke(app, ["erase", "cat", "--model", str(tiny_sd1), "--method", "uce", "--dry-run"])
    assert shown.exit_code == 0, shown.output
    for words in ("text_encoder", "CLIPTextModel", "a step of learning", "in all"):
        assert words in shown.output
    told = CliRunner().invoke(app, ["info", str(tiny_sd1)])
    assert told.exit_code == 0 and "UNet2DConditionModel" in told.output and "in float32" in told.output
