"""The noise schedule: alpha, sigma and log-SNR by timestep, and conversions between predictions.

Notation: z = alpha x + sigma e with alpha^2 + sigma^2 = 1; abar = alpha^2; log-SNR a = log(abar / (1 - abar)).
Source: `docs/methods` of mutual information, section 3 (arXiv 2302.03792, 2310.07972).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

Prediction = Literal["epsilon", "v_prediction", "sample"]


@dataclass(frozen=True)
class Schedule:
    """Noise levels of a discrete variance-preserving model.

    alphas_cumprod (T,) float64, decreasing, in 0..1; the last may be 0 (zero terminal SNR)
    prediction     what the network outputs
    """

    alphas_cumprod: Tensor
    prediction: Prediction

    @classmethod
    def of(cls, scheduler: Any) -> Schedule:
        """The schedule of a diffusers scheduler. Raises ValueError for a prediction type that is not known."""
        prediction = scheduler.config.prediction_type
        if prediction not in ("epsilon", "v_prediction", "sample"):
            raise ValueError(f"unknown prediction type {prediction!r}; known: epsilon, v_prediction, sample")
        return cls(scheduler.alphas_cumprod.double().cpu(), prediction)

    @property
    def steps(self) -> int:
        """Number of training timesteps."""
        return len(self.alphas_cumprod)

    def _at(self, t: Tensor, like: Tensor, power: float, complement: bool) -> Tensor:
        abar = self.alphas_cumprod[t.cpu()]
        value = ((1 - abar) if complement else abar) ** power
        return value.to(like.device, like.dtype).view(-1, *[1] * (like.ndim - 1))

    def alpha(self, t: Tensor, like: Tensor) -> Tensor:
        """alpha at integer timesteps t (b,), shaped to multiply `like` (b, ...)."""
        return self._at(t, like, 0.5, complement=False)

    def sigma(self, t: Tensor, like: Tensor) -> Tensor:
        """sigma at integer timesteps t (b,), shaped to multiply `like` (b, ...)."""
        return self._at(t, like, 0.5, complement=True)

    def log_snr(self, t: Tensor) -> Tensor:
        """log-SNR at integer timesteps t (b,), float64; -inf where the schedule reaches pure noise."""
        return torch.logit(self.alphas_cumprod[t.cpu()])

    def add_noise(self, x: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """z = alpha x + sigma noise, shape of x."""
        return self.alpha(t, x) * x + self.sigma(t, x) * noise

    def target(self, x: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """What the network is trained to output for z = alpha x + sigma noise, shape of x."""
        if self.prediction == "epsilon":
            return noise
        return self.alpha(t, x) * noise - self.sigma(t, x) * x if self.prediction == "v_prediction" else x

    def to_epsilon(self, output: Tensor, z: Tensor, t: Tensor) -> Tensor:
        """The noise that a network output means, shape of z."""
        if self.prediction == "epsilon":
            return output
        if self.prediction == "v_prediction":
            return self.alpha(t, z) * output + self.sigma(t, z) * z
        return (z - self.alpha(t, z) * output) / self.sigma(t, z)

    def to_sample(self, output: Tensor, z: Tensor, t: Tensor) -> Tensor:
        """The clean latent that a network output means, shape of z."""
        if self.prediction == "sample":
            return output
        if self.prediction == "v_prediction":
            return self.alpha(t, z) * z - self.sigma(t, z) * output
        return (z - self.sigma(t, z) * output) / self.alpha(t, z)

    def epsilon_scale(self, t: Tensor) -> Tensor:
        """Factor c(t) with ||d epsilon||^2 = c(t) ||d output||^2 for two outputs at the same state, (b,) float64."""
        abar = self.alphas_cumprod[t.cpu()]
        if self.prediction == "epsilon":
            return torch.ones_like(abar)
        return abar if self.prediction == "v_prediction" else abar / (1 - abar)

    def log_snr_weight(self, t: Tensor) -> Tensor:
        """|d log-SNR / dt| per timestep by central differences, (b,) float64; 0 where it is not finite."""
        levels = torch.logit(self.alphas_cumprod)
        finite = levels[levels.isfinite()]
        slope = torch.zeros_like(levels)
        slope[: len(finite)] = -torch.gradient(finite)[0]
        return slope[t.cpu()]
