"""What transformers of two streams have in common, on tiny SD 3.5 and FLUX.1: subspaces, methods, samplers, precisions."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from typer.testing import CliRunner

import tiny_models
from excise.cli import app
from excise.concepts import Concept
from excise.edits import WeightEdit
from excise.erasure import subspaces
from excise.erasure.attention import start_token_detached
from excise.erasure.prompt_bank import PromptBank
from excise.erasure.run import Run
from excise.erasure.states import forward_states, from_noise, trajectory_states, within_bin
from excise.methods import get
from excise.methods.esd import erase as esd
from excise.models import Model
from excise.models.fingerprint import named_tensors
from fresh_models import fresh

CAT = Concept("cat", "object", ("cat",), ("",), ("{object}", "a {object}"))
SMALL: dict[str, Any] = {"rounds": 1, "steps": 2, "batch": 2, "trajectories": 2, "sampler_steps": 3}

ENTRANCES = {"transformer.time_text_embed.text_embedder.linear_1.weight", "transformer.context_embedder.weight"}
JOINT = r"transformer\.(single_)?transformer_blocks\.\d+\.attn\.({})\.(weight|bias)"
KEYS_AND_VALUES = "to_k|to_v|add_k_proj|add_v_proj"
ALL_OF_IT = KEYS_AND_VALUES + r"|to_q|add_q_proj|to_out\.0|to_add_out"


@pytest.fixture(params=["sd3", "flux"])
def folder(request: pytest.FixtureRequest) -> Path:
    return request.getfixturevalue(f"tiny_{request.param}")


@pytest.fixture
def model(folder: Path) -> Model:
    return fresh(folder)


def erased(model: Model, method: str, **values: Any) -> WeightEdit:
    found = get(method)
    small = {key: value for key, value in SMALL.items() if key in found.settings.model_fields}
    edit = found.erase(model, [CAT], found.parse({**small, **values}), Run())
    assert isinstance(edit, WeightEdit)
    return edit


# Subspaces


def test_words_enter_by_two_linear_maps(model: Model) -> None:
    assert {entrance.weight for entrance in model.entrances} == ENTRANCES and model.ways == ("pooled", "tokens")
    assert set(subspaces.select(model, "kv")) == ENTRANCES


def test_the_tokens_way_is_a_subspace_of_its_own(model: Model) -> None:
    assert subspaces.select(model, "tokens") == ["transformer.context_embedder.weight"]


TEXT_STREAM = {"text-kv": "add_k_proj|add_v_proj", "text-qk": "add_q_proj|add_k_proj"}


@pytest.mark.parametrize(("subspace", "layers"), [("attn", ALL_OF_IT), ("attn-kv", KEYS_AND_VALUES), *TEXT_STREAM.items()])
def test_subspaces_of_joint_attention_are_its_layers_and_nothing_else(model: Model, subspace: Any, layers: str) -> None:
    every = {f"transformer.{name}" for name, _ in model.denoiser.named_parameters()}
    wanted = {name for name in every if re.fullmatch(JOINT.format(layers), name)}
    assert set(subspaces.select(model, subspace)) == wanted and len(wanted) >= 4


@pytest.mark.parametrize("subspace", ["attn1", "attn2", "not-attn2", "noxattn"])
def test_what_only_u_nets_have_is_refused(model: Model, subspace: Any) -> None:
    with pytest.raises(ValueError, match=f"has no parameters of kind '{subspace}'$"):
        subspaces.select(model, subspace)


@pytest.mark.parametrize(
    ("variant", "layers", "at_least"),
    [
        ("x", ALL_OF_IT, {"to_k", "to_v", "add_v_proj"}),
        ("x-strict", KEYS_AND_VALUES, {"to_k", "to_v", "add_v_proj"}),
        ("text-qk", TEXT_STREAM["text-qk"], {"add_q_proj", "add_k_proj"}),
    ],
)
def test_esd_changes_joint_attention(model: Model, variant: str, layers: str, at_least: set[str]) -> None:
    edit = erased(model, "esd", variant=variant, lr=1e-2)
    assert all(re.fullmatch(JOINT.format(layers), name) for name in edit.deltas)
    assert {name.split(".")[-2] for name in edit.deltas} >= at_least


def test_esd_without_such_attention_takes_the_entrances(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(model), "in_subspace", lambda self, name, subspace: False)
    for variant in ("x", "x-strict"):
        assert set(subspaces.select_first(model, esd.VARIANTS[variant])) == ENTRANCES
    with pytest.raises(ValueError, match=r"has no parameters of kind 'noxattn'$"):
        erased(model, "esd", variant="u")


@pytest.mark.parametrize(("parameters", "layers"), TEXT_STREAM.items())
def test_mim_changes_the_part_of_the_text_stream_that_is_named(model: Model, parameters: str, layers: str) -> None:
    edit = erased(model, "mim", parameters=parameters, tolerance=0)
    assert edit.deltas and all(re.fullmatch(JOINT.format(layers), name) for name in edit.deltas)


@pytest.mark.parametrize("method", ["mim", "uce", "rece", "cure", "sdd"])
def test_no_weight_but_the_entrances_changes(model: Model, method: str) -> None:
    """Neither the picture's stream nor the text's: what sees a picture token is bit-identical, by name."""
    before = {name: tensor.detach().clone() for name, tensor in named_tensors(model).items()}
    assert sum(".to_q." in name or ".ff." in name or "x_embedder" in name or "pos_embed" in name for name in before) > 5
    with erased(model, method).applied(model):
        moved = {name for name, tensor in named_tensors(model).items() if not torch.equal(tensor, before[name])}
    assert moved == ENTRANCES


def test_only_clips_start_token_is_held_where_there_is_one(model: Model) -> None:
    """T5 has none: the first row of FLUX.1's tokens is the prompt's first word, and learns."""
    held = torch.zeros(model.encode([""]).tokens.shape[1], dtype=torch.bool)
    held[0] = type(model).__name__ == "StableDiffusion3"
    layer = model.layers(["transformer.context_embedder.weight"])["transformer.context_embedder.weight"]
    tokens = model.encode(["cat"]).tokens.requires_grad_(True)
    with start_token_detached(model):
        layer(tokens).sum().backward()
    assert tokens.grad is not None and torch.equal(tokens.grad[0].abs().amax(1) == 0, held)


# States and samplers


def test_states_of_a_straight_path(model: Model) -> None:
    """Those of a trajectory are at its sampler's fractions; the noisiest timestep is pure noise, and comes first."""
    bank = PromptBank.of(model, [CAT])
    visited = trajectory_states(
        model, bank, torch.tensor([0, 1]), torch.Generator().manual_seed(0), steps=3, guidance_scale=1.0
    )
    assert visited.t.tolist() == [t for t in model.timesteps(3).tolist() for _ in range(2)] and visited.t.max() == 1000
    noised = forward_states(model, visited.latents[:2], torch.tensor([0, 1]), 4, torch.Generator().manual_seed(0))
    for states in (visited, noised):
        start = from_noise(model, states, torch.Generator().manual_seed(0))
        assert start.t.dtype == states.t.dtype and start.t[:2].tolist() == [1000, 1000]
        assert model.path.alpha(start.t[:1]) == 0
    drawn = within_bin(visited.t, 3, model.path.steps, torch.Generator().manual_seed(0))
    assert 666 < int(drawn[0]) < 1000 and drawn.dtype == torch.int64, "also where the sampler begins, at 1000 of 1000"


