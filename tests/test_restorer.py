"""Restorers: fresh ones change nothing, only they learn, every size is known; invariants 1 to 4 and 8 of StableSR's specification."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from excise.canvas.restorer_training import SETTINGS
from excise.files import read_header
from excise.models import Model
from excise.models.built_in import restorer_of
from excise.models.fingerprint import fingerprint, named_tensors
from excise.restoration.restorer import Described, Restorer, read_restorer
from excise.restoration.restorer_settings import RestorerSettings

SMALL = RestorerSettings(width=8, multipliers=(1, 2), blocks=1, heads=2, features=8, hidden=4, levels=(0, 1), dense=1, growth=2)


def drawn(model: Model, h: int = 8, w: int = 8, b: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    """Latents, low latents and low pictures of their size."""
    random = torch.Generator().manual_seed(0)
    latents = torch.randn(2, b, model.latent_shape[0], h, w, generator=random)
    return latents[0], latents[1], torch.rand(b, 3, h * model.grain, w * model.grain, generator=random)


def taught(model: Model) -> Restorer:
    """One with weights away from zero everywhere."""
    restorer = Restorer.new(model, SMALL, seed=1)
    random = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for weight in restorer.networks.parameters():
            weight += 0.05 * torch.randn(weight.shape, generator=random)
    return restorer


@pytest.mark.parametrize("which", ["sd1", "sd2", "sdxl"])
@pytest.mark.parametrize("size", [(8, 8), (8, 12), (7, 5)])
@torch.no_grad()
def test_a_fresh_one_changes_nothing(which: str, size: tuple[int, int], request: pytest.FixtureRequest) -> None:
    """Invariant 1, and what makes it true: a taught one changes every prediction, and nothing stays hooked."""
    model: Model = request.getfixturevalue(which)
    latents, low, _ = drawn(model, *size)
    t = torch.tensor([700, 20])
    plain = model.predict(latents, t, model.unconditional().expand(2))
    assert torch.equal(Restorer.new(model, SMALL, seed=0).predict(latents, t, low), plain)
    assert (taught(model).predict(latents, t, low) - plain).abs().amax((1, 2, 3)).min() > 1e-3
    assert torch.equal(model.predict(latents, t, model.unconditional().expand(2)), plain)


def test_with_a_norm_a_fresh_one_changes_something(sd1: Model) -> None:
    latents, low, _ = drawn(sd1)
    restorer = Restorer.new(sd1, SMALL.model_copy(update={"norm": "group"}), seed=0)
    with torch.no_grad():
        plain = sd1.predict(latents, torch.tensor([500, 500]), sd1.unconditional().expand(2))
        assert (restorer.predict(latents, 500, low) - plain).abs().max() > 1e-3


@torch.no_grad()
def test_one_seed_gives_one_restorer(sd1: Model) -> None:
    before = torch.random.get_rng_state()
    one, same, other = (Restorer.new(sd1, SMALL, seed).networks.state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_only_the_restorer_learns(sd1: Model) -> None:
    """Invariant 2: gradients reach all of the restorer, no weight of the model has one, and all of its weights stay."""
    restorer, before = taught(sd1), fingerprint(named_tensors(sd1))
    latents, low, pictures = drawn(sd1)
    optimizer = torch.optim.SGD(restorer.networks.parameters(), lr=0.1)
    loss = restorer.predict(latents, 400, low).square().mean() + restorer.wrapped(latents, pictures, 1.0).square().mean()
    loss.backward()
    without = [name for name, weight in restorer.networks.named_parameters() if weight.grad is None or not weight.grad.any()]
    networks = [getattr(sd1.pipeline, part) for part in sd1.parts]
    assert not without and all(weight.grad is None for network in networks for weight in network.parameters())
    optimizer.step()
    assert fingerprint(named_tensors(sd1)) == before


@torch.no_grad()
def test_the_encoder_knows_the_time(sd1: Model) -> None:
    """Invariant 3."""
    encoder = taught(sd1).networks.encoder
    low = drawn(sd1)[1]
    early, late, again = (encoder(low, torch.full((2,), t)) for t in (10, 900, 10))
    assert all((early[size] - late[size]).abs().max() > 1e-3 and torch.equal(early[size], again[size]) for size in early)


@torch.no_grad()
def test_without_fidelity_the_decoder_is_the_models_own(sd1: Model) -> None:
    """Invariant 4, first half; a fresh one decodes as the model does at any fidelity."""
    latents, _, low = drawn(sd1)
    plain = sd1.decode(latents)
    restorer = taught(sd1)
    assert torch.equal(restorer.decode(latents, low, 0.0), plain)
    assert not torch.allclose(restorer.decode(latents, low, 1.0), plain, atol=1e-3)
    assert torch.allclose(Restorer.new(sd1, SMALL, 0).decode(latents, low, 1.0), plain, atol=1e-6)
    assert torch.equal(sd1.decode(latents), plain)


@torch.no_grad()
def test_wrapping_is_affine_in_fidelity_at_its_layer(sd1: Model) -> None:
    """Invariant 4, second half: at the first level that is wrapped the map moves along a line; at the picture it need not."""
    restorer = taught(sd1)
    latents, _, low = drawn(sd1)
    seen: dict[float, Tensor] = {}
    wrapping: Any = restorer.networks.wrapping["1"]
    for fidelity in (0.0, 0.25, 0.5, 1.0):
        hook = wrapping.register_forward_hook(lambda module, inputs, output, f=fidelity: seen.__setitem__(f, output))
        restorer.wrapped(latents, low, fidelity)
        hook.remove()
    assert (seen[1.0] - seen[0.0]).abs().max() > 1e-3
    for fidelity in (0.25, 0.5):
        assert torch.allclose(seen[fidelity], seen[0.0] + fidelity * (seen[1.0] - seen[0.0]), atol=1e-5)


@pytest.mark.parametrize("size", [(64, 64), (64, 96), (9, 5)])
@torch.no_grad()
def test_the_encoder_gives_every_size_that_is_in_the_denoiser(sd1: Model, size: tuple[int, int]) -> None:
    """Invariant 8: of 512 x 512, 512 x 768 and odd latents."""
    low = torch.zeros(1, 4, *size)
    maps = Restorer.new(sd1, SMALL, 0).networks.encoder(low, torch.zeros(1))
    met = set()

    def look(name: str, h: Tensor) -> Tensor:
        met.add(tuple(h.shape[-2:]))
        return h

    with sd1.changed_blocks(look):
        sd1.predict(low, torch.tensor([5]), sd1.unconditional())
    assert met == set(maps) and len(met) == sd1.halvings + 1


@torch.no_grad()
def test_edits_count(sd1: Model) -> None:
    """The model's weights are used as they are."""
    restorer = taught(sd1)
    latents, low, _ = drawn(sd1)
    before = restorer.predict(latents, 300, low)
    next(iter(sd1.denoiser.parameters())).mul_(2)
    assert (restorer.predict(latents, 300, low) - before).abs().max() > 1e-3


