"""f-divergences between two denoising steps: how a squared error is judged (arXiv 2509.21167).

Two Gaussian reverse steps with the same variance s^2 whose means are sqrt(delta) apart have, for every divergence below, a closed form in
delta. As losses they differ only in how much a large error counts against a small one.
"""

from __future__ import annotations

from torch import Tensor

from excise.erasure.training_settings import Divergence, Divergent

LARGEST = 30.0
"""From this exponent on, exponentials go on as straight lines (ours), so that a large error cannot overflow."""


def value(delta: Tensor, divergence: Divergence, sigma: float = 1.0, alpha: float = 0.5) -> Tensor:
    """The divergence of N(m, sigma^2 I) from N(m + d, sigma^2 I) with ||d||^2 = delta; any shape.

    mse is KL. hellinger is the squared distance 1/2 int (sqrt p - sqrt q)^2; chi2 is Pearson's; alpha is (int p^a q^(1-a) - 1) / (a (a-1)).
    """
    scaled = delta / sigma**2
    if divergence == "mse" or (divergence == "alpha" and alpha in (0, 1)):
        return scaled / 2
    if divergence == "jeffreys":
        return scaled
    if divergence == "hellinger":
        return -_expm1(-scaled / 8)
    if divergence == "chi2":
        return _expm1(scaled)
    if divergence == "alpha":
        factor = alpha * (alpha - 1)
        return _expm1(factor * scaled / 2) / factor
    return (scaled.clamp_min(1e-12).sqrt() / 8**0.5).erf()


def slope(divergence: Divergence, sigma: float = 1.0) -> float:
    """d value / d delta at delta = 0; tv has none: value / sqrt(delta) near 0, which is 1 / (sqrt(2 pi) sigma)."""
    at_one = {
        "mse": 1 / 2,
        "alpha": 1 / 2,
        "jeffreys": 1.0,
        "hellinger": 1 / 8,
        "chi2": 1.0,
        "tv": (2 * 3.141592653589793) ** -0.5,
    }
    return at_one[divergence] / (sigma if divergence == "tv" else sigma**2)


def judged(error: Tensor, settings: Divergent, channels: int) -> Tensor:
    """The loss that an error means, shape of `error`, equal to it for mse and, to first order, for small errors (but for tv).

    error    mean squared error over all entries of a prediction, one number per state
    channels of the prediction: delta is the squared error summed over channels and averaged over pixels, as the authors' code has it

    All divergences are divided by their slope at zero, so that the same learning rate means the same at small errors (theirs are not).
    """
    if settings.divergence == "mse":
        return error
    kind, sigma = settings.divergence, settings.divergence_sigma
    return value(channels * error.float(), kind, sigma, settings.divergence_alpha) / (channels * slope(kind, sigma))


def _expm1(exponent: Tensor) -> Tensor:
    """exp(exponent) - 1, going on as its tangent above LARGEST."""
    held = exponent.clamp(max=LARGEST)
    return held.expm1() + held.exp() * (exponent - held)
