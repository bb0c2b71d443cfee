"""What the model should predict instead, from the frozen model's predictions. All shapes (b, c, h, w)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from excise.erasure.states import States

if TYPE_CHECKING:
    from excise.models import Model


def exclude(rest: Tensor, with_concept: Tensor, posterior: Tensor, limit: float = 4.0) -> Tensor:
    """Prediction of p_0(x | rest, not concept): rest + rho (rest - with_concept), rho = p / (1 - p).

    posterior (b,) in 0..1: probability, given the noisy latent, that it shows the concept. rho is clamped to `limit` (ours: where the
    posterior is nearly 1 the exact factor explodes).
    Source: arXiv 2603.00992's bound with the concept-free density as reference; exact because
    p(x | r) = p p(x | r, c) + (1 - p) p(x | r, not c) mixes scores with posterior weights.
    """
    rho = (posterior / (1 - posterior).clamp_min(1e-6)).clamp(max=limit).view(-1, 1, 1, 1).to(rest.dtype)
    return rest + rho * (rest - with_concept)


def guided(empty: Tensor, conditioned: Tensor, scale: float) -> Tensor:
    """Classifier-free guidance: empty + scale (conditioned - empty)."""
    return empty + scale * (conditioned - empty)


def posterior(model: Model, states: States, rest: Tensor, with_concept: Tensor, prior: Tensor) -> Tensor:
    """Probability that a state shows the concept, (n,) float64: the prior at pure noise, moved by the evidence of its own path.

    logit p(x_t) = logit prior + 1/2 sum over the noisier states of the same path of d(log-SNR) (||e - e_rest||^2 - ||e - e_concept||^2),
    the pointwise information identity (arXiv 2310.07972) cut off at the state's noise level.

    rest, with_concept (n, c, h, w): the frozen model's outputs without and with the words
    prior              (n,) share of the concept in pictures of the rest of the prompt
    """
    schedule = model.schedule
    errors = [
        (states.noise - schedule.to_epsilon(output, states.latents, states.t)).double().square().flatten(1).sum(1).cpu()
        for output in (rest, with_concept)
    ]
    gain, level = errors[0] - errors[1], schedule.log_snr(states.t)
    logit = torch.logit(prior).clone()
    for picture in states.picture.unique():
        rows = (states.picture == picture).nonzero().squeeze(1)
        rows = rows[level[rows].argsort()]
        rows = rows[level[rows].isfinite()]
        steps = torch.diff(level[rows]) * (gain[rows][1:] + gain[rows][:-1]) / 2
        logit[rows[1:]] += steps.cumsum(0) / 2
    return logit.sigmoid()