@pytest.mark.parametrize("name", ["FlowMatchHeunDiscreteScheduler", "DPMSolverMultistepScheduler"])
def test_other_samplers_come_to_the_same_picture(model: Model, name: str) -> None:
    """Oracle: many steps of the model's own."""
    exact, few = (model.latents(["a cat"], [0], steps=steps, guidance_scale=1.0) for steps in (100, 2))
    assert name in model.other_samplers
    with model.sampled_by(name):
        found = model.latents(["a cat"], [0], steps=20, guidance_scale=1.0)
    assert (found - exact).norm() < 0.02 * exact.norm() < (few - exact).norm()


# Precisions


@pytest.mark.parametrize("dtype", ["mixed", "bfloat16"])
def test_other_precisions_predict_nearly_the_same(folder: Path, model: Model, dtype: str) -> None:
    other = fresh(folder, dtype)
    x, t = torch.randn(3, *model.latent_shape, generator=torch.Generator().manual_seed(0)), torch.tensor([20.0, 500.0, 1000.0])
    told = model.encode(["a cat", "", "a dog"])
    exact = model.predict(x, t, told)
    given = told.to("cpu", other.dtype)
    with torch.no_grad():
        found = other.predict(x.to(other.dtype), t, given)
    assert found.dtype == other.dtype and not torch.equal(found.float(), exact)
    assert (found.float() - exact).norm() < 0.03 * exact.norm()
    assert other.encode(["a cat"]).tokens.dtype == other.dtype


