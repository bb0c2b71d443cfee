"""Asking otherwise: what is asked, of which model, by which sampler."""

from __future__ import annotations

from pathlib import Path

import diffusers
import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

from excise.cli import app
from excise.edits import Dense, WeightEdit
from excise.edits.applied import base_fingerprint
from excise.edits.manifest import Manifest
from excise.evaluation.conditions import NOISE_SEED, Condition, _sample, conditions, vary
from excise.evaluation.prompt_grid import APART
from excise.jobs.erase import erase
from excise.models import Model
from excise.models.drawing import DIFFUSION_SAMPLERS
from excise.results.variation import Variation
from excise.statistics import wilson

PROMPTS, SEEDS = ["a picture of a cat", "a sketch of a dog", ""], [3, 1, 4]


@pytest.fixture
def edit(canvas: Model) -> WeightEdit:
    """Strong enough to be seen."""
    torch.manual_seed(0)
    name = next(n for n, _ in canvas.denoiser.named_parameters() if n.endswith("attn2.to_v.weight"))
    weight = dict(canvas.denoiser.named_parameters())[name]
    manifest = Manifest(model=canvas.name, base=base_fingerprint(canvas), method="random", concepts=[])
    return WeightEdit({f"unet.{name}": Dense(3 * torch.randn_like(weight))}, manifest)


def test_every_wording_names_the_concept_and_its_neutral_form_does_not(canvas: Model) -> None:
    cat = canvas.catalog.resolve("cat")
    found = conditions(canvas, cat)
    assert {each.group for each in found} == {"wording", "guidance", "steps", "sampler", "image to image"}
    assert len({(each.group, each.name) for each in found}) == len(found)
    for pair in (pair for each in found for pair in each.pairs):
        named = [phrase for phrase in cat.phrases if phrase in pair.prompt.lower()]
        assert named and not any(phrase in pair.masked.lower().split() for phrase in named)
    names = [each.name for each in found]
    assert all(f"as {phrase!r}" in names for phrase in cat.phrases[1:])
    held_out = [each for each in found if each.name.startswith("held out")]
    trained = {pair.prompt for pair in cat.pairs()}
    assert len(held_out) == len(canvas.catalog.held_out) > 0
    assert not trained & {pair.prompt for each in held_out for pair in each.pairs}
    assert all(pair.prompt.isupper() for pair in next(each for each in found if each.name == "in capitals").pairs)


def same(found: Tensor, expected: Tensor) -> bool:
    return torch.allclose(found, expected, atol=1e-5) and found.std() > 0.01


def test_guidance_steps_and_batches_are_the_models_own(canvas: Model) -> None:
    plain = Condition("wording", "plain", ())
    assert same(_sample(canvas, plain, PROMPTS, SEEDS, None, batch=2), canvas.sample(PROMPTS, SEEDS))
    asked = Condition("guidance", "2", (), guidance_scale=2.0, steps=5)
    expected = canvas.sample(PROMPTS, SEEDS, steps=5, guidance_scale=2.0)
    assert same(_sample(canvas, asked, PROMPTS, SEEDS, None), expected)
    assert not same(expected, canvas.sample(PROMPTS, SEEDS))


@pytest.mark.parametrize("name", DIFFUSION_SAMPLERS)
def test_another_sampler_is_used_and_put_back(name: str, canvas: Model) -> None:
    before = canvas.pipeline.scheduler
    found = _sample(canvas, Condition("sampler", name, (), sampler=name), PROMPTS, SEEDS, None)
    assert canvas.pipeline.scheduler is before
    canvas.pipeline.scheduler = getattr(diffusers, name).from_config(before.config)
    expected = canvas.sample(PROMPTS, SEEDS)
    canvas.pipeline.scheduler = before
    assert torch.isfinite(found).all() and same(found, expected)
    with pytest.raises(AttributeError):
        _sample(canvas, Condition("sampler", "none", (), sampler="NoSuchScheduler"), PROMPTS, SEEDS, None)
    assert canvas.pipeline.scheduler is before


@pytest.mark.parametrize("sampler", ["DDIM", "DPMSolverMultistep", "EulerDiscrete", "LMSDiscrete", "PNDM"])
def test_from_a_picture_the_network_is_given_the_noised_picture(sampler: str, canvas: Model) -> None:
    """Whatever scale the model's own sampler works in, and however many steps it makes for those that it is asked for."""
    config = {**canvas.pipeline.scheduler.config, "skip_prk_steps": True}
    canvas.pipeline.scheduler = getattr(diffusers, f"{sampler}Scheduler").from_config(config)
    clean, noise = (torch.randn(2, *canvas.latent_shape, generator=torch.Generator().manual_seed(seed)) for seed in range(2))
    latents, skip = canvas.partway(clean, noise, strength=0.5, steps=10)
    first = next(iter(canvas.trajectory(PROMPTS[:2], [0, 1], starts=latents, steps=10, skip=skip)))
    expected = canvas.path.noised(clean, noise, torch.tensor([first.timestep] * 2))
    assert torch.allclose(first.input, expected, atol=2e-3) and 300 < first.timestep < 600


