"""Noise levels and conversions between what networks predict (mutual_information.md, section 3)."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, FlowMatchEulerDiscreteScheduler
from torch import Tensor

from excise.models import Path
from excise.models.path import per_row

STABLE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def _path(prediction: str = "epsilon") -> Path:
    return Path("flow", 1000) if prediction == "flow" else Path.of(DDIMScheduler(**STABLE, prediction_type=prediction))


def _outputs(x: Tensor, e: Tensor, t: Tensor, path: Path) -> dict[str, Tensor]:
    """What a perfect network of each kind would output, straight from the definitions."""
    if path.alphas_cumprod is None:
        return {"flow": e - x}
    alpha = path.alphas_cumprod[t].sqrt().view(-1, 1, 1, 1)
    sigma = (1 - path.alphas_cumprod[t]).sqrt().view(-1, 1, 1, 1)
    return {"epsilon": e, "v_prediction": alpha * e - sigma * x, "sample": x}


@pytest.fixture
def state() -> tuple[Tensor, Tensor, Tensor]:
    """x, t, e in float64."""
    generator = torch.Generator().manual_seed(0)
    x, e = torch.randn(2, 40, 4, 3, 3, generator=generator, dtype=torch.float64)
    return x, torch.linspace(0, 999, 40).long(), e


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample", "flow"])
def test_every_prediction_means_the_same_noise_and_sample(prediction: str, state: tuple[Tensor, Tensor, Tensor]) -> None:
    x, t, e = state
    path = _path(prediction)
    z = path.noised(x, e, t)
    output = _outputs(x, e, t, path)[prediction]
    assert (path.to_noise(output, z, t) - e).abs().max() < 1e-6
    assert (path.to_x0(output, z, t) - x).abs().max() < 1e-6
    assert (path.output(x, e, t) - output).abs().max() < 1e-12


def test_agrees_with_diffusers(state: tuple[Tensor, Tensor, Tensor]) -> None:
    """Oracle: `add_noise`, `get_velocity` and the predicted sample of diffusers' own schedulers."""
    x, t, e = (tensor.float() if tensor.is_floating_point() else tensor for tensor in state)
    for prediction in ("epsilon", "v_prediction", "sample"):
        scheduler = DDPMScheduler(**STABLE, prediction_type=prediction, clip_sample=False)
        path = Path.of(scheduler)
        z = scheduler.add_noise(x, e, t)
        assert torch.allclose(path.noised(x, e, t), z, atol=1e-6)
        output = {"epsilon": e, "v_prediction": scheduler.get_velocity(x, e, t), "sample": x}[prediction] + 0.1
        scheduler.set_timesteps(1000)
        for row in (0, 20, 39):
            step = scheduler.step(output[[row]], int(t[row]), z[[row]], generator=torch.Generator().manual_seed(0))
            ours = path.to_x0(output[[row]], z[[row]], t[[row]])
            assert torch.allclose(ours, step.pred_original_sample, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample", "flow"])
def test_noise_scale_is_the_ratio_of_squared_differences(prediction: str, state: tuple[Tensor, Tensor, Tensor]) -> None:
    z, t, one = state
    path = _path(prediction)
    other = one.flip(0)
    noise = path.to_noise(one, z, t) - path.to_noise(other, z, t)
    ratio = noise.square().flatten(1).sum(1) / (one - other).square().flatten(1).sum(1)
    assert torch.allclose(path.noise_scale(t), ratio, rtol=1e-9)


def test_stable_diffusions_log_snr() -> None:
    """Values of mutual_information.md, section 3."""
    known = {0: 7.0694, 100: 2.135, 250: 0.725, 500: -0.963, 750: -2.822, 999: -5.3640}
    path = _path()
    found = path.log_snr(torch.tensor(list(known)))
    assert found.tolist() == pytest.approx(list(known.values()), abs=6e-4)
    abar = path.alphas_cumprod[500].item()
    assert found[3].item() == pytest.approx(math.log(abar / (1 - abar)))


@pytest.mark.parametrize("options", [STABLE, {"beta_schedule": "squaredcos_cap_v2"}, {"beta_schedule": "linear"}])
def test_log_snr_falls_strictly(options: dict[str, object]) -> None:
    path = Path.of(DDIMScheduler(**options))
    assert path.steps == 1000
    assert (torch.diff(path.log_snr(torch.arange(1000))) < 0).all()
    assert torch.allclose(path.alpha(torch.arange(1000)) ** 2, path.alphas_cumprod)


@pytest.mark.parametrize("zero", [False, True])
def test_log_snr_weight_integrates_to_the_range(zero: bool) -> None:
    """Over all timesteps (trapezoid) the weight is the finite range of log-SNR; at pure noise it is 0, not infinite."""
    path = Path.of(DDIMScheduler(**STABLE, rescale_betas_zero_snr=zero))
    t = torch.arange(1000)
    weight, level = path.log_snr_weight(t), path.log_snr(t)
    finite = level.isfinite()
    assert finite.sum() == (999 if zero else 1000) and weight.isfinite().all() and (weight[finite] > 0).all()
    expected = level[0] - level[finite][-1]
    assert torch.trapezoid(weight[finite]).item() == pytest.approx(expected.item(), rel=1e-9)
    assert weight[~finite].sum() == 0
    shuffled = torch.randperm(1000, generator=torch.Generator().manual_seed(0))
    assert torch.equal(path.log_snr_weight(shuffled), weight[shuffled])


def test_zero_terminal_snr_is_pure_noise() -> None:
    path = Path.of(DDIMScheduler(**STABLE, rescale_betas_zero_snr=True, prediction_type="v_prediction"))
    last, x, e = torch.tensor([999]), torch.full((1, 4, 2, 2), 5.0), torch.randn(1, 4, 2, 2)
    assert torch.equal(path.noised(x, e, last), e)
    assert path.log_snr(last).item() == -math.inf
    assert torch.equal(path.to_noise(-x, e, last), e) and torch.equal(path.to_x0(-x, e, last), x)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_factors_have_the_dtype_and_rank_of_what_they_multiply(dtype: torch.dtype) -> None:
    path, like = _path(), torch.zeros(2, 3, 4, dtype=dtype)
    alpha = per_row(path.alpha(torch.tensor([0, 999])), like)
    assert alpha.dtype == dtype and alpha.shape == (2, 1, 1)
    assert path.log_snr(torch.tensor([0])).dtype == torch.float64


def test_unknown_prediction_is_refused() -> None:
    scheduler = DDIMScheduler(**STABLE)
    scheduler.register_to_config(prediction_type="flow")
    with pytest.raises(ValueError, match="unknown prediction type 'flow'"):
        Path.of(scheduler)


# Straight paths


def test_flow_by_hand() -> None:
    """At t = 250 of 1000 sigma is 1/4: z = 3/4 x0 + 1/4 e, log-SNR log 9, and the network says e - x0."""
    path, t = Path.of(FlowMatchEulerDiscreteScheduler()), torch.tensor([250])
    x0, e = torch.tensor([[2.0]]), torch.tensor([[-6.0]])
    assert (path.prediction, path.steps, path.alpha(t).item(), path.sigma(t).item()) == ("flow", 1000, 0.75, 0.25)
    z, output = path.noised(x0, e, t), path.output(x0, e, t)
    assert (z.item(), output.item()) == (0.0, -8.0)
    assert (path.to_x0(output, z, t).item(), path.to_noise(output, z, t).item()) == (2.0, -6.0)
    assert path.to_velocity(output, z, t).item() == -8.0
    assert path.log_snr(t).item() == pytest.approx(math.log(9)) and path.noise_scale(t).item() == pytest.approx(9 / 16)
    slope = -2 / (0.25 * 0.75) / 1000  # d log-SNR / d sigma, and a timestep is a thousandth
    assert path.log_snr_weight(t).item() == pytest.approx(-slope, rel=1e-4)


def test_flow_at_its_ends_and_between_timesteps() -> None:
    path, x, e = Path("flow", 1000), torch.randn(3, 4, 2, 2), torch.randn(3, 4, 2, 2)
    t = torch.tensor([0.0, 1000.0, 987.25])
    z = path.noised(x, e, t)
    assert torch.equal(z[0], x[0]) and torch.equal(z[1], e[1])
    assert torch.allclose(z[2], 0.01275 * x[2] + 0.98725 * e[2])
    assert path.log_snr(t)[:2].tolist() == [math.inf, -math.inf]
    assert torch.isfinite(path.log_snr_weight(torch.arange(1000))).all() and path.log_snr_weight(torch.tensor([0])).item() == 0


def test_flow_agrees_with_diffusers() -> None:
    """Oracle: `scale_noise` of diffusers' scheduler, and that one Euler step from z to sigma 0 ends at our clean latent."""
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    path = Path.of(scheduler)
    scheduler.set_timesteps(5)
    x, e, output = torch.randn(3, 1, 4, 2, 2, generator=torch.Generator().manual_seed(0))
    for t, sigma in zip(scheduler.timesteps, scheduler.sigmas, strict=False):
        z = scheduler.scale_noise(x, t[None], e)
        assert torch.allclose(path.noised(x, e, t[None]), z, atol=1e-6)
        assert torch.allclose(path.to_x0(output, z, t[None]), z + (0 - sigma) * output, atol=1e-6)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample", "flow"])
def test_velocity_is_the_derivative_along_the_path(prediction: str) -> None:
    """By differences: dz / d sigma on a straight path; dz / d phi with alpha = cos phi and sigma = sin phi on the others."""
    path, x, e = _path(prediction), *torch.randn(2, 3, 4, 1, 1, dtype=torch.float64)
    t = torch.tensor([200, 500, 900])
    before, after = (path.noised(x, e, t + step) for step in (-1, 1))
    angle = (lambda s: s) if prediction == "flow" else torch.asin
    step = per_row(angle(path.sigma(t + 1)) - angle(path.sigma(t - 1)), x)
    found = path.to_velocity(path.output(x, e, t), path.noised(x, e, t), t)
    assert torch.allclose(found, (after - before) / step, atol=1e-4)


@pytest.mark.parametrize("prediction", ["epsilon", "flow"])
def test_going_on_is_noising_in_two_steps(prediction: str) -> None:
    """Factors of two steps make those of one; and the way back has the mean and variance of Gaussian conditioning (numpy)."""
    path, early, late = _path(prediction), torch.tensor([120, 300]), torch.tensor([400, 301])
    keep, add = path.onwards(early, late)
    assert torch.allclose(keep * path.alpha(early), path.alpha(late))
    assert torch.allclose((keep * path.sigma(early)) ** 2 + add**2, path.sigma(late) ** 2)
    back, picture, variance = path.back(late, early)
    for i in range(2):  # joint of (z_early, z_late) given x0 = 1
        early_variance, z = path.sigma(early)[i].item() ** 2, 0.7
        cov = early_variance * np.array([[1, keep[i].item()], [keep[i].item(), 0]])
        cov[1, 1] = path.sigma(late)[i].item() ** 2
        mean = path.alpha(early)[i].item() + cov[0, 1] / cov[1, 1] * (z - path.alpha(late)[i].item())
        assert (back[i] * z + picture[i]).item() == pytest.approx(mean, rel=1e-9)
        assert variance[i].item() == pytest.approx(cov[0, 0] - cov[0, 1] ** 2 / cov[1, 1], rel=1e-7)


@pytest.mark.parametrize("prediction", ["epsilon", "flow"])
def test_the_way_back_from_pure_noise_is_noising(prediction: str) -> None:
    """Pure noise says nothing of z_early: alpha x0 + sigma e. A flow has a timestep of it, from where the way back is the same."""
    path, early = _path(prediction), torch.tensor([120, 990])
    keep, picture, variance = path.back_from_noise(early)
    assert not keep.any() and torch.equal(picture, path.alpha(early))
    assert torch.allclose(variance, path.sigma(early) ** 2)
    if prediction == "flow":
        assert all(map(torch.allclose, path.back(torch.tensor([1000, 1000]), early), (keep, picture, variance)))


def test_the_same_path() -> None:
    one, other = _path(), Path.of(DDIMScheduler(beta_schedule="linear"))
    assert one.same_as(_path()) and Path("flow", 1000).same_as(Path("flow", 1000))
    for different in (other, _path("sample"), Path("flow", 1000)):
        assert not one.same_as(different) and not different.same_as(one)
    assert not Path("flow", 1000).same_as(Path("flow", 500))


def test_timesteps_are_drawn_evenly_from_all() -> None:
    drawn = Path("flow", 10).draw(20000, torch.Generator().manual_seed(0))
    assert torch.equal(drawn, torch.randint(10, (20000,), generator=torch.Generator().manual_seed(0)))
    assert (drawn.bincount(minlength=10) / 2000 - 1).abs().max() < 0.1