@pytest.mark.parametrize("method", ["mim", "esd", "uce"])
@pytest.mark.parametrize("dtype", ["mixed", "bfloat16", "float16"])
def test_what_is_found_is_finer_than_half_precision(folder: Path, dtype: str, method: str) -> None:
    model = fresh(folder, dtype)
    before = {name: tensor.detach().clone() for name, tensor in named_tensors(model).items()}
    if dtype == "float16" and method != "uce":
        with pytest.raises(ValueError, match="load the model as bfloat16 or float32"):
            erased(model, method)
        return
    found = erased(model, method).tensors()
    assert all(tensor.dtype == torch.float32 and tensor.isfinite().all() for tensor in found.values())
    assert any(not torch.equal(tensor, tensor.to(torch.bfloat16).float()) for tensor in found.values())
    assert all(torch.equal(tensor, before[name]) for name, tensor in named_tensors(model).items())


# The whole house


def test_every_command_of_the_readme_runs(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From erasing to shipping, on a model that declares concepts and brings a judge, as the canvas does."""
    monkeypatch.setenv("EXCISE_CACHE", str(tmp_path / "cache"))
    base = tiny_models.declare(Path(shutil.copytree(folder, tmp_path / "base")))
    edit, erased, lora = (tmp_path / name for name in ("edit", "erased", "cat.safetensors"))
    small = [f"--set={key}={value}" for key, value in SMALL.items()]

    def excise(*arguments: object) -> str:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "200"})
        assert result.exit_code == 0, (arguments, result.output)
        return result.output

    excise("erase", "cat", "--model", base, "--out", edit, *small, "--evaluate", "none", "--device=cpu")
    assert "2 tensors" in excise("info", edit)
    for name, options in (("base", ()), ("edited", ("--edit", edit)), ("guided", ("--guidance", 9))):
        excise("generate", "a cat", "--model", base, *options, "--out", tmp_path / f"{name}.png", "--device=cpu")
    pictures = {name: (tmp_path / f"{name}.png").read_bytes() for name in ("base", "edited", "guided")}
    assert len(set(pictures.values())) == 3
    excise("apply", edit, "--model", base, "--to", erased, "--device=cpu")
    excise("generate", "a cat", "--model", erased, "--out", tmp_path / "applied.png", "--device=cpu")
    applied, edited = (np.asarray(Image.open(tmp_path / f"{name}.png")).astype(int) for name in ("applied", "edited"))
    assert abs(applied - edited).max() <= 1, "last bits differ where equal weights lie otherwise in memory"
    assert "2 tensors" in excise("diff", base, erased, "--out", tmp_path / "difference")
    excise("export", edit, "--to", lora)
    with safe_open(lora, "pt") as file:
        layers = {key.rpartition(".lora_")[0] for key in file.keys()}
    assert layers == {name.removesuffix(".weight") for name in ENTRANCES}, "as diffusers calls them"
    assert "nats" in excise("measure", "cat", "--model", base, "--edit", edit, "--budget=1000", "--device=cpu")
    assert "FlowMatchHeun" in excise("vary", edit, "--model", base, "--concept=cat", "--pictures=1", "--device=cpu")
    asked = ("--model", base, "--concept", "cat", "--prompts=1", "--budget=60", "--device=cpu")
    assert "rounding" in excise("audit", edit, *asked, "--attacks=guidance", "--attacks=rounding")
    excise("evaluate", "--model", base, "--edit", edit, "--target-pictures=2", "--other-pictures=1", "--device=cpu")
    refused = CliRunner().invoke(app, ["audit", str(edit), *map(str, asked), "--attacks=p4d"])
    assert refused.exit_code == 2 and "attack 'p4d' needs token embeddings" in refused.output