def test_from_a_picture(canvas: Model) -> None:
    """At full strength nothing of the picture is left (the schedule ends in pure noise); otherwise only the last steps are made.

    The noise is not what the picture was made from.
    """
    others = [NOISE_SEED + seed for seed in SEEDS]
    start = canvas.encode_pictures(torch.rand(3, 3, canvas.sampler.size, canvas.sampler.size))
    whole = _sample(canvas, Condition("image to image", "1", (), strength=1.0), PROMPTS, SEEDS, start)
    assert same(whole, canvas.sample(PROMPTS, others)) and not same(whole, canvas.sample(PROMPTS, SEEDS))
    asked: list[int] = []
    trajectory = Model.trajectory

    def watched(self: Model, *arguments: object, **options: object) -> object:
        for state in trajectory(self, *arguments, **options):  # type: ignore[arg-type]
            if not asked:
                t = torch.tensor([state.timestep])
                noise = self.start_noise(others)
                expected = self.path.noised(start, noise, t.expand(3))
                assert torch.allclose(state.latents, expected, atol=1e-5)
            asked.append(state.timestep)
            yield state

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Model, "trajectory", watched)
        _sample(canvas, Condition("image to image", "0.3", (), steps=10, strength=0.3), PROMPTS, SEEDS, start)
    assert len(asked) == 4 and asked[-1] == -1 and asked[0] < 300


def test_who_is_asked_what(canvas: Model, edit: WeightEdit) -> None:
    """The base with the words, the edited model with the words, the base without them; and from the base's own picture."""
    pictures: list[Tensor] = []

    def shows(made: Tensor) -> tuple[Tensor, Tensor]:
        pictures.append(made)
        return torch.tensor([True] * (len(pictures) % 4) + [False] * (len(made) - len(pictures) % 4)), torch.zeros(len(made))

    pair = canvas.catalog.resolve("cat").plain_pairs()[0]
    plain = Condition("wording", "plain", (pair,))
    told = vary(canvas, canvas.catalog.resolve("cat"), [edit], shows, pictures=3, seed=5, among=[plain])
    prompts, seeds = [pair.prompt] * 3, [5 * APART, 5 * APART + 1, 5 * APART + 2]  # none of seed 4's or 6's
    with edit.applied(canvas):
        edited = canvas.sample(prompts, seeds)
    expected = [canvas.sample(prompts, seeds), edited, canvas.sample([pair.masked] * 3, seeds)]
    assert all(same(found, made) for found, made in zip(pictures, expected, strict=True))
    assert not same(edited, expected[0])
    (found,) = told
    assert [each.value for each in (found.base, found.edited, found.neutral)] == pytest.approx([1 / 3, 2 / 3, 1])
    assert found.edited.interval == wilson(2, 3) and found.prompt == pair.prompt and found.left == pytest.approx(-1 / 3)
    assert found.steps is None and found.n == 3


@pytest.fixture(scope="module")
def cat(tiny_canvas: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("vary") / "cat"
    quick = {"rounds": 1, "steps": 1, "batch": 2, "trajectories": 1, "sampler_steps": 2}
    erase("cat", model=tiny_canvas, out=out, settings=quick, evaluate="none")
    return out


class TestCommand:
    def test_writes_and_prints(self, cat: Path, tiny_canvas: Path, tmp_path: Path) -> None:
        out = tmp_path / "cat.json"
        command = ["vary", str(cat), "--model", str(tiny_canvas), "--pictures", "1", "--json", str(out)]
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 0, result.output
        told = Variation.read(out)
        assert told.concept == "object:cat" and len(told.conditions) > 20
        assert told.provenance.edits[0].name == "mim" and "float32" in told.provenance.base_fingerprint
        assert "EulerDiscrete" in result.output and "image to image" in result.output
        again = CliRunner().invoke(app, command)
        assert again.exit_code == 2 and "exists" in again.stderr

    @pytest.mark.parametrize("more, words", [(["--concept", "unicat"], "unknown concept"), (["--pictures", "0"], "at least 1")])
    def test_refuses(self, more: list[str], words: str, cat: Path, tiny_canvas: Path) -> None:
        result = CliRunner().invoke(app, ["vary", str(cat), "--model", str(tiny_canvas), *more])
        assert result.exit_code == 2 and words in result.stderr and result.stderr.count("\n") == 1

    def test_needs_one_concept(self, tiny_canvas: Path, tmp_path: Path) -> None:
        quick = {"rounds": 1, "steps": 1, "batch": 2, "trajectories": 2, "sampler_steps": 2}
        erase(["cat", "dog"], model=tiny_canvas, out=tmp_path / "x", settings=quick, evaluate="none")
        result = CliRunner().invoke(app, ["vary", str(tmp_path / "x"), "--model", str(tiny_canvas)])
        assert result.exit_code == 2 and "say which concept to ask for" in result.stderr
