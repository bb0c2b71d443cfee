"""Mutual information, steering and destruction from noise predictions: pure functions on tensors.

Notation: z = sqrt(sigmoid(a)) x + sqrt(sigmoid(-a)) e at log-SNR a; e is the noise that was added, `with_` the noise predicted with the
words, `without` the noise predicted without them, all at the same (x, a, e). Predictions are never guided. Element-wise functions return the
shape of their arguments, so that sums over pixels give nats and sums over channels alone give maps. Nats throughout.
Sources: arXiv 2302.03792 (plain form), 2310.07972 (orthogonal form, maps), 2310.09031 (score form).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Kind = Literal["epsilon", "v_prediction", "sample", "flow"]


def noise_prediction(output: Tensor, z: Tensor, log_snr: Tensor, kind: Kind) -> Tensor:
    """The noise that a network's output means, shape of `z`.

    log_snr  broadcastable to z
    kind     "epsilon"; "v_prediction": v = alpha e - sigma x; "sample": x; "flow": v = e - x with z = (1 - s) x + s e, s = sigmoid(-a / 2)

    Raises ValueError for another kind.
    """
    if kind == "epsilon":
        return output
    if kind == "flow":
        return z + torch.sigmoid(log_snr / 2) * output
    alpha, sigma = torch.sigmoid(log_snr).sqrt(), torch.sigmoid(-log_snr).sqrt()
    if kind == "v_prediction":
        return alpha * output + sigma * z
    if kind == "sample":
        return (z - alpha * output) / sigma
    raise ValueError(f"unknown prediction kind {kind!r}; known: epsilon, v_prediction, sample, flow")


def orthogonal(with_: Tensor, without: Tensor) -> Tensor:
    """Integrand of the orthogonal form, element by element: (e_c - e_u)^2."""
    return (with_ - without).square()


def plain(noise: Tensor, with_: Tensor, without: Tensor) -> Tensor:
    """Integrand of the plain form, element by element: (e - e_u)^2 - (e - e_c)^2, computed without cancellation."""
    return (with_ - without) * (2 * noise - with_ - without)


def excess(noise: Tensor, edited: Tensor, base: Tensor) -> Tensor:
    """Integrand of the destruction score, element by element: (e - e')^2 - (e - e*)^2 of the edited and the base prediction."""
    return -plain(noise, edited, base)


def cross(edited_with: Tensor, edited_without: Tensor, base_with: Tensor, base_without: Tensor) -> Tensor:
    """Integrand of the direct steering coefficient's numerator: (e_c' - e_u') (e_c* - e_u*)."""
    return (edited_with - edited_without) * (base_with - base_without)


def integrate(values: Tensor, weights: Tensor) -> Tensor:
    """Half the integral over log-SNR: values (n, k, ...) at nodes with weights (n, k) -> (n, ...)."""
    return 0.5 * (weights.view(*weights.shape, *[1] * (values.ndim - weights.ndim)) * values).mean(1)


def steering_direct(cross_nats: Tensor, base_orthogonal: Tensor) -> Tensor:
    """lam = <e_c' - e_u', e_c* - e_u*> / ||e_c* - e_u*||^2 from the two integrals; defined at full erasure too."""
    return cross_nats / base_orthogonal


def steering_blind(plain_nats: Tensor, orthogonal_nats: Tensor) -> Tensor:
    """lam = 2 orthogonal / (plain + orthogonal): 1 intact, 0 ignored, negative steers away; 0/0 at full erasure.

    Exact when the edit only rescaled the words' effect; an effect in a new direction inflates it.
    """
    return 2 * orthogonal_nats / (plain_nats + orthogonal_nats)


def alignment(cross_nats: Tensor, edited_orthogonal: Tensor, base_orthogonal: Tensor) -> Tensor:
    """Cosine between the words' effect before and after, -1 to 1: near 0 the words now say something else."""
    return cross_nats / (edited_orthogonal * base_orthogonal).sqrt()
