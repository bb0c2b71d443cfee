"""Targets against exact densities: two Gaussians, whose denoisers and posterior are known in closed form."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler
from torch import Tensor

from excise.concepts import PromptPair
from excise.erasure.prompt_bank import PromptBank
from excise.erasure.states import States, forward_states, from_noise
from excise.erasure.targets import _surprise, exclude, posterior
from excise.methods.mim import erase as mim
from excise.models import Conditioning, Path
from excise.models.guidance import guided
from excise.models.path import per_row

PRIOR, SPREAD, DIMENSIONS = 0.1, 0.5, 16


class Toy:
    """Latents (b, 16, 1, 1): N(m, s^2) with the concept, N(-m, s^2) without; the rest of the prompt is their mixture."""

    def __init__(self, prediction: str = "epsilon", zero_snr: bool = False) -> None:
        scheduler = DDIMScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type=prediction,
            rescale_betas_zero_snr=zero_snr,
        )  # fmt: skip
        self.levels = Path.of(scheduler)
        self.mean = torch.tensor([2.0] + [0.2] * (DIMENSIONS - 1), dtype=torch.float64).view(1, -1, 1, 1)

    def _log_density(self, z: Tensor, t: Tensor, mean: Tensor) -> Tensor:
        alpha, sigma = per_row(self.levels.alpha(t), z), per_row(self.levels.sigma(t), z)
        return -((z - alpha * mean).square() / (2 * (alpha**2 * SPREAD**2 + sigma**2))).flatten(1).sum(1)

    def truth(self, z: Tensor, t: Tensor) -> Tensor:
        """Bayes' rule: the probability of the concept given z_t."""
        odds = self._log_density(z, t, self.mean) - self._log_density(z, t, -self.mean)
        return (odds + torch.logit(torch.tensor(PRIOR, dtype=torch.float64))).sigmoid()

    def _picture(self, z: Tensor, t: Tensor, mean: Tensor) -> Tensor:
        """E[x | z] of one Gaussian."""
        alpha, sigma = per_row(self.levels.alpha(t), z), per_row(self.levels.sigma(t), z)
        return mean + alpha * SPREAD**2 / (alpha**2 * SPREAD**2 + sigma**2) * (z - alpha * mean)

    def picture(self, z: Tensor, t: Tensor, what: str) -> Tensor:
        """E[x | z]: "concept", "without" or "rest"."""
        if what != "rest":
            return self._picture(z, t, self.mean if what == "concept" else -self.mean)
        p = self.truth(z, t).view(-1, 1, 1, 1)
        return p * self.picture(z, t, "concept") + (1 - p) * self.picture(z, t, "without")

    def output(self, z: Tensor, t: Tensor, what: str) -> Tensor:
        """What a perfect network outputs."""
        alpha, sigma, x = per_row(self.levels.alpha(t), z), per_row(self.levels.sigma(t), z), self.picture(z, t, what)
        noise = (z - alpha * x) / sigma
        return noise if self.levels.prediction == "epsilon" else alpha * noise - sigma * x

    def path(self, count: int, steps: int, eta: float, scale: float, seed: int = 0) -> States:
        """DDIM from pure noise: guided towards the concept (scale > 0), or for the rest of the prompt (scale 0)."""
        random = torch.Generator().manual_seed(seed)
        times = torch.arange(steps).flip(0) * (1000 // steps) + 1
        z, visited = torch.randn(count, DIMENSIONS, 1, 1, generator=random, dtype=torch.float64), []
        for i, time in enumerate(times):
            visited.append(z)
            t = time.expand(count)
            x = guided(self.picture(z, t, "rest"), self.picture(z, t, "concept"), scale)
            here, there = self.levels.alphas_cumprod[time], self.levels.alphas_cumprod[times[i + 1] if i + 1 < steps else 0]
            variance = eta**2 * (1 - there) / (1 - here) * (1 - here / there)
            noise = (z - here.sqrt() * x) / (1 - here).sqrt()
            fresh = torch.randn(z.shape, generator=random, dtype=torch.float64)
            z = there.sqrt() * x + (1 - there - variance).clamp_min(0).sqrt() * noise + variance.sqrt() * fresh
        return States(
            torch.cat(visited),
            times.repeat_interleave(count),
            torch.zeros(steps * count).long(),
            torch.arange(count).repeat(steps),
        )


def _estimate(toy: Toy, states: States) -> tuple[Tensor, Tensor]:
    """What is found for every state, and what is true."""
    return _found(toy, _from_noise(toy, states))[-len(states) :], toy.truth(states.latents, states.t)


def _from_noise(toy: Toy, states: States) -> States:
    model: Any = SimpleNamespace(path=toy.levels)
    return from_noise(model, states, torch.Generator().manual_seed(3))


def _found(toy: Toy, paths: States) -> Tensor:
    model: Any = SimpleNamespace(path=toy.levels)
    rest, concept = (toy.output(paths.latents, paths.t, what) for what in ("rest", "concept"))
    return posterior(model, paths, rest, concept, torch.full((len(paths),), PRIOR, dtype=torch.float64))


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize(
    ("eta", "scale", "limit"),
    [(1.0, 1.0, 0.12), (1.0, 4.0, 0.12), (1.0, 0.0, 0.06), (0.0, 1.0, 0.17), (0.0, 4.0, 0.13), (0.0, 0.0, 0.09)],
)
def test_posterior_is_bayes_rule(prediction: str, eta: float, scale: float, limit: float) -> None:
    """On 300 paths of 25 steps: mean absolute error (a constant guess is off by 0.4 and more where the concept is shown), and order."""
    toy = Toy(prediction)
    found, truth = _estimate(toy, toy.path(300, 25, eta, scale))
    assert (found - truth).abs().mean() < limit
    assert torch.corrcoef(torch.stack([found, truth]))[0, 1] > 0.75
    last = slice(-300, None)
    if scale:
        assert truth[last].mean() > 0.97 and found[last].mean() > 0.8, "finished pictures of the concept must be known as such"
    else:
        assert abs(found[last].mean() - truth[last].mean()) < 0.12
    assert (truth[:300] - PRIOR).abs().max() > 0.1, "where the path starts something is seen already"
    assert (found[:300] - truth[:300]).abs().max() < 0.02


def test_posterior_of_noised_pictures_is_bayes_rule() -> None:
    """Calibration on the forgetting set's states: pictures of the rest of the prompt, a tenth of which show the concept."""
    toy, random = Toy(), torch.Generator().manual_seed(1)
    shown = torch.rand(600, generator=random) < PRIOR
    clean = torch.where(shown.view(-1, 1, 1, 1), toy.mean, -toy.mean) + SPREAD * torch.randn(
        600, DIMENSIONS, 1, 1, generator=random, dtype=torch.float64
    )
    model: Any = SimpleNamespace(path=toy.levels)
    states = forward_states(model, clean, torch.zeros(600).long(), 25, random)
    found, truth = _estimate(toy, states)
    assert (found - truth).abs().mean() < 0.05
    assert torch.corrcoef(torch.stack([found, truth]))[0, 1] > 0.85
    low_noise = states.t < 200
    assert found[low_noise & shown[states.picture]].mean() > 0.8
    assert found[low_noise & ~shown[states.picture]].mean() < 0.05


@pytest.mark.parametrize(("prediction", "zero"), [("epsilon", False), ("v_prediction", False), ("v_prediction", True)])
def test_posterior_of_pictures_of_the_concept_wherever_paths_end(prediction: str, zero: bool) -> None:
    """At as many levels as MiM-MU takes: in pure noise, or where the noisiest state still shows something, as in Stable Diffusion."""
    toy, random = Toy(prediction, zero), torch.Generator().manual_seed(2)
    clean = toy.mean + SPREAD * torch.randn(300, DIMENSIONS, 1, 1, generator=random, dtype=torch.float64)
    model: Any = SimpleNamespace(path=toy.levels)
    states = forward_states(model, clean, torch.zeros(300).long(), mim.LEVELS, random)
    found, truth = _estimate(toy, states)
    assert ((found - truth).abs() > 0.2).double().mean() < 0.01
    assert not zero or (found[states.t == 999] - PRIOR).abs().max() < 1e-12, "pure noise tells nothing"


def test_paths_from_noise_begin_with_noise_that_is_nobodys() -> None:
    """At the last timestep, one a picture, of its prompt; the states come after it as they were."""
    model: Any = SimpleNamespace(path=Toy().levels)
    states = States(
        torch.randn(6, 4, 32, 32).bfloat16(), torch.tensor([999, 5, 999, 7, 3, 9]), torch.tensor([4, 8, 4, 8, 4, 8]),
        torch.tensor([2, 5, 2, 5, 2, 5]),
    )  # fmt: skip
    paths = from_noise(model, states, torch.Generator().manual_seed(0))
    assert all(torch.equal(getattr(paths, name)[2:], getattr(states, name)) for name in ("latents", "t", "row", "picture"))
    start = paths.part(torch.arange(2))
    assert start.t.tolist() == [999, 999] and start.row.tolist() == [4, 8] and start.picture.tolist() == [2, 5]
    assert start.latents.dtype == torch.bfloat16
    alone = torch.corrcoef(torch.cat([start.latents.float(), states.latents.float()]).flatten(1)) - torch.eye(8)
    assert alone.abs().max() < 0.1 and (start.latents.float().flatten(1).std(1) - 1).abs().max() < 0.05


@pytest.mark.parametrize(("t", "s"), [(999, 700), (500, 480), (60, 20), (2, 1)])
def test_a_step_is_weighed_by_the_reverse_process_gaussian(t: int, s: int) -> None:
    """Oracle: Bayes' rule for z_s ~ N(alpha_s x, sigma_s^2) and z_t ~ N(ratio z_s, 1 - ratio^2), with torch's normal densities."""
    toy, random = Toy(), torch.Generator().manual_seed(0)
    z, x, other = torch.randn(3, 2, DIMENSIONS, 1, 1, generator=random, dtype=torch.float64)
    abar, abar_next = toy.levels.alphas_cumprod[t], toy.levels.alphas_cumprod[s]
    states = States(z, torch.tensor([t, s]), torch.zeros(2).long(), torch.zeros(2).long())
    rows = torch.tensor([0]), torch.tensor([1])
    model: Any = SimpleNamespace(path=toy.levels)

    def exact(picture: Tensor) -> Tensor:
        """log q(z_s | z_t, x) = log q(z_t | z_s) + log q(z_s | x) - log q(z_t | x)."""
        ratio = (abar / abar_next).sqrt()
        parts = [
            (z[0], ratio * z[1], 1 - ratio**2, 1),
            (z[1], abar_next.sqrt() * picture, 1 - abar_next, 1),
            (z[0], abar.sqrt() * picture, 1 - abar, -1),
        ]
        return sum(
            (sign * torch.distributions.Normal(m, v.sqrt()).log_prob(at).sum() for at, m, v, sign in parts), torch.zeros(())
        )

    found = []
    for picture in (x[[0]], other[[0]]):
        noise = (z[[0]] - abar.sqrt() * picture) / (1 - abar).sqrt()
        back = toy.levels.back(states.t[:1], states.t[1:])
        found.append(_surprise(model, states, noise, *rows, back)[0])
    expected = exact(x[0]) - exact(other[0])
    assert (found[1] - found[0]).item() == pytest.approx(expected.item(), rel=1e-6)


def test_a_step_of_a_bfloat16_model_is_weighed_in_full_precision() -> None:
    """Over as many numbers as latents of Stable Diffusion have, rounding in between would say more than the step does."""
    toy, random = Toy(), torch.Generator().manual_seed(0)
    z, one, other = torch.randn(3, 2, 4, 64, 64, generator=random).bfloat16()
    model: Any = SimpleNamespace(path=toy.levels)

    def weighed(dtype: torch.dtype) -> float:
        states = States(z.to(dtype), torch.tensor([500, 450]), torch.zeros(2).long(), torch.zeros(2).long())
        rows, back = (torch.tensor([0]), torch.tensor([1])), toy.levels.back(states.t[:1], states.t[1:])
        with_one, with_other = (
            _surprise(model, states, output[:1].to(dtype), *rows, back).item() for output in (one, one + 0.1 * other)
        )
        return with_one - with_other

    assert weighed(torch.bfloat16) == pytest.approx(weighed(torch.float64), rel=1e-4)


def test_posterior_depends_on_the_path_alone() -> None:
    """Not on the order of the states, nor on the other pictures."""
    toy = Toy()
    paths = _from_noise(toy, toy.path(6, 10, 1.0, 1.0))
    found = _found(toy, paths)
    shuffled = torch.randperm(66, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(_found(toy, paths.part(shuffled)), found[shuffled], atol=1e-12)
    alone = (paths.picture == 3).nonzero().squeeze(1)
    assert torch.allclose(_found(toy, paths.part(alone)), found[alone], atol=1e-12)


def test_posterior_where_a_step_stays_at_its_noise_level() -> None:
    """Some samplers visit a timestep twice; nothing is learned between the two."""
    toy = Toy()
    states = toy.path(4, 5, 1.0, 1.0)
    twice = States(*(torch.cat([tensor[:8], tensor[4:]]) for tensor in (states.latents, states.t, states.row, states.picture)))
    found, _ = _estimate(toy, twice)
    assert found.isfinite().all()
    once, _ = _estimate(toy, states)
    assert torch.allclose(found[8:], once[4:]) and torch.allclose(found[4:8], once[4:8])


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_exclude_is_the_density_without_the_concept(prediction: str) -> None:
    """With the exact posterior, the prediction for N(-m, s^2) comes out, wherever the factor is not clamped."""
    toy = Toy(prediction)
    states = toy.path(200, 20, 1.0, 0.0)
    z, t = states.latents, states.t
    p = toy.truth(z, t)
    found = exclude(toy.output(z, t, "rest"), toy.output(z, t, "concept"), p)
    expected = toy.output(z, t, "without")
    free = p < 0.8  # rho = p / (1 - p) is at most 4 there
    assert free.sum() > 3000 and torch.allclose(found[free], expected[free], atol=1e-6)
    assert not torch.allclose(toy.output(z, t, "rest")[free], expected[free], atol=1e-2)


@pytest.mark.parametrize(("prediction", "space"), [("epsilon", "guided"), ("v_prediction", "prediction")])
def test_mim_s_target_without_the_concept_is_that_density(prediction: str, space: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """MiM-MU's whole target of the mixture, with Bayes' rule in the place of the method's estimate, which is compared with it.

    Prompts are numbers: 0 the rest, 1 the concept, 2 the empty prompt, for which the model gives the latent itself.
    """
    toy, states = Toy(prediction), Toy(prediction).path(200, 25, 1.0, 0.0)
    z, t = states.latents, states.t
    truth, expected = toy.truth(z, t), toy.output(z, t, "without")

    def predict(z: Tensor, t: Tensor, conditioning: Conditioning) -> Tensor:
        answers = torch.stack([toy.output(z, t, "rest"), toy.output(z, t, "concept"), z])
        return answers[conditioning.tokens.flatten().long(), torch.arange(len(z))]

    def exact(*arguments: Any) -> Tensor:
        found = posterior(*arguments)[200:]
        assert (found - truth).abs().mean() < 0.06 and torch.corrcoef(torch.stack([found, truth]))[0, 1] > 0.75
        return torch.cat([torch.full((200,), PRIOR, dtype=torch.float64), truth])  # in pure noise, then of the states

    monkeypatch.setattr("excise.erasure.targets.posterior", exact)
    model: Any = SimpleNamespace(
        path=toy.levels, predict=predict, batch=lambda most: most, guided=guided, guidance=lambda told: told
    )
    rest, concept, empty = (Conditioning(torch.full((1, 1, 1), number)) for number in (0.0, 1.0, 2.0))
    bank = PromptBank((PromptPair("a cat", ""),), torch.tensor([1]), concept, rest, empty)
    priors = torch.tensor([0.9, PRIOR], dtype=torch.float64)  # of the owners; the bank's row is the second one's
    settings = mim.MimSettings(target="exclude", space=space, guidance_scale=3.0, mirror=4.0)  # type: ignore[arg-type]
    found = mim._targets(model, bank, priors, states, settings, torch.Generator())
    if space == "guided":
        expected = z + 3.0 * (expected - z)
    free = truth < 0.8  # rho = p / (1 - p) is at most 4 there
    assert free.sum() > 3000 and torch.allclose(found[free], expected[free], atol=1e-5)


def test_exclude_is_clamped_and_spares_what_does_not_show_the_concept() -> None:
    rest, concept = torch.zeros(4, 1, 1, 1), torch.ones(4, 1, 1, 1)
    found = exclude(rest, concept, torch.tensor([0.0, 0.5, 0.9999, 1.0]))
    assert found.flatten().tolist() == pytest.approx([0.0, -1.0, -4.0, -4.0])
    nearer = exclude(rest, concept, torch.tensor([0.2, 0.5, 0.9999, 1.0]), limit=0.5)
    assert nearer.flatten().tolist() == pytest.approx([-0.25, -0.5, -0.5, -0.5])


def test_guided_by_hand() -> None:
    assert guided(torch.tensor(1.0), torch.tensor(3.0), 0).item() == 1
    assert guided(torch.tensor(1.0), torch.tensor(3.0), 1).item() == 3
    assert guided(torch.tensor(1.0), torch.tensor(3.0), 4).item() == 9


def test_forward_states_are_noised_pictures() -> None:
    """Each state alone is alpha x + sigma e with standard e; timesteps lie one in each equal part of the schedule."""
    toy, random = Toy(), torch.Generator().manual_seed(0)
    model: Any = SimpleNamespace(path=toy.levels)
    clean = torch.full((4000, 4, 1, 1), 3.0, dtype=torch.float64)
    rows = torch.arange(4000) % 7
    states = forward_states(model, clean, rows, 8, random)
    assert (
        len(states) == 32000
        and torch.equal(states.row, rows.repeat(8))
        and torch.equal(states.picture, torch.arange(4000).repeat(8))
    )
    assert torch.equal(states.t.view(8, 4000) // 125, torch.arange(8).view(-1, 1).expand(-1, 4000))
    noise = (states.latents - per_row(toy.levels.alpha(states.t), clean) * 3.0) / per_row(toy.levels.sigma(states.t), clean)
    for part in noise.view(8, 4000, 4):
        assert abs(part.mean()) < 0.03 and abs(part.std() - 1) < 0.03
    neighbours = torch.corrcoef(torch.stack([noise.view(8, -1)[6], noise.view(8, -1)[7]]))[0, 1]
    assert neighbours > 0.4, "the states of a picture must be one run of the noising process"


def test_forward_states_of_a_bfloat16_model_have_their_noise() -> None:
    """Also where there is so little that one minus it is 1 in bfloat16."""
    toy = Toy()
    model: Any = SimpleNamespace(path=toy.levels)
    states = forward_states(
        model, torch.zeros(40000, 4, 1, 1).bfloat16(), torch.zeros(40000).long(), 8, torch.Generator().manual_seed(0)
    )
    for t in (0, 1, 2, 5):
        noise = states.latents[states.t == t].double() / (1 - toy.levels.alphas_cumprod[t]).sqrt()
        assert noise.square().mean().sqrt() == pytest.approx(1, abs=0.06), t
