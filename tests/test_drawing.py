"""How pictures are made, where that is not the model's own way: the same options wherever pictures are made."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import excise
from excise.jobs.generate import generate
from excise.models import Model, load
from excise.models.drawing import SCHEDULERS, Drawing
from excise.models.names import check_scheduler
from excise.requests.drawn import Drawn


def test_every_verb_that_makes_pictures_has_the_options() -> None:
    for verb in ("generate", "erase", "evaluate", "measure", "vary", "audit", "bench"):
        request = getattr(import_module(f"excise.requests.{verb}"), f"{verb.title()}Request")
        assert (
            issubclass(request, Drawn)
            and {"steps", "guidance", "size", "scheduler", "long_prompts"} <= request.options().keys()
        )


def test_pictures_are_made_as_asked(tiny_sd1: Path, tmp_path: Path) -> None:
    """Oracle: the model's own function, told the same."""
    options = {"steps": 3, "guidance": 2.0, "size": 24, "scheduler": "EulerDiscreteScheduler"}
    generate("a cat", out=tmp_path / "x", model=tiny_sd1, device="cpu", **options)
    about = json.loads((tmp_path / "x" / "pictures.json").read_text())
    assert {name: about[name] for name in options} == options
    picture = np.asarray(Image.open(tmp_path / "x" / about["pictures"][0]["file"]))
    model = load(tiny_sd1, device="cpu")
    with model.sampled_by("EulerDiscreteScheduler"):
        expected = model.sample(["a cat"], [0], steps=3, guidance_scale=2.0, size=(24, 24))[0]
    assert picture.shape == (24, 24, 3)
    assert np.abs(picture / 255 - expected.permute(1, 2, 0).numpy()).max() < 1 / 200


@pytest.mark.parametrize(
    "drawing, words",
    [
        (Drawing(size=18), "size=18 must be a multiple of 4"),
        (
            Drawing(scheduler="FlowMatchEulerDiscreteScheduler"),
            "FlowMatchEulerDiscreteScheduler does not sample paths of diffusion",
        ),
    ],
)
def test_what_cannot_be_is_refused(drawing: Drawing, words: str, tiny_sd1: Path) -> None:
    with pytest.raises(ValueError, match=words):
        load(tiny_sd1, device="cpu", drawing=drawing)


ANYWHERE = {"DPMSolverMultistepScheduler", "UniPCMultistepScheduler"}


@pytest.mark.parametrize("which", ["sd1", "sd3", "flux", "z_image", "flux2_klein", "qwen_image"])
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_every_sampler_makes_pictures_or_is_refused(scheduler: Any, which: str, request: pytest.FixtureRequest) -> None:
    model: Model = request.getfixturevalue(which)
    folder: Path = request.getfixturevalue(f"tiny_{which}")
    if scheduler not in ANYWHERE and scheduler.startswith("FlowMatch") == (which == "sd1"):
        own = model.pipeline.scheduler
        with pytest.raises(ValueError, match=f"^{scheduler} does not sample (straight )?paths"):
            check_scheduler(folder, scheduler)
        with pytest.raises(ValueError, match=f"^{scheduler} does not sample (straight )?paths.*; those that do: "):
            model.draw(Drawing(scheduler=scheduler))
        assert model.pipeline.scheduler is own
        return
    check_scheduler(folder, scheduler)
    model.draw(Drawing(steps=4, scheduler=scheduler))
    picture = model.sample(["a cat"], [0])
    assert picture.isfinite().all() and picture.std() > 0 and type(model.pipeline.scheduler).__name__ == scheduler
    assert torch.equal(picture, model.sample(["a cat"], [0]))


def test_what_is_measured_says_how_its_pictures_were_made(tiny_canvas: Path, tmp_path: Path) -> None:
    excise.erase("cat", model=tiny_canvas, method="uce", out=tmp_path / "cat", device="cpu", steps=2, guidance=1.5)
    measured = excise.erase("cat", model=tiny_canvas, method="uce", device="cpu", steps=2, guidance=1.5)
    assert measured.result.evaluation is not None
    sampler = measured.result.evaluation.protocol.sampler
    assert (sampler["steps"], sampler["guidance_scale"], sampler["size"]) == (2, 1.5, 16)
    assert "scheduler" not in sampler
    other = excise.erase("cat", model=tiny_canvas, method="uce", device="cpu", steps=2, scheduler="EulerDiscreteScheduler")
    assert other.result.evaluation is not None
    assert other.result.evaluation.protocol.sampler["scheduler"] == "EulerDiscreteScheduler"


def test_a_quick_measurement_makes_pictures_in_half_the_steps(tiny_canvas: Path, tmp_path: Path) -> None:
    """Of the edit alone what a user asked for is made; a full one, and whoever says how, is measured with that."""

    def drawn(name: str, **options: Any) -> tuple[int, str | None]:
        found = excise.erase("cat", method="uce", model=tiny_canvas, out=tmp_path / name, device="cpu", **options)
        assert found.result.evaluation is not None
        sampler = found.result.evaluation.protocol.sampler
        assert found.result.information is not None and found.result.information.settings.sampler_steps == sampler["steps"]
        return sampler["steps"], sampler.get("scheduler")

    own = load(tiny_canvas, device="cpu").sampler.steps
    assert drawn("quick") == (own // 2, "DPMSolverMultistepScheduler")
    assert drawn("full", evaluate="full") == (own, None)
    assert drawn("said", steps=3) == (3, None)
    assert drawn("named", scheduler="EulerDiscreteScheduler") == (own, "EulerDiscreteScheduler")


def test_half_the_steps_are_given_back(tiny_canvas: Path) -> None:
    """Also after an error. Oracle: pictures before and after."""
    model = load(tiny_canvas, device="cpu")
    own, before = model.sampler.steps, model.sample(["a cat"], [0])
    with pytest.raises(KeyError), model.in_half_the_steps():
        assert model.sampler.steps == own // 2
        assert not torch.equal(model.sample(["a cat"], [0]), before)
        raise KeyError
    assert torch.equal(model.sample(["a cat"], [0]), before) and model.drawn == vars(model.sampler)


@pytest.mark.parametrize("kind", ["few", "flow"])
def test_distilled_models_and_straight_paths_keep_their_steps(
    kind: str, tiny_canvas: Path, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue("tiny_sd3") if kind == "flow" else tiny_canvas
    drawing = Drawing(steps=4, guidance_scale=1.0) if kind == "few" else Drawing()
    model = load(folder, device="cpu", drawing=drawing)
    own = model.sampler.steps
    with model.in_half_the_steps():
        assert model.sampler.steps == own


def test_more_steps_than_there_are_are_refused(tiny_sd1: Path, tiny_canvas: Path) -> None:
    """Schedules of Stable Diffusion shift timesteps by one, so that of 1,000 steps the first would lie past the last timestep."""
    model = load(tiny_sd1, device="cpu")
    with pytest.raises(ValueError, match="1000 steps of DDIMScheduler go past this model's last timestep; take fewer"):
        model.sample(["a cat"], [0], steps=1000)
    assert len(model.timesteps(999)) == 999 and len(load(tiny_canvas, device="cpu").timesteps(1000)) == 1000
