"""Quadrature over log-SNR: weights, rounding to timesteps, schedules that end in pure noise."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler

from exact_denoisers import GaussianToy
from excise.information.quadrature import LOC, SCALE, Law, fit_law, logistic_nodes, stratified_uniforms
from excise.models import Path

SD = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
CANVAS = DDIMScheduler(beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction", rescale_betas_zero_snr=True)


def levels(scheduler: DDIMScheduler) -> torch.Tensor:
    schedule = Path.of(scheduler)
    return schedule.log_snr(torch.arange(schedule.steps))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_every_slice_is_drawn_from_once_per_picture_and_once_per_finer_slice_over_pictures() -> None:
    uniforms = stratified_uniforms(12, 5, generator())
    assert ((uniforms * 5).long() == torch.arange(5)).all()
    assert sorted((uniforms.flatten() * 60).long().tolist()) == list(range(60))


def test_uniforms_depend_on_the_generator_alone() -> None:
    assert torch.equal(stratified_uniforms(4, 3, generator(1)), stratified_uniforms(4, 3, generator(1)))
    assert not torch.equal(stratified_uniforms(4, 3, generator(1)), stratified_uniforms(4, 3, generator(2)))


def test_weights_are_those_of_the_symmetric_formula() -> None:
    """scale * tanh(k/2) / (sigmoid(u) sigmoid(-u)), section 4 of the notes, written out in numpy."""
    k, loc, scale = 3.0, 1.0, 2.0
    a, w = logistic_nodes(torch.linspace(0.01, 0.99, 7, dtype=torch.float64), loc, scale, loc - k * scale, loc + k * scale)
    u = (a.numpy() - loc) / scale
    expected = scale * np.tanh(k / 2) * (1 + np.exp(u)) * (1 + np.exp(-u))
    np.testing.assert_allclose(w.numpy(), expected, rtol=1e-12)


def test_half_the_weights_integrate_to_half_the_range() -> None:
    """k = 3, scale 2: 6 nats for an integrand of 1."""
    _, w = logistic_nodes(stratified_uniforms(64, 64, generator()), 1.0, 2.0, -5.0, 7.0)
    assert (w / 2).mean().item() == pytest.approx(6, abs=0.002)


@pytest.mark.parametrize("scheduler", [SD, CANVAS], ids=["sd", "zero-terminal-snr"])
def test_rounded_weights_integrate_to_the_finite_range_too(scheduler: DDIMScheduler) -> None:
    a = levels(scheduler)
    nodes = Law(a, 0.5, 2.0).nodes(stratified_uniforms(500, 64, generator()))
    finite = a[a.isfinite()]
    assert nodes.weights.mean().item() == pytest.approx((finite.max() - finite.min()).item(), rel=0.02)


def test_rounding_takes_the_nearest_timestep_and_its_own_level() -> None:
    a = levels(SD)
    uniforms = stratified_uniforms(40, 8, generator())
    nodes = Law(a).nodes(uniforms)
    drawn, _ = logistic_nodes(uniforms, LOC, SCALE, float(a.min()), float(a.max()))
    brute = (drawn.flatten()[:, None] - a[None, :]).abs().argmin(1).view_as(nodes.t)
    assert torch.equal(nodes.t, brute)
    assert torch.equal(nodes.log_snr, a[nodes.t])


def test_levels_fall_and_the_nearest_level_of_a_level_is_itself() -> None:
    for scheduler in (SD, CANVAS):
        a = levels(scheduler)
        finite = a[a.isfinite()]
        assert (finite.diff() < 0).all()
        span = finite.max() - finite.min()
        wide = Law.flat(a).nodes(((finite - finite.min()) / span)[None].clamp(1e-12, 1 - 1e-12))
        assert torch.equal(wide.t[0], torch.arange(len(finite)))


def test_pure_noise_is_never_asked_about() -> None:
    a = levels(CANVAS)
    assert a[-1] == -math.inf
    nodes = Law(a, -6.0, 3.0).nodes(stratified_uniforms(200, 16, generator()))
    assert nodes.t.max() <= 998
    assert nodes.log_snr.isfinite().all() and nodes.weights.isfinite().all()


def test_schedule_without_levels_is_refused() -> None:
    with pytest.raises(ValueError, match="1 finite noise levels"):
        Law(torch.tensor([1.0, -math.inf]))


def test_few_rounded_nodes_match_the_closed_form_of_the_toy() -> None:
    """Expected integrand of the Gaussian toy: quadrature alone, no noise. Equal gaps in t would be 20 % off at 10 nodes."""
    toy, a = GaussianToy(0.1), levels(SD)
    nodes = Law(a).nodes(stratified_uniforms(200, 10, generator()))
    snr = nodes.log_snr.exp()
    integrand = snr / (1 + snr) - toy.variance * snr / (1 + toy.variance * snr)  # e-MSE gap of two Gaussians
    estimates = (nodes.weights * integrand).mean(1) / 2
    truth = toy.on_range(float(a.min()), float(a.max()))
    assert truth == pytest.approx(1.1926, abs=5e-5)  # the value in section 4 of the notes
    assert estimates.mean().item() == pytest.approx(truth, rel=2e-3)
    assert estimates.std() / truth < 0.05


def test_slices_have_equal_probability() -> None:
    a = levels(SD)
    edges = Law(a).edges(4)
    nodes = Law(a).nodes(stratified_uniforms(500, 8, generator()))
    counts = np.histogram(nodes.log_snr.numpy(), edges.numpy() + np.array([-1e-9, 0, 0, 0, 1e-9]))[0]
    assert np.abs(counts / counts.sum() - 0.25).max() < 0.01
    assert edges[0] == pytest.approx(float(a.min())) and edges[-1] == pytest.approx(float(a.max()))


def test_fitted_law_sits_on_the_integrand() -> None:
    a = torch.linspace(-12, 12, 400, dtype=torch.float64)
    bump = torch.exp(-((a + 2) ** 2) / (2 * 2.5**2))
    loc, scale = fit_law(a, bump)
    assert loc == pytest.approx(-2, abs=0.01)
    assert scale * math.pi / math.sqrt(3) == pytest.approx(2.5 * math.sqrt(2), rel=0.01)
    assert fit_law(a, torch.exp(-((a + 2) ** 2) * 50))[1] == 1.0
    assert fit_law(a, torch.zeros_like(a)) == (LOC, SCALE)