@torch.no_grad()
def test_a_file_gives_the_same_restorer(sd1: Model, tmp_path: Path) -> None:
    restorer = taught(sd1)
    latents, low, pictures = drawn(sd1)
    for dtype, atol in ((torch.float32, 0.0), (torch.float16, 1e-2)):
        restorer.write(tmp_path / "restorer.safetensors", dtype)
        read = read_restorer(tmp_path / "restorer.safetensors", sd1)
        assert read.settings == SMALL
        assert torch.allclose(read.predict(latents, 300, low), restorer.predict(latents, 300, low), rtol=0, atol=atol)
        assert torch.allclose(read.decode(latents, pictures, 0.5), restorer.decode(latents, pictures, 0.5), rtol=0, atol=atol)


def test_a_bad_file_is_one_line(sd1: Model, sdxl: Model, canvas: Model, tmp_path: Path) -> None:
    path = tmp_path / "r.safetensors"
    taught(sd1).write(path)
    tensors, metadata = load_file(path), {"format": "1", "restorer": ""}
    with pytest.raises(FileNotFoundError):
        read_restorer(tmp_path / "none", sd1)
    described = json.loads(read_header(path)[1]["restorer"])

    def refused(change: dict[str, Any], tensors: dict[str, Tensor] = tensors, **other: str) -> str:
        save_file(tensors, path, {**metadata, "restorer": json.dumps({**described, **change}), **other})
        with pytest.raises(ValueError) as caught:
            read_restorer(path, sd1)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 500
        return str(caught.value)

    assert "does not fit" in refused({"channels": 8}) and "latents differ" in refused({"channels": 8})
    assert "residual blocks differ" in refused({"blocks": {"one": 3}}) and "sizes in the U-Net" in refused({"halvings": 3})
    assert "levels of the autoencoder" in refused({"coders": {"0": 8}})
    assert "is not a restorer's file" in refused({"settings": {"width": 10**9}}) and "is not" in refused({"surprise": 1})
    assert "lacks" in refused({}, dict(list(tensors.items())[1:])) and "format '2'" in refused({}, format="2")
    name = next(iter(tensors))
    assert "expected" in refused({}, {**tensors, name: torch.zeros(3)}) and "finite" in refused(
        {}, {**tensors, name: tensors[name] * torch.nan}
    )
    assert "is damaged" in refused({}, restorer="{") and "does not belong" in refused({}, {**tensors, "more": torch.zeros(1)})
    save_file(tensors, path)
    with pytest.raises(ValueError, match="is not a restorer's file"):
        read_restorer(path, sd1)
    (path).write_bytes(b"no tensors")
    with pytest.raises(ValueError, match="is damaged"):
        read_restorer(path, sd1)


