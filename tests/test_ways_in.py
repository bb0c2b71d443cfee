"""The ways in for words of families that have several: a concept that enters by one of them alone is erased where that one is closed.

Erasing what the tokens say leaves a concept that the pooled text brings as it was: unified-concept-editing's issue 35 reports that of SDXL.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import excise
import tiny_models
from excise.concepts import Concept
from excise.erasure.run import Run
from excise.methods import get
from excise.models import Model
from excise.models.entrances import Way
from excise.models.fingerprint import named_tensors

FAMILIES: dict[str, tuple[Callable[[], Any], float]] = {
    "sdxl": (tiny_models.sdxl, 20.0), "sd3": (tiny_models.sd3, 1.0), "flux": (tiny_models.flux, 1.0),
}  # fmt: skip
"""Tiny pipelines, and how much louder the pooled text is made: of random weights little would be seen."""

SETTINGS: dict[str, dict[str, Any]] = {
    "mim": {"rounds": 2, "steps": 4, "batch": 2, "trajectories": 2, "sampler_steps": 3, "hold": 5.0},
    "cure": {"alpha": 100.0, "retain": ()},
}
CONCEPT = Concept("x", "object", ("x",), ("",), ("{object}",))
"""One token in every tokenizer."""


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


def hears_alone(way: Way, family: str, folder: Path) -> Model:
    """A model whose pictures depend on what one way in says alone: all other weights that read text are zero."""
    make, louder = FAMILIES[family]
    make().save_pretrained(folder / "whole")
    model = excise.load(folder / "whole", device="cpu")
    tensors = named_tensors(model)
    with torch.no_grad():
        for entrance in model.entrances:
            tensors[entrance.weight].mul_(0 if entrance.reads != way else louder if way == "pooled" else 1)
    model.pipeline.save_pretrained(folder / "alone")
    return excise.load(folder / "alone", device="cpu")


def distance(model: Model, one: str, other: str) -> float:
    """How differently two prompts are answered, on average over noise levels."""
    x, t = torch.randn(8, *model.latent_shape, generator=torch.Generator().manual_seed(0)), torch.arange(50, 850, 100)
    answers = [model.predict(x, t, model.encode([text]).expand(8)) for text in (one, other)]
    return float((answers[0] - answers[1]).norm())


def erased(model: Model, method: str) -> excise.Edit:
    found = get(method)
    return found.erase(model, [CONCEPT], found.settings(**SETTINGS.get(method, {})), Run())


def left(model: Model, method: str) -> float:
    """The share of the distance to the empty prompt that an erasure leaves."""
    before = distance(model, "x", "")
    with erased(model, method).applied(model):
        return distance(model, "x", "") / before


def forget_way(model: Model, way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the family did not know of this way in."""
    every = type(model).entrances
    monkeypatch.setattr(type(model), "entrances", property(lambda own: [e for e in every.fget(own) if e.reads != way]))  # type: ignore[attr-defined]


@pytest.mark.parametrize("method", ["mim", "uce", "rece"])
@pytest.mark.parametrize("way", ["pooled", "tokens"])
def test_a_concept_that_enters_by_one_way_alone_is_erased(
    way: Way, method: str, family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = hears_alone(way, family, tmp_path)
    assert distance(model, "x", "") > 0.05 and distance(model, "x", "y") > 0.05
    both = left(model, method)
    forget_way(model, way, monkeypatch)
    other = left(model, method)
    assert both < 0.5 and other > 0.8, f"left: {both:.2f} with both ways closed, {other:.2f} with the other alone"


def test_what_cure_projects_out_does_not_come_back_by_the_pooled_text(family: str, tmp_path: Path) -> None:
    """It sends a concept's rows nowhere, not to another prompt's: what its entrances make of them is gone."""
    model = hears_alone("pooled", family, tmp_path)
    (name,) = model.entrances_of("pooled")
    row = model.read(model.encode(["x"]), "pooled")[0]

    def said() -> float:
        return float((named_tensors(model)[name][:, : len(row)] @ row).norm())

    before = said()
    with erased(model, "cure").applied(model):
        assert said() < 1e-3 * before
