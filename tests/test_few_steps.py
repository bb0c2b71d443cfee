"""Models that draw in few steps without guidance: methods look at the states of their own sampler, unless the user says otherwise."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from diffusers import EulerDiscreteScheduler

import tiny_models
from excise.concepts import Concept
from excise.erasure.run import Run
from excise.methods import for_model, get, methods
from excise.models import Model, load
from excise.models.drawing import Drawing
from excise.models.sampling import SamplingState

TINY: dict[str, Any] = {"rounds": 1, "steps": 1, "batch": 2, "trajectories": 2, "pictures": 2, "wording": "name", "anchors": 1}
CASES = {
    "esd": {}, "esd fresh": {"states": "fresh"}, "sdd": {}, "spm": {}, "ca": {},
    "mim": {"phrasings": "plain"}, "mim trajectory": {"phrasings": "plain", "states": "trajectory"},
}  # fmt: skip
CAT = Concept("cat", "object", ("a cat",))


@pytest.fixture(scope="module")
def turbo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny SD-Turbo: its scheduler begins at the last timestep, on a schedule that does not end in pure noise."""
    folder = tmp_path_factory.mktemp("models") / "tiny-turbo"
    scheduler = EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", timestep_spacing="trailing", steps_offset=1
    )
    tiny_models.pipeline(scheduler=scheduler).save_pretrained(folder)
    return folder


@pytest.fixture
def visited(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[float], float]]:
    """The timesteps that samplers came to, and their guidance scales."""
    found: list[tuple[list[float], float]] = []
    trajectory = Model.trajectory

    def watched(self: Model, *arguments: Any, **how: Any) -> Iterator[SamplingState]:
        times: list[float] = []
        scale = how.get("guidance_scale")
        found.append((times, self.guidance(self.sampler.guidance_scale if scale is None else scale)))
        for state in trajectory(self, *arguments, **how):
            times.append(state.timestep)
            yield state

    monkeypatch.setattr(Model, "trajectory", watched)
    return found


def _settings(case: str, **values: Any) -> Any:
    method = get(case.split()[0])
    given = {name: value for name, value in TINY.items() if name in method.settings.model_fields}
    return method.parse({**given, **CASES.get(case, {}), **values})


@pytest.mark.parametrize("case", CASES)
def test_the_states_are_those_of_its_own_sampler(
    case: str, turbo: Path, visited: list[tuple[list[float], float]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXCISE_CACHE", str(tmp_path))
    model = load(turbo, device="cpu")
    own = [state.timestep for state in model.trajectory(["a cat"], [0])]
    assert own == [999, 749, 499, 249, -1]
    visited.clear()
    get(case.split()[0]).erase(model, [CAT], _settings(case), Run())
    assert visited, "pictures are made on the way"
    for times, scale in visited:
        assert times == own[: len(times)] and scale == 1.0


def test_every_method_that_visits_states_is_looked_at() -> None:
    visiting = {name for name, method in methods().items() if "sampler_steps" in method.settings.model_fields}
    assert visiting <= {case.split()[0] for case in CASES}


def test_the_manifest_says_so_and_what_the_user_says_holds(turbo: Path, sd1: Model) -> None:
    def told(model: Model, **values: Any) -> tuple[int, float]:
        settings = for_model(_settings("esd", **values), model)
        return settings.sampler_steps, settings.guidance_scale  # type: ignore[attr-defined]

    model = load(turbo, device="cpu")
    edit = get("esd").erase(model, [CAT], _settings("esd"), Run())
    assert (edit.manifest.settings["sampler_steps"], edit.manifest.settings["guidance_scale"]) == (4, 0.0)  # type: ignore[typeddict-item]
    assert told(model, sampler_steps=20) == (20, 0.0) and told(model, guidance_scale=4.0) == (4, 4.0)
    assert told(model, preset="paper") == (50, 3.0)
    model.draw(Drawing(steps=2))
    assert told(model) == (2, 0.0)
    assert told(sd1) == (20, 4.0)
    sd1.draw(Drawing(steps=8))
    assert told(sd1) == (20, 4.0), "guided"
    sd1.draw(Drawing(guidance_scale=0))
    assert told(sd1) == (8, 0.0), "as of a model that few steps were merged into"


@pytest.mark.parametrize(
    "make, few",
    [
        (tiny_models.sdxl, False), (lambda: tiny_models.sdxl(EulerDiscreteScheduler(timestep_spacing="trailing", steps_offset=1)), True),
        (tiny_models.flux, False), (lambda: tiny_models.flux(dev=False), True), (tiny_models.sd3, False),
    ],
    ids=["sdxl", "sdxl-turbo", "flux-dev", "flux-schnell", "sd3"],
)  # fmt: skip
def test_which_models_draw_in_few_steps(make: Any, few: bool, tmp_path: Path) -> None:
    make().save_pretrained(tmp_path / "x")
    assert load(tmp_path / "x", device="cpu").few_steps == few


def test_a_folder_can_say_it(tmp_path: Path) -> None:
    """Of SD 3.5 Large Turbo nothing else tells it."""
    tiny_models.sd3().save_pretrained(tmp_path)
    (tmp_path / "excise.json").write_text(json.dumps({"name": "turbo", "sampler": {"steps": 4, "guidance_scale": 0.0}}))
    model = load(tmp_path, device="cpu")
    assert model.few_steps and for_model(_settings("esd"), model).sampler_steps == 4  # type: ignore[attr-defined]


@pytest.mark.parametrize(("make", "rounds"), [(tiny_models.sdxl, 3), (tiny_models.sd3, 6), (tiny_models.flux, 6)])
def test_a_model_of_one_entrance_has_defaults_of_its_own(make: Any, rounds: int, tmp_path: Path) -> None:
    make().save_pretrained(tmp_path / "x")
    model = load(tmp_path / "x", device="cpu")
    mim = get("mim")
    assert for_model(mim.parse({}), model).rounds == rounds  # type: ignore[attr-defined]
    assert for_model(mim.parse({"rounds": 2}), model).rounds == 2, "what the user says holds"  # type: ignore[attr-defined]
    assert for_model(mim.parse({"preset": "paper"}), model).rounds == 8, "a preset too"  # type: ignore[attr-defined]
    edit = mim.erase(model, [CAT], mim.parse({"steps": 1, "trajectories": 2, "sampler_steps": 2, "tolerance": 0}), Run())
    assert edit.manifest.settings["rounds"] == rounds, "the manifest says so"  # type: ignore[typeddict-item]


def test_differing_defaults_are_settings() -> None:
    """A misspelt name would change nothing, without a word; a wrong value would be seen by nobody."""
    for name, method in methods().items():
        own = method.settings.one_entrance
        assert own.keys() <= method.settings.model_fields.keys(), name
        assert method.parse(own).model_dump().items() >= own.items(), name
