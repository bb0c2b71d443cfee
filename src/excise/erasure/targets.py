"""What the model should predict instead, from the frozen model's predictions. All shapes (b, c, h, w)."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from excise.erasure.states import States
from excise.models import Conditioning, Model
from excise.models.path import per_row


def exclude(rest: Tensor, with_concept: Tensor, posterior: Tensor, limit: float = 4.0) -> Tensor:
    """Prediction of p_0(x | rest, not concept): rest + rho (rest - with_concept), rho = p / (1 - p).

    posterior (b,) in 0..1: probability, given the noisy latent, that it shows the concept. rho is clamped to `limit` (ours: where the
    posterior is nearly 1 the exact factor explodes).
    Source: arXiv 2603.00992's bound with the concept-free density as reference; exact because
    p(x | r) = p p(x | r, c) + (1 - p) p(x | r, not c) mixes scores with posterior weights.
    """
    rho = (posterior / (1 - posterior).clamp_min(1e-6)).clamp(max=limit).view(-1, 1, 1, 1).to(rest)
    return rest + rho * (rest - with_concept)


def predictions(model: Model, latents: Tensor, t: Tensor, *conditionings: Conditioning) -> tuple[Tensor, ...]:
    """The network's output at the same states for several conditionings of 1 or b prompts, in one pass."""
    b, count = len(latents), len(conditionings)
    text = Conditioning.join([conditioning.expand(b) for conditioning in conditionings])
    return model.predict(latents.repeat(count, 1, 1, 1), t.repeat(count), text).chunk(count)


def steered(start: Tensor, empty: Tensor, with_concept: Tensor, eta: float) -> Tensor:
    """Negative guidance, start - eta (with_concept - empty) (ESD, arXiv 2303.07345, eq. 5; start = empty in the paper).

    The weights of the three add up to 1, so the formula means the same for noise, velocity and clean pictures.
    """
    return start - eta * (with_concept - empty)


def mean_squares(difference: Tensor) -> Tensor:
    """Mean square of every row, (b,)."""
    return difference.square().flatten(1).mean(1)


def denoising_error(model: Model, clean: Tensor, conditioning: Conditioning, generator: Generator) -> Tensor:
    """What the model was trained to make small, at a random timestep each: (b,).

    clean (b, c, h, w) latents of pictures; conditioning what each shows
    """
    noisy, noise, t = noised(model, clean, generator)
    return mean_squares(model.predict(noisy, t, conditioning) - model.path.output(clean, noise, t))


def relabelled_error(model: Model, clean: Tensor, own: Conditioning, other: Conditioning, generator: Generator) -> Tensor:
    """How far the prediction for one prompt is from the model's own present one for another, on the same noisy pictures: (b,).

    clean (b, c, h, w) latents of pictures; own, other of b prompts each; no gradient flows through `other`
    """
    noisy, _, t = noised(model, clean, generator)
    with torch.no_grad():
        target = model.predict(noisy, t, other)
    return mean_squares(model.predict(noisy, t, own) - target)


def noised(model: Model, clean: Tensor, generator: Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Pictures (b, c, h, w) with noise at a random timestep each: noisy latents, the noise, the timesteps (b,)."""
    t = model.path.draw(len(clean), generator)
    noise = torch.randn(clean.shape, generator=generator).to(clean.device, clean.dtype)
    return model.path.noised(clean, noise, t), noise, t


def posterior(model: Model, states: States, rest: Tensor, with_concept: Tensor, prior: Tensor) -> Tensor:
    """Probability that a state shows the concept, (n,) float64: the prior in pure noise, then Bayes' rule step by step.

    A step to a cleaner state is weighed as the reverse process would take it with the concept and without:
    logit p(z_s) = logit p(z_t) + log q(z_s | z_t, x_with) - log q(z_s | z_t, x_without), x being what the frozen model takes for the picture
    and q DDPM's Gaussian (arXiv 2006.11239, eq. 7). Exact for small steps of a noising process or of its reverse with eta = 1, guided or
    not; deterministic paths come out a little low.

    The first step goes from pure noise to the noisiest state z_T. That state tells something already where the path does not end in pure
    noise (alpha_T^2 is 0.005 in Stable Diffusion's). As z_T = alpha_T x + sigma_T e, p(z_T | c) = N(alpha_T E[x | c], sigma_T^2) up to
    Cov[x | c], a term of order alpha_T^2. E[x | c] is what the model takes pure noise for at its last timestep, up to order alpha. What it
    takes z_T for would not do: that is drawn towards z_T, agrees with it by construction, and the more so the more the pictures vary.
    (`tests/test_targets.py` compares with Bayes' rule where densities are known.)

    states             begin with pure noise for every picture (`states.from_noise`)
    rest, with_concept (n, c, h, w): the frozen model's outputs without and with the words
    prior              (n,) share of the concept in pictures of the rest of the prompt
    """
    order = (states.picture * (model.path.last + 1) - states.t).argsort(stable=True)
    logit = torch.logit(prior.double())
    for step, (t, s) in enumerate(zip(*_steps(states.picture[order], order), strict=True)):
        back = model.path.back(states.t[t], states.t[s]) if step else model.path.back_from_noise(states.t[s])
        without = exclude(rest[t], with_concept[t], logit[t].sigmoid())
        told, untold = (_surprise(model, states, output, t, s, back) for output in (with_concept[t], without))
        logit[s] = logit[t] + untold - told
    return logit.sigmoid()


def _steps(picture: Tensor, order: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """From where to where: first every picture's first step, then every second one, ...; picture is sorted, order holds the rows."""
    first = torch.searchsorted(picture, picture)
    rank = torch.arange(len(picture)) - first
    there = [(rank == k).nonzero().squeeze(1) for k in range(1, int(rank.max()) + 1)]
    return [order[places - 1] for places in there], [order[places] for places in there]


def _surprise(
    model: Model, states: States, output: Tensor, t: Tensor, s: Tensor, back: tuple[Tensor, Tensor, Tensor]
) -> Tensor:
    """-log q(z_s | z_t, x) but for a constant, (b,) float64; x is what `output` at the rows t means. 0 where the noise level stays.

    back  keep, add, variance (b,): q = N(keep z_t + add x, variance)
    """
    fine = torch.promote_types(output.dtype, torch.float32)  # rounding of a bfloat16 model would outweigh what a step tells
    z, z_next, output = (tensor.to(fine) for tensor in (states.latents[t], states.latents[s], output))
    keep, add, variance = back
    mean = per_row(keep, z) * z + per_row(add, z) * model.path.to_x0(output, z, states.t[t])
    distance = (z_next - mean).square().flatten(1).cpu().double().sum(1)
    return torch.where(variance > 0, distance / (2 * variance), 0.0)
