"""Noise levels and conversions between what networks predict (mutual_information.md, section 3)."""

from __future__ import annotations

import math

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler
from torch import Tensor

from excise.models import Schedule

STABLE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def _schedule(prediction: str = "epsilon") -> Schedule:
    return Schedule.of(DDIMScheduler(**STABLE, prediction_type=prediction))


def _outputs(x: Tensor, e: Tensor, t: Tensor, schedule: Schedule) -> dict[str, Tensor]:
    """What a perfect network of each kind would output, straight from the definitions."""
    alpha = schedule.alphas_cumprod[t].sqrt().view(-1, 1, 1, 1)
    sigma = (1 - schedule.alphas_cumprod[t]).sqrt().view(-1, 1, 1, 1)
    return {"epsilon": e, "v_prediction": alpha * e - sigma * x, "sample": x}


@pytest.fixture
def state() -> tuple[Tensor, Tensor, Tensor]:
    """x, t, e in float64."""
    generator = torch.Generator().manual_seed(0)
    x, e = torch.randn(2, 40, 4, 3, 3, generator=generator, dtype=torch.float64)
    return x, torch.linspace(0, 999, 40).long(), e


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_every_prediction_means_the_same_noise_and_sample(prediction: str, state: tuple[Tensor, Tensor, Tensor]) -> None:
    x, t, e = state
    schedule = _schedule(prediction)
    z = schedule.add_noise(x, e, t)
    output = _outputs(x, e, t, schedule)[prediction]
    assert (schedule.to_epsilon(output, z, t) - e).abs().max() < 1e-6
    assert (schedule.to_sample(output, z, t) - x).abs().max() < 1e-6


def test_agrees_with_diffusers(state: tuple[Tensor, Tensor, Tensor]) -> None:
    """Oracle: `add_noise`, `get_velocity` and the predicted sample of diffusers' own schedulers."""
    x, t, e = (tensor.float() if tensor.is_floating_point() else tensor for tensor in state)
    for prediction in ("epsilon", "v_prediction", "sample"):
        scheduler = DDPMScheduler(**STABLE, prediction_type=prediction, clip_sample=False)
        schedule = Schedule.of(scheduler)
        z = scheduler.add_noise(x, e, t)
        assert torch.allclose(schedule.add_noise(x, e, t), z, atol=1e-6)
        output = {"epsilon": e, "v_prediction": scheduler.get_velocity(x, e, t), "sample": x}[prediction] + 0.1
        scheduler.set_timesteps(1000)
        for row in (0, 20, 39):
            step = scheduler.step(output[[row]], int(t[row]), z[[row]], generator=torch.Generator().manual_seed(0))
            ours = schedule.to_sample(output[[row]], z[[row]], t[[row]])
            assert torch.allclose(ours, step.pred_original_sample, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_epsilon_scale_is_the_ratio_of_squared_differences(prediction: str, state: tuple[Tensor, Tensor, Tensor]) -> None:
    z, t, one = state
    schedule = _schedule(prediction)
    other = one.flip(0)
    noise = schedule.to_epsilon(one, z, t) - schedule.to_epsilon(other, z, t)
    ratio = noise.square().flatten(1).sum(1) / (one - other).square().flatten(1).sum(1)
    assert torch.allclose(schedule.epsilon_scale(t), ratio, rtol=1e-9)


def test_stable_diffusions_log_snr() -> None:
    """Values of mutual_information.md, section 3."""
    known = {0: 7.0694, 100: 2.135, 250: 0.725, 500: -0.963, 750: -2.822, 999: -5.3640}
    schedule = _schedule()
    found = schedule.log_snr(torch.tensor(list(known)))
    assert found.tolist() == pytest.approx(list(known.values()), abs=6e-4)
    abar = schedule.alphas_cumprod[500].item()
    assert found[3].item() == pytest.approx(math.log(abar / (1 - abar)))


@pytest.mark.parametrize("options", [STABLE, {"beta_schedule": "squaredcos_cap_v2"}, {"beta_schedule": "linear"}])
def test_log_snr_falls_strictly(options: dict[str, object]) -> None:
    schedule = Schedule.of(DDIMScheduler(**options))
    assert schedule.steps == 1000
    assert (torch.diff(schedule.log_snr(torch.arange(1000))) < 0).all()
    assert torch.allclose(schedule.alpha(torch.arange(1000), torch.zeros(1, dtype=torch.float64)) ** 2, schedule.alphas_cumprod)


@pytest.mark.parametrize("zero", [False, True])
def test_log_snr_weight_integrates_to_the_range(zero: bool) -> None:
    """Over all timesteps (trapezoid) the weight is the finite range of log-SNR; at pure noise it is 0, not infinite."""
    schedule = Schedule.of(DDIMScheduler(**STABLE, rescale_betas_zero_snr=zero))
    t = torch.arange(1000)
    weight, level = schedule.log_snr_weight(t), schedule.log_snr(t)
    finite = level.isfinite()
    assert finite.sum() == (999 if zero else 1000) and weight.isfinite().all() and (weight[finite] > 0).all()
    expected = level[0] - level[finite][-1]
    assert torch.trapezoid(weight[finite]).item() == pytest.approx(expected.item(), rel=1e-9)
    assert weight[~finite].sum() == 0
    shuffled = torch.randperm(1000, generator=torch.Generator().manual_seed(0))
    assert torch.equal(schedule.log_snr_weight(shuffled), weight[shuffled])


def test_zero_terminal_snr_is_pure_noise() -> None:
    schedule = Schedule.of(DDIMScheduler(**STABLE, rescale_betas_zero_snr=True, prediction_type="v_prediction"))
    last, x, e = torch.tensor([999]), torch.full((1, 4, 2, 2), 5.0), torch.randn(1, 4, 2, 2)
    assert torch.equal(schedule.add_noise(x, e, last), e)
    assert schedule.log_snr(last).item() == -math.inf
    assert torch.equal(schedule.to_epsilon(-x, e, last), e) and torch.equal(schedule.to_sample(-x, e, last), x)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_factors_have_the_dtype_and_rank_of_what_they_multiply(dtype: torch.dtype) -> None:
    schedule, like = _schedule(), torch.zeros(2, 3, 4, dtype=dtype)
    alpha = schedule.alpha(torch.tensor([0, 999]), like)
    assert alpha.dtype == dtype and alpha.shape == (2, 1, 1)
    assert schedule.log_snr(torch.tensor([0])).dtype == torch.float64


def test_unknown_prediction_is_refused() -> None:
    scheduler = DDIMScheduler(**STABLE)
    scheduler.register_to_config(prediction_type="flow")
    with pytest.raises(ValueError, match="unknown prediction type 'flow'"):
        Schedule.of(scheduler)
