"""Information, steering and destruction against exact denoisers: the toys of the notes and every invariant of their section 9."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler
from torch import Tensor

from exact_denoisers import BinaryToy, GaussianToy, gaussian_denoiser, noised
from excise.information import estimators as est
from excise.information.quadrature import Law, logistic_nodes, stratified_uniforms
from excise.models import Path

N, K = 4000, 24


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Run:
    """Nodes and noise for n pairs of a toy; x, y are (n, 1, 1), everything else (n, k, 1)."""

    def __init__(self, toy: GaussianToy | BinaryToy, low: float = -10, high: float = 14, n: int = N, seed: int = 0) -> None:
        random = generator(seed)
        x, y = toy.draw(n, random)
        self.toy, self.x, self.y = toy, x[:, None], y[:, None]
        self.a, self.weights = logistic_nodes(stratified_uniforms(n, K, random), 2.0, 2.5, low, high)
        self.a = self.a[..., None]
        self.noise = torch.randn(self.a.shape, generator=random, dtype=torch.float64)
        self.z = noised(self.x, self.noise, self.a)
        self.with_ = toy.with_(self.z, self.a, self.y)
        self.without = toy.without(self.z, self.a)

    def nats(self, values: Tensor) -> Tensor:
        return est.integrate(values, self.weights).flatten(1).sum(1)

    def plain(self, with_: Tensor | None = None, without: Tensor | None = None) -> Tensor:
        return self.nats(est.plain(self.noise, self.with_ if with_ is None else with_, self.pick(without)))

    def orthogonal(self, with_: Tensor | None = None, without: Tensor | None = None) -> Tensor:
        return self.nats(est.orthogonal(self.with_ if with_ is None else with_, self.pick(without)))

    def pick(self, without: Tensor | None) -> Tensor:
        return self.without if without is None else without


def agrees(values: Tensor, truth: float, errors: float = 4.0) -> bool:
    """Whether the mean lies within four standard errors of the truth."""
    return abs(values.mean().item() - truth) <= errors * (values.std() / math.sqrt(len(values))).item() + 1e-3 * abs(truth)


@pytest.mark.parametrize(
    ("tau2", "low", "high", "documented"),
    [(1, -5, 7, 0.3444), (1, -10, 14, 0.3466), (0.1, -5, 7, 1.1914), (0.1, -10, 14, 1.1989), (0.01, -10, 14, 2.3075),
     (1e-4, -10, 14, 4.6011)],
)  # fmt: skip
def test_gaussian_toy_gives_the_closed_form(tau2: float, low: float, high: float, documented: float) -> None:
    toy = GaussianToy(tau2)
    truth = toy.on_range(low, high)
    assert truth == pytest.approx(documented, abs=6e-5)
    run = Run(toy, low, high)
    assert agrees(run.plain(), truth)
    assert agrees(run.orthogonal(), truth)
    assert agrees(run.plain() - run.orthogonal(), 0.0)


@pytest.mark.parametrize(("s", "documented"), [(0.3, 0.6919), (1.0, 0.3371), (3.0, 0.0528)])
def test_binary_prompt_gives_the_integral_of_its_densities(s: float, documented: float) -> None:
    toy = BinaryToy(s)
    assert toy.information == pytest.approx(documented, abs=4e-4)  # the notes sampled it
    assert toy.information < math.log(2)
    run = Run(toy)
    assert agrees(run.plain(), toy.information)
    assert agrees(run.orthogonal(), toy.information)


@pytest.mark.parametrize(("x", "y", "orthogonal"), [(0.5, 0.6, 0.633), (2.0, 1.9, 1.403), (0.0, 1.5, 10.66), (1.0, -0.5, 8.74)])
def test_plain_is_the_pointwise_log_ratio_and_orthogonal_is_not(x: float, y: float, orthogonal: float) -> None:
    toy = GaussianToy(0.1)
    run = Run(toy)
    run.z = noised(torch.tensor(x), run.noise, run.a)
    with_, without = toy.with_(run.z, run.a, torch.tensor(y)), toy.without(run.z, run.a)
    assert agrees(run.plain(with_, without), toy.pointwise(x, y))
    assert run.orthogonal(with_, without).mean().item() == pytest.approx(orthogonal, rel=0.02)


def test_the_empty_prompt_has_no_information_at_all() -> None:
    run = Run(GaussianToy(0.1), n=50)
    assert not run.plain(run.without).any()
    assert not run.orthogonal(run.without).any()
    assert (run.orthogonal() >= 0).all()
    assert (run.plain() < 0).any()  # pointwise the plain form may be negative


def test_all_kinds_of_prediction_give_the_same_numbers() -> None:
    run = Run(GaussianToy(0.1), -8, 8, n=200)
    alpha, sigma = torch.sigmoid(run.a).sqrt(), torch.sigmoid(-run.a).sqrt()
    s = torch.sigmoid(-run.a / 2)
    z_flow = (1 - s) * run.x + s * run.noise
    want = run.plain(), run.orthogonal()
    for kind in ("epsilon", "v_prediction", "sample", "flow"):
        found = []
        for e in (run.with_, run.without):
            x_hat = (run.z - sigma * e) / alpha
            output = {"epsilon": e, "v_prediction": alpha * e - sigma * x_hat, "sample": x_hat, "flow": e - x_hat}[kind]
            found.append(est.noise_prediction(output, z_flow if kind == "flow" else run.z, run.a, kind))
        assert torch.allclose(run.plain(*found), want[0], atol=1e-6)
        assert torch.allclose(run.orthogonal(*found), want[1], atol=1e-6)


def test_flow_matching_in_its_own_time_is_the_same_information() -> None:
    """int_0^1 (1 - s)/s E|v_c - v_u|^2 ds over uniform s, with velocities from the posterior mean of x, is I(x; y)."""
    toy, random = GaussianToy(0.1), generator()
    x, y = toy.draw(N, random)
    s = stratified_uniforms(N, K, random).clamp(1e-4, 1 - 1e-4)
    z = (1 - s) * x + s * torch.randn(N, K, generator=random, dtype=torch.float64)

    def velocity(mean: Tensor | float, variance: float) -> Tensor:
        x_hat = mean + (1 - s) * variance / ((1 - s) ** 2 * variance + s**2) * (z - (1 - s) * mean)
        return (z - x_hat) / s

    with_, without = velocity(y / (1 + toy.tau2), toy.variance), velocity(0.0, 1.0)
    in_s = (1 - s) / s * (with_ - without).square()
    assert agrees(in_s.mean(1), toy.information)
    a = 2 * torch.log((1 - s) / s)
    ours = est.orthogonal(*(est.noise_prediction(v, z, a, "flow") for v in (with_, without)))
    assert torch.allclose(ours / (s * (1 - s)), in_s)  # da = -2 ds / (s (1 - s)), and half of it


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "flow"])
@pytest.mark.parametrize("tau2", [1.0, 0.1, 0.01])
def test_a_linear_gaussian_channel_on_a_model_s_own_path_is_within_two_errors(tau2: float, kind: Any) -> None:
    """As a model is asked: at its own timesteps, in the words of its network, from `Law` to nats. The closed form is on the path's range.

    Oracle for the network: the posterior mean of x, by conditioning (x, z) jointly Gaussian, with the path's factors.
    """
    path = Path("flow", 1000) if kind == "flow" else Path.of(DDIMScheduler(prediction_type=kind))
    toy, random, law = GaussianToy(tau2), generator(5), Law(path.log_snr(torch.arange(1000)), 1.0, 2.5)
    x, y = toy.draw(N, random)
    nodes = law.nodes(stratified_uniforms(N, K, random))
    noise, t = torch.randn(N, K, generator=random, dtype=torch.float64), nodes.t.flatten()
    z = path.noised(x.expand(-1, K).flatten(), noise.flatten(), t)

    def told(mean: Tensor, variance: float) -> Tensor:
        alpha, sigma = path.alpha(t), path.sigma(t)
        x_hat = mean + alpha * variance / (alpha**2 * variance + sigma**2) * (z - alpha * mean)
        output = path.output(x_hat, (z - alpha * x_hat) / sigma, t)
        return est.noise_prediction(output, z, nodes.log_snr.flatten(), path.prediction).view(N, K)

    with_, without = told((y / (1 + tau2)).expand(-1, K).flatten(), toy.variance), told(torch.zeros(N * K).double(), 1.0)
    truth = toy.on_range(*law.range)
    for values in (est.plain(noise, with_, without), est.orthogonal(with_, without)):
        nats = est.integrate(values, nodes.weights)
        error = (nats.std() / math.sqrt(N)).item()
        assert abs(nats.mean().item() - truth) <= 2 * error and error < 0.05 * truth


def test_conversion_is_the_paths_own() -> None:
    t = torch.tensor([3, 400, 990])
    abar = torch.linspace(0.9999, 0.001, 1000, dtype=torch.float64)
    z, output = torch.randn(2, 3, 4, 8, 8, dtype=torch.float64, generator=generator())
    for kind in ("epsilon", "v_prediction", "sample"):
        path = Path(kind, 1000, abar)
        ours = est.noise_prediction(output, z, path.log_snr(t).view(-1, 1, 1, 1), kind)
        assert torch.allclose(ours, path.to_noise(output, z, t), rtol=1e-10, atol=1e-12)
    path = Path("flow", 1000)
    ours = est.noise_prediction(output, z, path.log_snr(t).view(-1, 1, 1, 1), "flow")
    assert torch.allclose(ours, path.to_noise(output, z, t), rtol=1e-10, atol=1e-12)
    with pytest.raises(ValueError, match="unknown prediction kind 'x0'"):
        est.noise_prediction(output, z, torch.zeros(1), "x0")  # type: ignore[arg-type]


@pytest.mark.parametrize("lam", [1.0, 0.5, 0.25, -0.5, -1.0, -2.0])
def test_steering_identities(lam: float) -> None:
    """plain = (2 lam - lam^2) I, orthogonal = lam^2 I, both steering coefficients = lam; the direct one on every pair."""
    run = Run(GaussianToy(0.1))
    information = run.toy.information
    edited = run.without + lam * (run.with_ - run.without)
    plain, orthogonal = run.plain(edited), run.orthogonal(edited)
    assert agrees(plain, (2 * lam - lam**2) * information)
    assert agrees(orthogonal, lam**2 * information)
    assert est.steering_blind(plain.mean(), orthogonal.mean()).item() == pytest.approx(lam, rel=0.05)
    shared = run.nats(est.cross(edited, run.without, run.with_, run.without))
    assert torch.allclose(est.steering_direct(shared, run.orthogonal()), torch.tensor(lam, dtype=torch.float64))
    assert est.alignment(shared.sum(), orthogonal.sum(), run.orthogonal().sum()).item() == pytest.approx(math.copysign(1, lam))


def test_direct_steering_is_defined_at_full_erasure_and_the_blind_one_is_not() -> None:
    run = Run(GaussianToy(0.1), n=50)
    shared = run.nats(est.cross(run.without, run.without, run.with_, run.without))
    assert not est.steering_direct(shared, run.orthogonal()).any()
    assert est.steering_blind(run.plain(run.without).mean(), run.orthogonal(run.without).mean()).isnan()


def test_orthogonal_information_cannot_tell_intact_from_reversed() -> None:
    run = Run(GaussianToy(0.1))
    reversed_ = 2 * run.without - run.with_
    assert torch.allclose(run.orthogonal(reversed_), run.orthogonal())
    assert run.plain(reversed_).mean() < -3 * run.plain().mean() + 0.1 * run.plain().mean() + 1e-9


def test_destruction_is_the_gap_of_log_likelihoods() -> None:
    """An edited model that believes in N(m', 1) when x ~ N(0, 1): E log p - log p' = m'^2 / 2."""
    run = Run(GaussianToy(0.1))
    for shift in (0.0, 0.7, 2.0):
        edited = gaussian_denoiser(run.z, run.a, shift, 1.0)
        score = run.nats(est.excess(run.noise, edited, run.without))
        assert agrees(score, shift**2 / 2)


def test_chain_rule_holds_for_the_plain_form_of_every_pair() -> None:
    run = Run(GaussianToy(0.1), n=200)
    coarse = GaussianToy(1.0)
    context = coarse.with_(run.z, run.a, run.y + 0.5)
    whole, first, second = run.plain(), run.plain(context), run.plain(None, context)
    assert torch.allclose(whole, first + second, atol=1e-9)
    assert not torch.allclose(run.orthogonal(), run.orthogonal(context) + run.orthogonal(None, context), atol=1e-2)


def test_two_independent_copies_hold_twice_as_much() -> None:
    run = Run(GaussianToy(0.1), n=100)
    double = [torch.cat([tensor, tensor], -1) for tensor in (run.noise, run.with_, run.without)]
    assert torch.allclose(run.nats(est.plain(*double)), 2 * run.plain())
    assert torch.allclose(run.nats(est.orthogonal(*double[1:])), 2 * run.orthogonal())


def test_noise_must_be_shared_between_branches() -> None:
    """With noise drawn anew for the second branch the spread at d = 256 is an order of magnitude larger."""
    toy, d = GaussianToy(100.0), 256
    x, y = (part.view(50, 1, d) for part in toy.draw(50 * d, generator()))
    a, weights = logistic_nodes(stratified_uniforms(50, K, generator(1)), 1.0, 2.0, -5, 7)
    noises = torch.randn(2, 50, K, d, generator=generator(2), dtype=torch.float64)
    z = [noised(x, noise, a[..., None]) for noise in noises]
    errors = [(noise - toy.without(z_, a[..., None])).square() for noise, z_ in zip(noises, z, strict=True)]
    with_ = (noises[0] - toy.with_(z[0], a[..., None], y)).square()
    shared, unshared = (est.integrate((error - with_).sum(2), weights) for error in errors)
    assert unshared.std() > 8 * shared.std()


def test_independent_errors_of_the_two_branches_only_add_to_the_orthogonal_form() -> None:
    """Shared errors cancel; independent ones bias the orthogonal form upwards by half the integral of their spread (section 5)."""
    run = Run(GaussianToy(0.1))
    sine, cosine = 0.1 * torch.sin(3 * run.z), 0.1 * torch.cos(3 * run.z)
    assert torch.allclose(run.orthogonal(run.with_ + sine, run.without + sine), run.orthogonal())
    bias = (run.orthogonal(run.with_ + sine, run.without + cosine) - run.orthogonal()).mean().item()
    assert bias == pytest.approx(24 * 0.01 / 2, abs=0.01)  # range 24, E (sine - cosine)^2 = 0.01
