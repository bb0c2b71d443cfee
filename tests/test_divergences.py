"""f-divergences of two Gaussians against scipy's quadrature of their definitions; what they do as losses."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm

from excise.erasure.divergences import judged, slope, value
from excise.erasure.run import Run
from excise.erasure.training_settings import Divergence, Divergent
from excise.methods import get
from excise.models import Model
from trained_methods import CAT, PICTURED, VISITING, settings_of

M1, M2, S = 0.3, 1.1, 0.7
DELTA = torch.tensor((M1 - M2) ** 2, dtype=torch.float64)
GENERATORS = {
    "mse": lambda u: u * np.log(u),
    "jeffreys": lambda u: (u - 1) * np.log(u),
    "hellinger": lambda u: (np.sqrt(u) - 1) ** 2 / 2,
    "chi2": lambda u: (u - 1) ** 2,
    "tv": lambda u: np.abs(u - 1) / 2,
}
"""f of D_f = int q f(p / q)."""


def integral(f: Callable[[Any], Any]) -> float:
    def integrand(x: float) -> float:
        p, q = norm.pdf(x, M1, S), norm.pdf(x, M2, S)
        return q * f(p / q)

    return quad(integrand, -7, 9, points=[(M1 + M2) / 2], limit=400, epsabs=1e-12)[0]


@pytest.mark.parametrize("divergence", GENERATORS)
def test_values_are_the_integrals(divergence: Divergence) -> None:
    assert float(value(DELTA, divergence, S)) == pytest.approx(integral(GENERATORS[divergence]), rel=1e-7)


@pytest.mark.parametrize("alpha", [-1.0, 0.25, 0.5, 2.0, 3.0])
def test_alpha_is_the_integral(alpha: float) -> None:
    expected = integral(lambda u: (u**alpha - 1) / (alpha * (alpha - 1)))
    assert float(value(DELTA, "alpha", S, alpha)) == pytest.approx(expected, rel=1e-6)


def test_values_of_the_paper_s_table() -> None:
    table = {"mse": 0.653061, "jeffreys": 1.306122, "hellinger": 0.150634, "chi2": 2.691831, "tv": 0.432291}
    for divergence, expected in table.items():
        assert float(value(DELTA, divergence, S)) == pytest.approx(expected, abs=1e-6)  # type: ignore[arg-type]
    assert float(value(DELTA, "alpha", S, 0.25)) == pytest.approx(0.614661, abs=1e-6)
    assert float(value(DELTA, "alpha", S, 3.0)) == pytest.approx(8.219705, abs=1e-6)


def test_alpha_contains_the_others() -> None:
    delta = torch.linspace(0, 5, 11, dtype=torch.float64)
    assert torch.allclose(value(delta, "alpha", alpha=0.5), 4 * value(delta, "hellinger"))
    assert torch.allclose(value(delta, "alpha", alpha=2.0), value(delta, "chi2") / 2)
    assert torch.allclose(value(delta, "alpha", alpha=0.3), value(delta, "alpha", alpha=0.7))
    for alpha in (1.0, 0.0):
        assert torch.equal(value(delta, "alpha", alpha=alpha), value(delta, "mse"))
        assert (value(delta, "alpha", alpha=alpha + 1e-4) - value(delta, "mse")).abs().max() < 1e-2
    assert torch.allclose(value(delta[:3], "alpha", alpha=1 + 1e-4), value(delta[:3], "mse"), atol=1e-4)


def test_the_default_is_the_error_itself() -> None:
    """MiM-MU, ESD and CA are untouched by the option: not a bit of their losses can change."""
    error = torch.rand(5)
    assert judged(error, Divergent(), channels=4) is error


@pytest.mark.parametrize("divergence", [d for d in get_args(Divergence) if d != "tv"])
@pytest.mark.parametrize("sigma", [1.0, 0.5])
def test_small_errors_mean_the_same_to_all(divergence: Divergence, sigma: float) -> None:
    settings = Divergent(divergence=divergence, divergence_sigma=sigma, divergence_alpha=3.0)
    error = torch.tensor([0.0, 1e-6], requires_grad=True)
    loss = judged(error, settings, channels=4)
    assert loss.tolist() == pytest.approx([0, 1e-6], rel=1e-3)
    assert torch.autograd.grad(loss.sum(), error)[0].tolist() == pytest.approx([1.0, 1.0], rel=1e-3)
    delta = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    rise = torch.autograd.grad(value(delta, divergence, sigma).sum(), delta)[0]
    assert float(rise) == pytest.approx(slope(divergence, sigma))


@pytest.mark.parametrize("sigma", [1.0, 0.5, 3.0])
def test_small_errors_mean_their_root_to_tv_in_whatever_units(sigma: float) -> None:
    delta = torch.tensor([1e-6], dtype=torch.float64)
    assert float(value(delta, "tv", sigma) / delta.sqrt()) == pytest.approx(slope("tv", sigma), rel=1e-4)
    loss = judged(delta / 4, Divergent(divergence="tv", divergence_sigma=sigma), channels=4)
    assert float(loss) == pytest.approx(1e-3 / 4, rel=1e-4)


def test_delta_is_the_channel_sum_of_the_pixel_mean() -> None:
    """As the authors' code has it: four channels, one mask."""
    difference = torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    mask = torch.ones(2, 1, 3, 3)
    delta = (mask * difference.square()).sum((1, 2, 3)) / mask.sum((1, 2, 3))
    published = -torch.exp(-delta / 8)
    ours = judged(difference.square().flatten(1).mean(1), Divergent(divergence="hellinger"), channels=4)
    assert torch.allclose(4 * ours / 8, published + 1)


