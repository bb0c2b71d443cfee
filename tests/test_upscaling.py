"""Pictures restored by a model's own sampler: where it starts, what each step asks, sizes, tiles without seams, edits, colours."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor

from excise import bounds
from excise.canvas.data import draw
from excise.models import Model, load
from excise.models.fingerprint import named_tensors
from excise.restoration import tiled_sampling
from excise.restoration.colour import match_colour
from excise.restoration.degradation import enlarge, shrink
from excise.restoration.restorer import Restorer
from excise.restoration.tiled_sampling import Tiling, frame, restore, start
from excise.restoration.tiles import begins
from test_attacks import random_edit
from tiny_restorer import SMALL, taught


@pytest.fixture(scope="module")
def model(tiny_canvas: Path) -> Model:
    return load(tiny_canvas, device="cpu")


@pytest.fixture(scope="module")
def restorer(model: Model) -> Restorer:
    return taught(model)


def noise(height: int, width: int, b: int = 1, seed: int = 0) -> Tensor:
    return torch.rand(b, 3, height, width, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def low() -> Tensor:
    return enlarge(noise(6, 10), 4)


# Where it starts, and what each step asks


@pytest.mark.parametrize("scheduler", [None, "EulerDiscreteScheduler"])
def test_it_starts_from_the_noised_low_picture(tiny_sd1: Path, scheduler: str | None) -> None:
    """Per element alpha^2 var(z) + 1 - alpha^2 over seeds, with alpha^2 = 0.0047 at the last timestep of SD's schedule; and its mean."""
    model = load(tiny_sd1, device="cpu")
    latents = 40 * torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(5))
    with model.sampled_by(scheduler):
        found = start(model, latents.expand(400, -1, -1, -1), list(range(400)), 500)
        first = int(model._scheduler(500).timesteps[0])
    signal = model.pipeline.scheduler.alphas_cumprod[first].item()
    assert first == 999 and signal == pytest.approx(0.0047, abs=1e-4)
    mean, variance = found.mean(0, keepdim=True), found.var(0)
    assert (mean - signal**0.5 * latents).abs().max() < 0.25
    assert variance.mean().item() == pytest.approx(1 - signal, rel=0.02)
    everything = found.var().item()
    assert everything == pytest.approx(signal * latents.var().item() + 1 - signal, rel=0.05)


def test_a_run_is_that_of_diffusers(model: Model, restorer: Restorer, low: Tensor) -> None:
    """Oracle: the sampler's loop written out, on the whole picture."""
    latents = model.encode_pictures(low)
    scheduler = copy.deepcopy(model.pipeline.scheduler)
    scheduler.set_timesteps(3)
    x = torch.randn(latents.shape, generator=torch.Generator().manual_seed(7))
    with torch.no_grad():
        x = scheduler.add_noise(latents, x, scheduler.timesteps[:1])
        for t in scheduler.timesteps:
            x = scheduler.step(restorer.predict(x, int(t), latents), t, x).prev_sample
    expected = match_colour(restorer.decode(x, low, 0.7), low, "adain")
    found = restore(model, restorer, low, steps=3, fidelity=0.7, colour="adain", tile=64, seed=7)
    assert found.shape == low.shape and torch.allclose(found, expected, atol=1e-5)


def test_the_low_picture_the_seed_and_the_edit_count(model: Model, restorer: Restorer, low: Tensor) -> None:
    def restored(picture: Tensor = low, seed: int = 0) -> Tensor:
        return restore(model, restorer, picture, steps=2, colour="none", seed=seed)

    before = {name: tensor.clone() for name, tensor in named_tensors(model).items()}
    plain = restored()
    assert torch.equal(plain, restored()), "the same again"
    assert (restored(low.flip(3)) - plain).abs().max() > 1e-3 and (restored(seed=1) - plain).abs().max() > 1e-3
    with random_edit(model, "cat").applied(model):
        assert (restored() - plain).abs().max() > 1e-4
    assert torch.equal(restored(), plain), "nothing stays on the model"
    assert all(torch.equal(tensor, before[name]) for name, tensor in named_tensors(model).items())


def test_pictures_of_a_batch_have_seeds_of_their_own(model: Model, restorer: Restorer) -> None:
    pictures = noise(16, 24, b=2)
    both = restore(model, restorer, pictures, steps=2, seed=3)
    for number in range(2):
        alone = restore(model, restorer, pictures[number : number + 1], steps=2, seed=3 + number)
        assert torch.allclose(both[number : number + 1], alone, atol=1e-5)


@pytest.mark.parametrize(
    "scheduler", ["DDIMScheduler", "DDPMScheduler", "EulerDiscreteScheduler", "DPMSolverMultistepScheduler", "LCMScheduler"]
)
def test_other_samplers_and_few_steps(scheduler: str, model: Model, restorer: Restorer, low: Tensor) -> None:
    told: list[tuple[str, int, int]] = []
    found = restore(model, restorer, low, steps=2, scheduler=scheduler, progress=lambda *step: told.append(step))
    assert found.shape == low.shape and found.min() >= 0 and found.max() <= 1
    assert told[0] == ("steps", 0, 2) and told[-1] == ("steps", 2, 2)
    assert type(model.pipeline.scheduler).__name__ == "DDIMScheduler"


# Sizes and tiles


@pytest.mark.parametrize(("height", "width"), [(16, 16), (1, 1), (19, 33), (40, 5), (64, 48)])
def test_any_size(height: int, width: int, model: Model, restorer: Restorer) -> None:
    low = noise(height, width)
    found = restore(model, restorer, low, steps=1)
    assert found.shape == low.shape and found.dtype == torch.float32 and found.isfinite().all()


