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
from excise.edits import WeightEdit
from excise.erasure.run import Run
from excise.methods import get
from excise.methods.sepme.erase import protected_rows
from excise.methods.sepme.shifts import Shifts, null_space
from excise.models import Model
from excise.models.entrances import Way
from excise.models.fingerprint import named_tensors

FAMILIES: dict[str, tuple[Callable[[], Any], float]] = {
    "sdxl": (tiny_models.sdxl, 20.0), "sd3": (tiny_models.sd3, 1.0), "flux": (tiny_models.flux, 1.0),
}  # fmt: skip
"""Tiny pipelines, and how much louder the pooled text is made: of random weights little would be seen."""

SETTINGS: dict[str, dict[str, Any]] = {
    # Few prompts make the metric here, and few steps are taken: those near the concept alone would say too little of all others.
    "mim": {
        "rounds": 2,
        "steps": 4,
        "batch": 2,
        "trajectories": 2,
        "sampler_steps": 3,
        "hold": 5.0,
        "metric": "in_place",
        "lr": 2e-3,
    },
    "cure": {"alpha": 100.0, "retain": ()},
    "sepme": {
        "wording": "name",
        "protect": "y",
        "rounds": 2,
        "steps": 12,
        "batch": 2,
        "pictures": 2,
        "picture_steps": 2,
        "tolerance": 0.5,
        "l1": 0.0,
        "tau": 0.0,
    },
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
    return found.erase(model, [CONCEPT], found.parse(SETTINGS.get(method, {})), Run())


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


def test_shifts_of_sepme_reach_the_pooled_text_and_not_that_of_protected_prompts(family: str, tmp_path: Path) -> None:
    FAMILIES[family][0]().save_pretrained(tmp_path)
    model = excise.load(tmp_path, device="cpu")
    method = get("sepme")
    rows = protected_rows(model, [CONCEPT], method.parse({"protect": "y"}))["object:x"]
    bases = {way: null_space(rows[way], tolerance) for way, tolerance in (("tokens", 0.5), ("pooled", 1e-6))}
    shifts = Shifts(model, {"object:x": bases}, 0.1)  # type: ignore[dict-item]
    for parameter in shifts.parameters.values():
        parameter.data.normal_(generator=torch.Generator().manual_seed(0))
    (name,) = model.entrances_of("pooled")
    shift = shifts.parts()["object:x"][name].dense()
    assert shift.shape == named_tensors(model)[name].shape
    read = {text: model.read(model.encode([text]), "pooled")[0] for text in ("x", "", "y")}
    width = len(read["x"])
    moved = {text: float((shift[:, :width] @ row).norm()) for text, row in read.items()}
    assert moved["x"] > 0.1 and max(moved[""], moved["y"]) < 1e-4 * moved["x"]
    assert not shift[:, width:].any(), "what else it reads is not text"
    x, t, told = model.start_noise([0]), torch.tensor([500]), model.encode(["x"])
    with shifts, torch.no_grad():
        hooked = model.predict(x, t, told)
    with WeightEdit.of_parts(shifts.parts(), erased(model, "uce").manifest).applied(model):
        assert torch.allclose(model.predict(x, t, told), hooked, atol=1e-4)


def test_sepme_unlearns_what_the_pooled_text_says(family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its loss is what the concept's words still add along what they added before."""
    monkeypatch.setenv("EXCISE_CACHE", str(tmp_path / "cache"))
    model = hears_alone("pooled", family, tmp_path)
    x, t = torch.randn(8, *model.latent_shape, generator=torch.Generator().manual_seed(0)), torch.arange(50, 850, 100)

    def added() -> torch.Tensor:
        own, empty = (model.predict(x, t, model.encode([text]).expand(8)) for text in ("x", ""))
        return own - empty

    def kept() -> float:
        with erased(model, "sepme").applied(model):
            return float((added() * first).sum() / first.square().sum())

    first = added()
    both = kept()
    forget_way(model, "pooled", monkeypatch)
    assert both < kept() - 0.1