def gradient(divergence: Divergence, errors: torch.Tensor, alpha: float = 0.5) -> torch.Tensor:
    errors = errors.clone().requires_grad_(True)
    loss = judged(errors, Divergent(divergence=divergence, divergence_alpha=alpha), channels=1)
    return torch.autograd.grad(loss.sum(), errors)[0]


def test_only_the_weight_of_large_errors_differs() -> None:
    errors = torch.linspace(0.1, 9, 50)
    assert torch.allclose(gradient("hellinger", errors), torch.exp(-errors / 8))
    assert (gradient("hellinger", errors).diff() < 0).all() and (gradient("alpha", errors, 0.3).diff() < 0).all()
    assert (gradient("chi2", errors).diff() > 0).all() and (gradient("alpha", errors, 3.0).diff() > 0).all()
    for kind in get_args(Divergence):
        assert (gradient(kind, errors) > 0).all()


def test_huge_errors_do_not_overflow() -> None:
    for kind in get_args(Divergence):
        errors = torch.tensor([0.0, 1e3, 1e6])
        found = gradient(kind, errors)
        assert torch.isfinite(found).all() and torch.isfinite(value(errors, kind)).all()
    assert float(gradient("chi2", torch.tensor([1e3]))) == pytest.approx(math.exp(30), rel=1e-3)


@pytest.mark.parametrize("method", ["mim", "esd", "ca"])
def test_methods_take_it_as_an_option(method: str, sd1: Model) -> None:
    """Jeffreys' is twice KL and divided by its slope: the same edit, to rounding. Chi-square's is another one."""

    def changes(divergence: Divergence) -> torch.Tensor:
        known = get(method).settings.model_fields
        quick = {key: value for key, value in {**VISITING, **PICTURED, "start": "base"}.items() if key in known}
        settings = settings_of(method, **quick, divergence=divergence, divergence_sigma=0.1)
        deltas = get(method).erase(sd1, [CAT], settings, Run()).deltas
        return torch.cat([deltas[name].dense().flatten() for name in sorted(deltas)])

    mse, jeffreys, chi2 = changes("mse"), changes("jeffreys"), changes("chi2")
    assert torch.allclose(mse, jeffreys, atol=1e-4 * float(mse.abs().max()))
    assert (mse - chi2).abs().max() > 0.01 * mse.abs().max()