def test_settings_that_do_not_go_with_the_model(sd1: Model) -> None:
    for change, words in (({"levels": (5,)}, "levels=5 is not a level"), ({"heads": 3}, "heads=3 must divide")):
        with pytest.raises(ValueError, match=words):
            Restorer.new(sd1, SMALL.model_copy(update=change), 0)


def test_what_does_not_go_together_is_refused(sd1: Model) -> None:
    restorer = Restorer.new(sd1, SMALL, 0)
    latents, _, low = drawn(sd1)
    for fidelity in (-0.1, 1.5, float("nan")):
        with pytest.raises(ValueError, match="fidelity must be a finite number from 0 to 1"):
            restorer.decode(latents, low, fidelity)
    with pytest.raises(ValueError, match=r"low pictures of these latents must be \(2, 3, 16, 16\)"):
        restorer.decode(latents, low[..., :-1], 0.5)


def test_the_one_that_ships_is_small_and_of_the_recipe() -> None:
    """Half precision, at most 6 MB, of the settings that `excise canvas train sr` trains, and for the canvas."""
    file = restorer_of("canvas")
    assert file is not None and file.stat().st_size <= 6_000_000
    declared, metadata = read_header(file)
    described = Described.model_validate_json(metadata["restorer"])
    assert {each.dtype for each in declared.values()} == {"F16"} and metadata["format"] == "1"
    assert described.settings == SETTINGS and (described.model, described.channels, described.halvings) == ("canvas", 8, 1)


def test_the_start_is_mostly_noise(sd1: Model) -> None:
    """Invariant 9: at the last step of Stable Diffusion's schedule the variance is abar var(z) + 1 - abar, abar being 0.0047."""
    random = torch.Generator().manual_seed(0)
    low, noise = 2 * torch.randn(64, 4, 16, 16, generator=random), torch.randn(64, 4, 16, 16, generator=random)
    last = torch.full((64,), sd1.path.last)
    kept = float(sd1.path.squares(last)[0][0])
    assert abs(kept - 0.0047) < 1e-4
    found = float(sd1.path.noised(low, noise, last).var())
    assert abs(found - (4 * kept + 1 - kept)) < 0.02