def test_frames_repeat_the_border_and_are_cut_off_again() -> None:
    low = noise(5, 19)
    framed = frame(low, 16, 2)
    assert framed.shape == (1, 3, 16, 20) and torch.equal(framed[..., :5, :19], low)
    assert torch.equal(framed[..., 5:, :19], low[..., 4:, :].expand(-1, -1, 11, -1)) and torch.equal(
        framed[..., 19], framed[..., 18]
    )
    assert torch.equal(frame(noise(16, 18), 16, 2), noise(16, 18))


def test_a_tile_that_holds_the_picture_changes_nothing(model: Model, restorer: Restorer, low: Tensor) -> None:
    whole = restore(model, restorer, low, steps=2, tile=64, overlap=0)
    assert torch.equal(whole, restore(model, restorer, low, steps=2, tile=40, overlap=20))
    assert not torch.equal(whole, restore(model, restorer, low, steps=2, tile=16, overlap=8))


def test_the_batch_of_tiles_changes_nothing(
    model: Model, restorer: Restorer, low: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for batch in (1, 3, 32):
        monkeypatch.setattr(model, "batch", lambda most, batch=batch: batch)
        found.append(restore(model, restorer, low, steps=2, tile=16, overlap=8))
    assert all(torch.allclose(found[0], other, atol=1e-5) for other in found[1:])


def test_large_pictures_are_decoded_in_tiles_too(model: Model, restorer: Restorer, monkeypatch: pytest.MonkeyPatch) -> None:
    low, sizes = noise(48, 64), list[tuple[int, ...]]()
    decode = Restorer.decode

    def seen(self: Restorer, latents: Tensor, low: Tensor, fidelity: float) -> Tensor:
        sizes.append(tuple(low.shape[-2:]))
        return decode(self, latents, low, fidelity)

    whole = restore(model, restorer, low, steps=1)
    monkeypatch.setattr(Restorer, "decode", seen)
    monkeypatch.setattr(tiled_sampling, "WHOLE", 32**2)
    parts = restore(model, restorer, low, steps=1)
    assert set(sizes) == {(32, 32)} and len(sizes) == 6 and parts.shape == whole.shape
    assert (parts - whole).abs().mean() < 0.05 < 0.15 < (whole.roll(2, 3) - whole).abs().mean()


def test_tiles_that_cannot_be(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Tiling.of(model, None, None) == Tiling(8, 4) and Tiling.of(model, 24, 6) == Tiling(12, 3)
    for tile, overlap, words in (
        (17, 8, "tile=17 must be a multiple of 2"), (16, 3, "overlap=3 must be a multiple of 2"),
        (16, 16, "overlap=16 must be below the tile's edge, 16"), (None, 20, "overlap=20 must be below the tile's edge, 16"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=words):
            Tiling.of(model, tile, overlap)
    monkeypatch.setattr(bounds, "TILES", 20)
    Tiling(8, 4).check(model, 40, 48)
    with pytest.raises(ValueError, match="a picture of 56 x 40 pixels has 24 tiles, more than 20"):
        Tiling(8, 4).check(model, 40, 56)


# Seams: on the built-in model, whose pictures are pictures


@pytest.fixture(scope="module")
def canvas_prior() -> Model:
    return load("canvas", device="cpu")


def composite(rows: int, columns: int) -> Tensor:
    """Real pictures of the canvas side by side, (1, 3, 64 rows, 64 columns)."""
    pictures = draw(rows * columns, torch.Generator().manual_seed(11)).pictures
    return torch.cat([torch.cat(list(pictures[row * columns : (row + 1) * columns]), 2) for row in range(rows)], 1)[None]


def seam_energy(picture: Tensor, tile: int, overlap: int) -> float:
    """Mean squared jump of (1, 3, h, w) from pixel to pixel across tiles' borders, over that between all other pixels."""
    energies: dict[bool, list[Tensor]] = {True: [], False: []}
    for turned in (picture, picture.transpose(2, 3)):
        length = turned.shape[3]
        borders = {edge for begin in begins(length, tile, overlap) for edge in (begin, begin + tile)} - {0, length}
        jumps = turned.diff(dim=3).square().mean((0, 1, 2))
        for place, jump in enumerate(jumps, 1):
            energies[place in borders].append(jump)
    return float(torch.stack(energies[True]).mean() / torch.stack(energies[False]).mean())


def test_a_composite_of_pictures_has_no_seams(canvas_prior: Model) -> None:
    """256 x 192 pixels in tiles of 64: across their borders pixels jump no more than in the untiled picture, where tiles overlap; without
    overlap they do, many times."""
    low = enlarge(shrink(composite(3, 4), torch.Generator().manual_seed(1)), 4)
    fresh = Restorer.new(canvas_prior, SMALL, 0)

    def restored(tile: int, overlap: int) -> Tensor:
        return restore(canvas_prior, fresh, low, steps=4, tile=tile, overlap=overlap, fidelity=0, colour="none")

    untiled, tiled, cut = restored(256, 0), restored(64, 32), restored(64, 0)
    assert untiled.shape == tiled.shape == cut.shape == (1, 3, 192, 256)
    assert seam_energy(tiled, 64, 32) < 1.1 * seam_energy(untiled, 64, 32)
    assert seam_energy(tiled, 64, 0) < 1.1 * seam_energy(untiled, 64, 0)
    assert seam_energy(cut, 64, 0) > 5 * seam_energy(untiled, 64, 0), "the measure sees seams where there are some"
